// A capture through what `bulkhead replay` does with it, but for the files that it writes.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "base/check.h"
#include "cli/replay_packets.h"
#include "config/gateway.h"
#include "contract/memfd.h"

namespace bulkhead::test {

/// How a replay ended.
struct Replayed {
  std::string unreadable;  ///< why the capture wasn't taken; empty: it was
  std::string broken;      ///< what went wrong with its packets: never anything
  uint64_t packets = 0, verdicts = 0;
  std::vector<std::string> warnings;
};

/// Two ports and a policy between them, and little room for fragments, which takes long to make. Thread: one.
class CaptureReplay {
 public:
  explicit CaptureReplay(bool route) {
    auto gateway = load_gateway_text("gateway.yaml", route ? kRoutes : kWires, true);
    auto policy = load_policy_text({{"policy.yaml", kPolicy}}, WallTime{0});
    BULKHEAD_CHECK(gateway.config && policy.policy);
    settings_ = gateway.config->dataplane;
    auto compiled = make_explainable(std::move(*policy.policy), target_of(settings_), wall_as_boot);
    BULKHEAD_CHECK(compiled.has_value());
    policy_ = std::move(*compiled);
  }

  /// A capture of both directions.
  Replayed run(std::string_view capture) {
    Fd file(::memfd_create("capture", MFD_CLOEXEC));
    BULKHEAD_CHECK(::write(file.get(), capture.data(), capture.size()) ==
                   static_cast<ssize_t>(capture.size()));
    Replayed result;
    auto input = read_captures({{{PortId{0}, PortId{1}}, "/proc/self/fd/" + std::to_string(file.get())}},
                               settings_, &policy_->endpoints);
    if (!input) {
      result.unreadable = input.error().message;
      return result;
    }
    result.packets = input->packets.size();
    result.warnings = input->warnings;
    struct Counter : ReplaySink {
      uint64_t verdicts = 0;
      void decided(const ReplayVerdict&) override { ++verdicts; }
      void transmitted(PortId, BootTime, std::span<const std::byte>) override {}
    } counter;
    auto done = replay_packets(*input, settings_, policy_.get(), false, counter);
    if (!done) result.broken = done.error().message;
    result.verdicts = counter.verdicts;
    return result;
  }

 private:
  static constexpr const char* kWires = R"(gateway: {name: gw}
dataplane:
  mode: wire
  max_flows: 1024
  fragments: {datagrams: 16, per_source: 4}
  ports: [{name: left, vlans: any, mac: "02:00:00:00:00:01"}, {name: right, link: attached, sources: [10.2.0.0/16, "fd00:2::/32"], mac: "02:00:00:00:00:02"}]
  wires: [[left, right]]
  on_implicit_deny: reject
)";
  static constexpr const char* kRoutes = R"(gateway: {name: gw}
dataplane:
  mode: route
  max_flows: 1024
  fragments: {datagrams: 16, per_source: 4}
  ports:
    - {name: left, addresses: [10.1.0.254/24, "fd00:1::fe/64"], mac: "02:00:00:00:00:01"}
    - {name: right, addresses: [10.2.0.254/24, "fd00:2::fe/64"], mac: "02:00:00:00:00:02"}
  on_implicit_deny: reject
)";
  static constexpr const char* kPolicy = R"(segments:
  web: {tag: 100, members: [10.1.0.0/24, "fd00:1::/32"]}
  db: {tag: 200, members: [10.2.0.0/24, "fd00:2::/32"]}
policies:
  - {name: open, from: web, to: db, allow: [any]}
)";
  DataplaneSettings settings_;
  std::unique_ptr<ExplainablePolicy> policy_;
};

}  // namespace bulkhead::test
