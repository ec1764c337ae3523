// The parts of a member (a binding of addresses to a segment), as policy files and members_files both write
// them.
#pragma once

#include <string_view>

#include "config/policy.h"

namespace bulkhead {

/// An address or prefix that a workload may have.
/// Errors: kInvalid for what parse_prefix refuses, a prefix of length 0, one over both families' addresses,
/// and addresses that are never a workload's own on the wire (multicast, loopback, IPv6 link-local,
/// 0.0.0.0/8, broadcast).
Expected<Prefix> parse_member_prefix(std::string_view text);
/// "GATEWAY/PORT", two names.
Expected<std::string> parse_member_port(std::string_view text);
/// 0-4094.
Expected<uint16_t> parse_member_vlan(std::string_view text);
/// A unicast MAC address.
Expected<MacAddress> parse_unicast_mac(std::string_view text);
/// A workload's SPIFFE ID, as parse_workload_id has it.
Expected<std::string> parse_member_spiffe(std::string_view text);
/// Which SPIFFE IDs, as parse_spiffe_pattern has it.
Expected<std::string> parse_spiffe_members(std::string_view text);
/// A workload's name: 1-253 visible ASCII characters.
Expected<std::string> parse_workload(std::string_view text);

}  // namespace bulkhead
