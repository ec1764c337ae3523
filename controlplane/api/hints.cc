#include "controlplane/api/hints.h"

#include <chrono>

namespace bulkhead {
namespace {

using namespace std::chrono_literals;

constexpr uint64_t kPilingUp = 10;           ///< packets: fewer are noise
constexpr Nanoseconds kJustStarted = 10min;  ///< TCP connections from before it are mostly gone by then

struct Hint {
  DropReason reason;
  std::string_view text;
};

constexpr Hint kHints[] = {
    {DropReason::k_l4_checksum,
     "l4_checksum: on veth and other virtual links, turn checksum and segmentation offload off at the "
     "workloads' ends: "
     "ethtool -K IF tx off tso off gso off"},
    {DropReason::k_packet_too_big,
     "packet_too_big: the sender's segmentation offload or MTU doesn't fit the port's mtu; on virtual links: "
     "ethtool -K IF tso off gso off"},
    {DropReason::k_spoofed_source,
     "spoofed_source: workloads send from addresses outside their port's `sources`, or against a member's "
     "port, vlan or mac"},
    {DropReason::k_identity_unknown,
     "identity_unknown: an end is no member of any segment; find it in the flow log and add it to its "
     "segment's members"},
    {DropReason::k_vlan_unexpected,
     "vlan_unexpected: frames carry VLAN tags that the port's `vlans` doesn't list"},
    {DropReason::k_tcp_out_of_window,
     "tcp_out_of_window: if some packets of a connection pass elsewhere, set `tcp: liberal`"},
    {DropReason::k_flow_table_full,
     "flow_table_full: set a larger max_flows or max_flows_per_identity, or shorter timeouts"},
    {DropReason::k_fragment_limit,
     "fragment_limit: more fragmented datagrams wait at once than `fragments` has room for: a flood, or "
     "senders "
     "that lose fragments; if they are legitimate, set a larger fragments.datagrams or per_source"},
    {DropReason::k_mtls_required, "mtls_required: rules ask for mTLS that these flows don't speak"},
    {DropReason::k_neighbour_unresolved,
     "neighbour_unresolved: the next hop doesn't answer ARP or neighbour discovery"},
    {DropReason::k_tx_full, "tx_full: an output port is slower than what it is to send"},
    {DropReason::k_link_down, "link_down: a port is gone or has no link; `bulkhead status` says which"},
    {DropReason::k_handoff_full, "handoff_full: one worker owns more flows than it can serve; add cores"},
};

}  // namespace

std::vector<std::string> hints_for(const Readings& readings, Nanoseconds up, bool enforcing) {
  std::vector<std::string> hints;
  if (!enforcing)
    hints.emplace_back(
        "no_policy: nothing is forwarded until a policy is in force; `bulkhead status` says what it waits "
        "for");
  auto drops = [&](DropReason reason) { return readings.drops[static_cast<size_t>(reason)]; };
  for (const Hint& hint : kHints)
    if (drops(hint.reason) >= kPilingUp) hints.emplace_back(hint.text);
  if (drops(DropReason::k_tcp_no_state) >= kPilingUp)
    hints.emplace_back(
        up < kJustStarted
            ? "tcp_no_state: connections from before the gateway's start must be opened again"
            : "tcp_no_state: connections that were idle beyond `timeouts.established`, or of which only one "
              "direction passes here; if only their answers pass elsewhere, set `tcp: liberal`");
  if (readings.half_open_evicted >= kPilingUp)
    hints.emplace_back(
        "half_open: a SYN flood or a scan makes opening connections give way; `bulkhead flows` shows from "
        "where. A "
        "busy client may need a larger half_open");
  uint64_t missed = 0;
  for (const PortReading& port : readings.ports) missed += port.missed;
  if (missed >= kPilingUp)
    hints.emplace_back("missed: devices lost frames since workers didn't fetch them in time; add cores");
  return hints;
}

}  // namespace bulkhead
