#include "dataplane/fastpath/eal.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "dataplane/fastpath/gateway.h"

namespace bulkhead {
namespace {

DataplaneSettings settings_with(std::vector<std::string> devices) {
  DataplaneSettings settings;
  settings.name = "edge";
  settings.cores = {1};
  for (const std::string& device : devices) {
    PortSetting port;
    port.name = "p" + std::to_string(settings.ports.size());
    port.device = device;
    settings.ports.push_back(port);
  }
  return settings;
}

bool has(const std::vector<std::string>& arguments, const std::string& wanted) {
  return std::ranges::count(arguments, wanted) == 1;
}

TEST(LcoreMap, MainThread_GetsTheCpusThatNoWorkerHas) {
  EXPECT_EQ(lcore_map({1}, {0, 1}), "0@(0),1@1");
  EXPECT_EQ(lcore_map({2, 1}, {0, 1, 2, 3}), "0@(0,3),1@2,2@1");
}

TEST(LcoreMap, WhereWorkersHaveAllCpus_MainThreadSharesThem) {
  EXPECT_EQ(lcore_map({0, 1}, {0, 1}), "0@(0,1),1@0,2@1");
}

TEST(LcoreMap, CpuThatIsNotThere_IsInvalidAndNamesThoseThatAre) {
  auto map = lcore_map({2}, {0, 1});
  ASSERT_FALSE(map);
  EXPECT_EQ(map.error().code, ErrorCode::kInvalid);
  EXPECT_NE(map.error().message.find("CPU 2"), std::string::npos);
  EXPECT_NE(map.error().message.find("0,1"), std::string::npos);
}

TEST(LcoreMap, NoWorker_IsInvalid) {
  EXPECT_FALSE(lcore_map({}, {0, 1}));
}

TEST(EalArguments, VirtualDevices_LeaveThePciBusAlone) {
  auto arguments = eal_arguments(settings_with({"af_xdp:ga", "tap:t0"}), {0, 1}, true).value();
  EXPECT_TRUE(has(arguments, "--no-pci"));
  EXPECT_TRUE(has(arguments, "--iova-mode=va"));
  EXPECT_FALSE(has(arguments, "-a"));
}

TEST(EalArguments, PciDevice_IsTheOnlyOneAllowed) {
  auto arguments = eal_arguments(settings_with({"pci:03:00.0", "null"}), {0, 1}, true).value();
  EXPECT_FALSE(has(arguments, "--no-pci"));
  auto allow = std::ranges::find(arguments, "-a");
  ASSERT_NE(allow, arguments.end());
  EXPECT_EQ(*std::next(allow), "0000:03:00.0");
}

TEST(EalArguments, Hugepages_LeaveNoFiles) {
  auto arguments = eal_arguments(settings_with({"null"}), {0, 1}, true).value();
  EXPECT_TRUE(has(arguments, "--in-memory"));
  EXPECT_FALSE(has(arguments, "--no-huge"));
}

TEST(EalArguments, WithoutHugepages_OrdinaryPagesAndNoFiles) {
  auto arguments = eal_arguments(settings_with({"null"}), {0, 1}, false).value();
  EXPECT_FALSE(has(arguments, "--in-memory"));
  EXPECT_TRUE(has(arguments, "--no-huge"));
  EXPECT_TRUE(has(arguments, "--no-shconf"));
}

TEST(EalArguments, FilePrefix_IsTheGatewaysNameUnlessSet) {
  DataplaneSettings settings = settings_with({"null"});
  EXPECT_TRUE(has(eal_arguments(settings, {0, 1}, true).value(), "--file-prefix=edge"));
  settings.file_prefix = "other";
  EXPECT_TRUE(has(eal_arguments(settings, {0, 1}, true).value(), "--file-prefix=other"));
}

TEST(EalArguments, BadDevice_NamesThePort) {
  auto arguments = eal_arguments(settings_with({"null", "nonsense"}), {0, 1}, true);
  ASSERT_FALSE(arguments);
  EXPECT_EQ(arguments.error().message.find("port 'p1'"), 0u) << arguments.error().message;
}

TEST(PlanBuffers, ScarceMemory_MeansFewerDescriptors) {
  DataplaneSettings settings = settings_with({"null", "null"});
  settings.memory_mib = 1024;
  EXPECT_EQ(plan_buffers(settings, 2).value().descriptors, 2048);
  settings.memory_mib = 126;
  EXPECT_EQ(plan_buffers(settings, 2).value().descriptors, 512);
}

TEST(PlanBuffers, MoreBuffersThanRingsNeed_WhereAsked) {
  DataplaneSettings settings = settings_with({"null", "null"});
  settings.buffers = 100'000;
  EXPECT_EQ(plan_buffers(settings, 2).value().buffers, 100'000u);
  settings.buffers = 1'000'000;
  auto plan = plan_buffers(settings, 2);
  ASSERT_FALSE(plan);
  EXPECT_NE(plan.error().message.find("`buffers`"), std::string::npos) << plan.error().message;
}

TEST(PlanBuffers, TooLittleMemory_SaysHowMuchItTakes) {
  DataplaneSettings settings = settings_with({"null", "null"});
  settings.memory_mib = 32;
  auto plan = plan_buffers(settings, 2);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, ErrorCode::kExhausted);
  size_t at = plan.error().message.rfind(' ');
  settings.memory_mib = static_cast<uint32_t>(std::stoul(plan.error().message.substr(at + 1)));
  EXPECT_TRUE(plan_buffers(settings, 2));
  --settings.memory_mib;
  EXPECT_FALSE(plan_buffers(settings, 2));
}

TEST(PlanBuffers, FragmentsThatWait_TakeNothingFromTheQueues) {
  DataplaneSettings settings = settings_with({"null", "null"});
  settings.fragments.datagrams = 1;
  uint32_t least = plan_buffers(settings, 2).value().buffers;
  settings.fragments.datagrams = 4096;
  EXPECT_EQ(plan_buffers(settings, 2).value().buffers, least + 2 * 4095);
  settings.fragments.datagrams = kMostFragmentDatagrams;
  EXPECT_FALSE(plan_buffers(settings, 2)) << "more than memory_mib has";
}

TEST(PlanBuffers, Buffer_HoldsTheLargestMtuBehindTheKernelsHeadroom) {
  DataplaneSettings settings = settings_with({"null", "null"});
  EXPECT_EQ(plan_buffers(settings, 2).value().room_bytes, 128 + 2048);
  settings.ports[1].mtu = 3000;
  EXPECT_GE(plan_buffers(settings, 2).value().room_bytes, 128 + 256 + 3000 + 22);
}

}  // namespace
}  // namespace bulkhead
