// Policy semantics once more, as slowly and literally as the documentation puts them: what the compiled state
// is compared with. Shares no code with the compiler, the image or evaluate().
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/drop_reason.h"
#include "config/policy.h"

namespace bulkhead::naive {

struct Packet {
  IpAddress from, to;
  std::string port;  ///< the gateway's port that it came in on
  uint16_t vlan = 0;
  MacAddress mac;
  ServiceKey service;
  std::string server_name;  ///< of its ClientHello; empty: it has none
};

struct Gateway {
  std::string name;
  std::vector<IpAddress> own_addresses;
};

struct Who {
  std::string segment = "unknown";
  bool bound = false;
  bool contained = false;
  bool spoofed = false;
};

struct Answer {
  Who source, destination;
  Action verdict = Action::kDeny;
  DropReason reason = DropReason::kNone;
  std::optional<size_t> rule;  ///< index into Policy::rules; none: implicit, contained or spoofed
  bool reject = false, log = false;
  MtlsMode mtls = MtlsMode::kNone;
  bool admits_name = false;
  std::optional<int64_t> until;  ///< none: for ever
  std::optional<size_t> audit_rule;
};

/// Judges one packet. `contained`: the prefixes in quarantine.
Answer judge(const Policy& policy, const Gateway& gateway, const std::set<Prefix>& contained,
             const Packet& packet, int64_t now_ns);

/// Whether two allows of one tier that share a service and a pair of segments ask for end_to_end and relay.
bool has_mtls_conflict(const Policy& policy);

}  // namespace bulkhead::naive
