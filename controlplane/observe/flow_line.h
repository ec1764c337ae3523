// One flow event as one line of JSON.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "contract/events.h"
#include "contract/relay_messages.h"
#include "controlplane/observe/names.h"

namespace bulkhead {

/// An instant of boot time in UTC, as the wall clock has it now.
class WallOfBoot {
 public:
  WallOfBoot(BootTime boot, WallTime wall) : offset_ns_(wall.ns - boot.ns) {}
  static WallOfBoot now() { return {boot_now(), wall_now()}; }
  WallTime operator()(int64_t boot_ns) const { return WallTime{boot_ns + offset_ns_}; }

 private:
  int64_t offset_ns_;
};

/// What stands around a record in its line.
struct LineContext {
  const PolicyNames* names = nullptr;               ///< of the record's own policy; nullptr: not known
  const PolicyNames* newest = nullptr;              ///< for segments of records without; nullptr: none
  const std::vector<std::string>* ports = nullptr;  ///< names by PortId
  WallOfBoot wall{BootTime{}, WallTime{}};
  const ConnectionProof* proof = nullptr;  ///< what the mTLS relay knows of it; nullptr: nothing
};

/// More events like one that was written: for the line that stands for them.
struct Repetition {
  uint64_t count = 0;  ///< packets
  int64_t first_boot_ns = 0;
  int64_t last_boot_ns = 0;
};

/// The line, newline included. Whatever names hold, it is one valid JSON object. `repetition` of count 0: the
/// event itself, with a count only where it stands for several packets already.
std::string flow_line(const FlowRecord& record, const LineContext& context,
                      const Repetition& repetition = {});

/// The line of a connection that the mTLS relay has established, or that failed before: what is proven of
/// both ends, or claimed.
std::string relay_line(const ConnectionProof& proof, const WallOfBoot& wall);

/// How many packets a deny or audit stands for: the dataplane puts those of a second into one event.
uint64_t packets_of(const FlowRecord& event);
/// "none", "local", "end_to_end", "relay".
std::string_view name_of(FlowProtection protection);
/// "TLS_AES_128_GCM_SHA256", ...; a number for a suite without a name here.
std::string cipher_name(uint16_t suite);
/// "1.3"; the number's digits for another.
std::string tls_version_name(uint16_t version);
/// The server name of a flow's ClientHello, ending in "..." where the record has no room for all of it;
/// empty: none.
std::string sni_text(const FlowRecord& record);
/// "open", "deny", ...
std::string_view event_name(EventKind kind);
/// "tcp", "udp", "icmp", "icmp6", "sctp", "proto/N".
std::string proto_name(uint8_t proto);
/// "opening", "established", "closing", "open"; empty for a state that doesn't exist.
std::string_view state_name(uint8_t state);
/// The segment's name for a record's identity: of its own policy, else of the newest; empty: not known.
std::string_view segment_of(uint32_t identity, const LineContext& context);
/// The port's name; empty where there is none.
std::string_view port_name(uint8_t port, const LineContext& context);

}  // namespace bulkhead
