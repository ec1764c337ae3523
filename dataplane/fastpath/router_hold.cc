#include "dataplane/fastpath/router_hold.h"

#include <algorithm>

#include "dataplane/fastpath/datagram.h"

namespace bulkhead {

HoldTable::HoldTable(const HashSeed& seed)
    : seed_(seed),
      slots_(kMost),
      hops_(kMost),
      buckets_(kBuckets, kNone),
      of_source_(kSources),
      of_port_(kMaxPorts + 1) {
  for (uint16_t i = 0; i < kMost; ++i)
    slots_[i].next = hops_[i].newer = static_cast<uint16_t>(i + 1 < kMost ? i + 1 : kNone);
}

HoldTable::~HoldTable() {
  for (Slot& slot : slots_) free_packets(slot.packet.mbuf);
}

uint16_t HoldTable::source_account(const IpAddress& source) const noexcept {
  IpAddress subnet = source.is_v4() ? source : masked(source, 64);
  return static_cast<uint16_t>(neighbour_hash(kPortNone, subnet, seed_) % kSources);
}

uint16_t& HoldTable::bucket_of(PortId port, const IpAddress& hop) noexcept {
  return buckets_[neighbour_hash(port, hop, seed_) % kBuckets];
}

uint16_t HoldTable::find(PortId port, const IpAddress& hop) noexcept {
  uint16_t index = bucket_of(port, hop);
  while (index != kNone && (hops_[index].next.port != port || hops_[index].next.hop != hop))
    index = hops_[index].chained;
  return index;
}

/// There are as many records as packets: one is free where a packet's slot is.
uint16_t HoldTable::begin_hop(const NextHop& next, Millis now) noexcept {
  uint16_t index = free_hop_;
  Hop& hop = hops_[index];
  free_hop_ = hop.newer;
  uint16_t& bucket = bucket_of(next.port, next.hop);
  hop = {next, now, kNone, kNone, 0, newest_, kNone, bucket};
  bucket = index;
  if (newest_ != kNone) hops_[newest_].newer = index;
  if (oldest_ == kNone) oldest_ = index;
  newest_ = index;
  ++hop_count_;
  return index;
}

void HoldTable::end_hop(uint16_t index) noexcept {
  Hop& hop = hops_[index];
  uint16_t* link = &bucket_of(hop.next.port, hop.next.hop);
  while (*link != index) link = &hops_[*link].chained;
  *link = hop.chained;
  (hop.older != kNone ? hops_[hop.older].newer : oldest_) = hop.newer;
  (hop.newer != kNone ? hops_[hop.newer].older : newest_) = hop.older;
  if (turn_ == index) turn_ = hop.newer;
  hop.newer = free_hop_;
  free_hop_ = index;
  --hop_count_;
}

bool HoldTable::hold(const HeldPacket& packet, const IpAddress& source, const NextHop& next,
                     Millis now) noexcept {
  uint8_t port = port_account(packet);
  uint16_t account = source_account(source);
  auto packets = static_cast<uint16_t>(packets_in(packet.mbuf));
  if (packets_ + packets > kMost || of_port_[port] + packets > kMostOfPort ||
      of_source_[account] + packets > kMostOfSource)
    return false;
  uint16_t index = find(next.port, next.hop);
  if (index == kNone) index = begin_hop(next, now);
  Hop& hop = hops_[index];
  if (hop.count >= kMostOfHop) return false;
  uint16_t at = free_slot_;
  Slot& slot = slots_[at];
  free_slot_ = slot.next;
  slot = {packet, kNone, account, packets, port};
  (hop.count == 0 ? hop.first : slots_[hop.last].next) = at;
  hop.last = at;
  ++hop.count;
  packets_ = static_cast<uint16_t>(packets_ + packets);
  of_port_[port] = static_cast<uint16_t>(of_port_[port] + packets);
  of_source_[account] = static_cast<uint16_t>(of_source_[account] + packets);
  return true;
}

HoldTable::Hop* HoldTable::visit(Millis now) noexcept {
  if (now != visited_) {
    visited_ = now;
    visits_left_ = std::min(kMostVisits, hop_count_);
  }
  if (visits_left_ == 0 || oldest_ == kNone) return nullptr;
  --visits_left_;
  uint16_t index = turn_ != kNone ? turn_ : oldest_;
  turn_ = hops_[index].newer;
  return &hops_[index];
}

void HoldTable::answered(PortId port, const IpAddress& hop) noexcept {
  uint16_t index = find(port, hop);
  if (index == kNone) return;
  turn_ = index;
  ++visits_left_;
}

HeldPacket HoldTable::take(Hop& hop) noexcept {
  uint16_t at = hop.first;
  Slot& slot = slots_[at];
  HeldPacket packet = slot.packet;
  packets_ = static_cast<uint16_t>(packets_ - slot.packets);
  of_port_[slot.port] = static_cast<uint16_t>(of_port_[slot.port] - slot.packets);
  of_source_[slot.source] = static_cast<uint16_t>(of_source_[slot.source] - slot.packets);
  hop.first = slot.next;
  slot.packet.mbuf = nullptr;
  slot.next = free_slot_;
  free_slot_ = at;
  if (--hop.count == 0) end_hop(static_cast<uint16_t>(&hop - hops_.data()));
  return packet;
}

}  // namespace bulkhead
