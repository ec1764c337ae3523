// Policy as infrastructure teams write it, typed and checked. The format's rules: docs/policy.md.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/clock.h"
#include "base/service.h"
#include "config/diagnostic.h"
#include "policy/image.h"

namespace bulkhead {

/// A binding of an address or prefix to a segment.
struct Member {
  Prefix prefix;
  std::string port;              ///< "GATEWAY/PORT"; empty: any
  std::optional<uint16_t> vlan;  ///< 0-4094; 0: untagged only
  std::optional<MacAddress> mac;
  std::string spiffe;             ///< the workload's SPIFFE ID; empty: none
  std::string workload;           ///< its name; empty: none
  uint32_t file = 0;              ///< index into Policy::files
  uint32_t line = 0, column = 0;  ///< as a Location's
};

struct Segment {
  std::string name;
  SegmentTag tag;
  std::vector<Member> members;
  std::vector<std::string>
      spiffe;            ///< SVIDs that belong here: IDs, or all below a path, "spiffe://TD/PATH/*"
  std::string relay_id;  ///< what the relay shows for members without an ID of their own; empty: none
  std::map<std::string, std::string> labels;
  Location where;
};

/// Who: segments by name, or by label, or every one.
struct Selector {
  enum class Kind : uint8_t { kAny, kNames, kLabels } kind = Kind::kAny;
  std::vector<std::string> names;             ///< kNames: sorted, unique; may hold `unknown` and `gateway`
  std::map<std::string, std::string> labels;  ///< kLabels: all must match
};

/// Services first..last on the service axis, of one protocol.
struct ServiceRange {
  ServiceKey first;
  ServiceKey last;
  bool operator==(const ServiceRange&) const = default;
};

struct Rule {
  std::string name;
  Tier tier = Tier::kSegment;  ///< never kContainment or kDefault
  Action action = Action::kDeny;
  Selector from, to;
  std::vector<ServiceRange> services;  ///< as written, `any` taken apart into its five protocols
  MtlsMode mtls = MtlsMode::kNone;
  /// With kEndToEnd: server names as parse_server_name() gives them, sorted, unique; empty: any, and none.
  std::vector<std::string> sni;
  std::optional<WallTime> after, until;
  bool reject = false;  ///< on_deny: reject
  bool log = true;      ///< opens and closes of its flows go to the flow log
  bool audit = false;
  Location where;
};

/// A line of `tests:`.
struct PolicyTest {
  std::string from, to;  ///< an address, or a segment's name
  ServiceKey service;
  std::optional<WallTime> at;  ///< else: now
  Action expect = Action::kDeny;
  MtlsMode mtls = MtlsMode::kNone;
  bool has_mtls = false;  ///< `mtls:` was written, and is checked
  Location where;
};

/// All files of a policy directory, merged; rules in order of file name, then position (their RuleIndex).
struct Policy {
  std::vector<std::string> files;  ///< the policy's own, in order of name, then each members_file
  std::vector<Segment> segments;   ///< by name
  std::vector<Rule> rules;
  std::vector<PolicyTest> tests;
};

/// UDP ports of tunnels: an allow or ask covers them only when it names exactly that port.
inline constexpr uint16_t kTunnelUdpPorts[] = {3544, 4789, 6080, 6081};  // Teredo, VXLAN, GUE, Geneve

/// Whether the rule's services hold `service`, the tunnel ports' exception included.
bool covers(const Rule& rule, ServiceKey service);
/// Whether the selector holds the segment; `segment` may be `unknown` or `gateway` (then `labels` is empty).
bool selects(const Selector& selector, std::string_view segment,
             const std::map<std::string, std::string>& labels);

/// "tcp/5432", "icmp/echo", "any", ... as one or more ranges. Errors say what to write instead.
Expected<std::vector<ServiceRange>> parse_service(std::string_view text);
/// A service that names exactly one key, as `explain --service` and `tests:` want it ("tcp/443", "icmp/echo",
/// "proto/47").
Expected<ServiceKey> parse_exact_service(std::string_view text);
/// A DNS name in lower case, or "*." and one: any one label in its place. Errors say what to write instead.
Expected<std::string> parse_server_name(std::string_view text);
/// RFC 3339 with a zone; fractions to the nanosecond.
Expected<WallTime> parse_time(std::string_view text);
std::string to_string(WallTime time);  ///< RFC 3339, UTC, "Z", no more fraction digits than needed
/// "250ms", "30s", "15m", "2h".
Expected<Nanoseconds> parse_duration(std::string_view text);
/// [a-z0-9][a-z0-9._-]{0,62}
bool is_name(std::string_view text);

/// What a policy may hold in all. 64 MiB of YAML are about a million rules; reading and compiling them takes
/// 1.3 GiB, and the densest YAML 2.2 GiB. A member from a file takes some 200 bytes.
inline constexpr size_t kMaxPolicyFiles = 65'536;            ///< *.yaml
inline constexpr size_t kMaxPolicyBytes = size_t{64} << 20;  ///< of YAML, over all files
inline constexpr size_t kMaxFileMembers = size_t{1} << 24;   ///< over all files that `members_file` names

/// Loads every *.yaml of a directory (or the one file), in order of name, and checks the whole.
/// Output: the policy where no diagnostic is an error; else nothing. Warnings (a deadline in the past, ...)
/// come either way. Too much of it, or too little memory, is an error like others; nothing is thrown.
struct LoadedPolicy {
  std::optional<Policy> policy;
  Diagnostics diagnostics;
  std::vector<std::string>
      files;                   ///< that were read, or named and couldn't be: Policy::files without a policy
  bool machine_short = false;  ///< some file couldn't be read for a reason that may pass (EMFILE, EIO, ...)
};
LoadedPolicy load_policy(const std::string& path, WallTime now);
/// Whether a file of this name in a policy directory is read (NAME.yaml, not hidden).
bool is_policy_file_name(std::string_view name);
/// The same from text, for tests and fuzzing: (file name, content) in any order. `members_file` is read from
/// disk relative to the file name.
LoadedPolicy load_policy_text(const std::vector<std::pair<std::string, std::string>>& files, WallTime now);

}  // namespace bulkhead
