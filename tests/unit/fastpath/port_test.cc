#include "dataplane/fastpath/port.h"

#include <gtest/gtest.h>

#include <thread>

#include "dataplane/fastpath/exchange.h"
#include "dataplane/fastpath/port_view.h"

#include <poll.h>

namespace bulkhead {
namespace {

TEST(PortViews, WirePeersPointAtEachOther) {
  DataplaneSettings settings;
  settings.ports.resize(4);
  settings.wires = {{PortId{0}, PortId{3}}, {PortId{2}, PortId{1}}};
  auto views = make_port_views(settings, std::vector<MacAddress>(4));
  EXPECT_EQ(views[0].peer, PortId{3});
  EXPECT_EQ(views[3].peer, PortId{0});
  EXPECT_EQ(views[1].peer, PortId{2});
  EXPECT_EQ(views[2].peer, PortId{1});
  EXPECT_EQ(views[3].wire, 0);
  EXPECT_EQ(views[1].wire, 1);
}

TEST(PortViews, PortWithoutWire_HasNoPeer) {
  DataplaneSettings settings;
  settings.ports.resize(3);
  settings.wires = {{PortId{0}, PortId{1}}};
  EXPECT_EQ(make_port_views(settings, std::vector<MacAddress>(3))[2].peer, kPortNone);
}

TEST(PortViews, Mac_IsTheDevicesUnlessSet) {
  DataplaneSettings settings;
  settings.ports.resize(2);
  settings.ports[0].mac = parse_mac("02:00:00:00:00:01").value();
  MacAddress own = parse_mac("02:00:00:00:00:99").value();
  auto views = make_port_views(settings, {own, own});
  EXPECT_EQ(to_string(views[0].mac), "02:00:00:00:00:01");
  EXPECT_EQ(views[1].mac, own);
}

TEST(PortViews, Vlans_UntaggedAlwaysAndOthersAsSet) {
  DataplaneSettings settings;
  settings.ports.resize(3);
  settings.ports[1].vlans.ids = {10, 20};
  settings.ports[2].vlans.any = true;
  auto views = make_port_views(settings, std::vector<MacAddress>(3));
  EXPECT_TRUE(views[0].vlans[0]);
  EXPECT_EQ(views[0].vlans.count(), 1u);
  EXPECT_TRUE(views[1].vlans[0] && views[1].vlans[10] && views[1].vlans[20]);
  EXPECT_EQ(views[1].vlans.count(), 3u);
  EXPECT_TRUE(views[2].vlans[4094]);
  EXPECT_FALSE(views[2].vlans[4095]);
}

/// Calls check(port, workers, queues) for every combination that is small.
template <class Check>
void for_all_shapes(Check check) {
  for (uint8_t port = 0; port < 5; ++port)
    for (unsigned workers = 1; workers <= 5; ++workers)
      for (unsigned queues = 1; queues <= 7; ++queues) check(PortId{port}, workers, queues);
}

bool owns_a_queue(PortId port, unsigned worker, unsigned workers, unsigned queues) {
  for (unsigned queue = 0; queue < queues; ++queue)
    if (owner_of_queue(port, queue, workers) == worker) return true;
  return false;
}

TEST(QueueOwnership, AWorkerThatOwnsAQueue_SendsOnOneOfItsOwn) {
  for_all_shapes([](PortId port, unsigned workers, unsigned queues) {
    for (unsigned worker = 0; worker < workers; ++worker) {
      unsigned queue = tx_queue_for(port, worker, workers, queues);
      ASSERT_LT(queue, queues);
      EXPECT_EQ(owner_of_queue(port, queue, workers) == worker, owns_a_queue(port, worker, workers, queues));
    }
  });
}

TEST(QueueOwnership, PortsOfOneQueueEach_AreSpreadOverWorkers) {
  EXPECT_NE(owner_of_queue(PortId{0}, 0, 2), owner_of_queue(PortId{1}, 0, 2));
}

TEST(Doorbell, RungDuringSleep_WakesAtOnce) {
  auto bell = Doorbell::create().value();
  bell->lie_down();
  std::thread other([&bell] { bell->ring(); });
  pollfd descriptor{bell->fd(), POLLIN, 0};
  EXPECT_EQ(poll(&descriptor, 1, 10'000), 1);
  other.join();
}

TEST(Doorbell, RungWhileAwake_IsNotHeardLater) {
  auto bell = Doorbell::create().value();
  bell->ring();
  bell->lie_down();
  pollfd descriptor{bell->fd(), POLLIN, 0};
  EXPECT_EQ(poll(&descriptor, 1, 0), 0);
}

TEST(Doorbell, AfterGettingUp_TheNextSleepIsUndisturbed) {
  auto bell = Doorbell::create().value();
  bell->lie_down();
  bell->ring();
  bell->get_up();
  bell->lie_down();
  pollfd descriptor{bell->fd(), POLLIN, 0};
  EXPECT_EQ(poll(&descriptor, 1, 0), 0);
  bell->ring();
  EXPECT_EQ(poll(&descriptor, 1, 0), 1);
}

}  // namespace
}  // namespace bulkhead
