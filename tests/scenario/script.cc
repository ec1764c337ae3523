#include "script.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <sstream>
#include <stdexcept>

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "config/gateway.h"
#include "config/policy.h"
#include "contract/relay_flow.h"
#include "expectation.h"
#include "packet_words.h"
#include "statements.h"

namespace bulkhead::test {
namespace {

constexpr WallTime kStart{
    1'893'456'000'000'000'000};  // 2030-01-01T00:00:00Z: where every scenario's clock begins
constexpr const char* kUsualGateway =
    "  mode: wire\n  ports: [{name: left}, {name: right}]\n  wires: [[left, right]]\n";

std::string hex_dump(std::span<const uint8_t> bytes) {
  std::string text;
  for (size_t i = 0; i < bytes.size(); ++i) {
    char digits[4];
    std::snprintf(digits, sizeof digits, i % 16 == 0 ? "\n%02x" : " %02x", bytes[i]);
    text += digits;
  }
  return text;
}

std::string said(const Diagnostics& diagnostics) {
  std::string text;
  for (const Diagnostic& d : diagnostics) text += "\n" + to_string(d);
  return text;
}

Nanoseconds duration_of(const std::string& word) {
  if (word == "0ms") return Nanoseconds{0};
  auto duration = parse_duration(word);
  if (!duration) throw std::invalid_argument(duration.error().message);
  return *duration;
}

/// A policy's block as files: a line `--- NAME` begins another one, and the first needs none.
std::vector<std::pair<std::string, std::string>> policy_files(const std::string& path,
                                                              const std::string& block) {
  std::vector<std::pair<std::string, std::string>> files{{path, ""}};
  std::istringstream lines(block);
  for (std::string line; std::getline(lines, line);) {
    size_t text = line.find_first_not_of(' ');
    if (text != std::string::npos && line.compare(text, 4, "--- ") == 0)
      files.push_back({line.substr(text + 4), ""});
    else
      files.back().second += line + "\n";
  }
  if (files.size() > 1 && files.front().second.empty()) files.erase(files.begin());
  return files;
}

/// "x12" as 12, 1 for anything else.
uint64_t take_count(std::string& head) {
  size_t at = head.rfind(" x");
  if (at == std::string::npos) return 1;
  uint64_t count = number_of(head.substr(at + 2));
  head.erase(at);
  return count;
}

class Script {
 public:
  Script(std::string path, unsigned workers, bool chained)
      : path_(std::move(path)), workers_(workers), chained_(chained) {}

  void run() {
    for (const Statement& statement : read_statements(path_)) {
      line_ = statement.line;
      try {
        step(statement);
      } catch (const std::exception& wrong) {
        fail(wrong.what());
        break;
      }
    }
    if (rig_) end();
  }

 private:
  void fail(const std::string& what) { ADD_FAILURE_AT(path_.c_str(), line_) << what; }

  void step(const Statement& s) {
    size_t arrow = s.text.find("=>"), colon = s.text.find(": ");
    Layer words(s.text);
    const std::string& kind = words.kind();
    if (kind == "gateway") return gateway(s.block);
    if (kind == "policy") return policy(s.block);
    if (s.text == "with svid") return void(with_svid_ = true);
    if (kind == "heartbeat") return heartbeat(words.next("the relay's state"));
    if (kind == "only") return;  // said where scenarios are registered
    if (kind == "uptime") return void(uptime_ = duration_of(words.next("how long")));
    if (kind == "at") return at(words.next("when"));
    if (kind == "idle") return idle(duration_of(words.next("how long")));
    if (kind == "endpoint") return endpoint(words);
    if (kind == "count") return count(words);
    if (kind == "hits") return hits(words);
    if (kind == "handshake") return handshake(words);
    if (kind == "held" && arrow != std::string::npos)
      return released(s.text.substr(0, arrow - 1), s.text.substr(arrow + 2));
    if (kind == "sent" && colon != std::string::npos)
      return sent(s.text.substr(5, colon - 5), s.text.substr(colon + 2));
    if (arrow == std::string::npos || colon == std::string::npos || colon > arrow)
      throw std::invalid_argument("not a statement, nor 'PORT: packet => fate'");
    packets(s.text.substr(0, colon), s.text.substr(colon + 2, arrow - colon - 2), s.text.substr(arrow + 2));
  }

  // --- what the gateway is

  Rig& rig() {
    if (!rig_) start(kUsualGateway);
    return *rig_;
  }

  void gateway(const std::string& block) {
    if (rig_) throw std::invalid_argument("'gateway' stands before everything that needs one");
    start(block);
  }

  void start(const std::string& block) {
    auto loaded = load_gateway_text(
        path_, "gateway: {name: gw}\ndataplane:\n" + block + (with_svid_ ? "svid: {directory: svid}\n" : ""),
        true);
    if (!loaded.config) throw std::runtime_error("the gateway has errors:" + said(loaded.diagnostics));
    settings_ = loaded.config->dataplane;
    rig_ = std::make_unique<Rig>(settings_, workers_, BootTime{kStart.ns}, uptime_);
    if (chained_) rig_->chain_frames();
    settings_.ports = [&] {  // with the MACs that the rig gave
      auto ports = settings_.ports;
      for (size_t i = 0; i < ports.size(); ++i)
        ports[i].mac = rig_->port(PortId{static_cast<uint8_t>(i)}).mac;
      return ports;
    }();
  }

  void policy(const std::string& block) {
    Rig& gateway = rig();
    auto loaded = load_policy_text(policy_files(path_, block), kStart);
    if (!loaded.policy) throw std::runtime_error("the policy has errors:" + said(loaded.diagnostics));
    auto compiled = compile(*loaded.policy, target_of(settings_), wall_as_boot);
    if (!compiled) throw std::runtime_error(compiled.error().message);
    gateway.publish(*compiled);
  }

  // --- the clock

  void at(const std::string& when) {
    BootTime now = rig().now();
    BootTime then = when.starts_with('+') ? BootTime{now.ns + duration_of(when.substr(1)).count()}
                                          : BootTime{kStart.ns + duration_of(when).count()};
    if (then < now) throw std::invalid_argument("the clock doesn't go back");
    rig().set_now(then);
  }

  /// Time passes without packets, in steps as a polling worker's.
  void idle(Nanoseconds time) {
    constexpr int64_t kStepNs = 5'000'000;
    Rig& gateway = rig();
    int64_t end = gateway.now().ns + time.count(), step = std::max(kStepNs, time.count() / 2000);
    while (gateway.now().ns < end) {
      gateway.set_now(BootTime{std::min(end, gateway.now().ns + step)});
      gateway.maintain();
    }
  }

  /// The mTLS relay's sign of life.
  void heartbeat(const std::string& state) {
    constexpr std::array<const char*, 3> kStates{"starting", "ready", "draining"};  // by RelayState, from 1
    auto known = std::ranges::find(kStates, state);
    if (known == kStates.end()) throw std::invalid_argument("'" + state + "' isn't a state of the relay");
    RelayHeartbeat beat = make_relay_heartbeat();
    beat.state = static_cast<RelayState>(known - kStates.begin() + 1);
    std::string packet = "ip 169.254.254.2 > 169.254.254.1 / udp 4790 > 4790 / hex ";
    for (uint8_t byte : std::span(reinterpret_cast<const uint8_t*>(&beat), sizeof beat)) {
      char text[3];
      std::snprintf(text, sizeof text, "%02x", byte);
      packet += text;
    }
    arrive(port_named(kRelayPortName), packet, parse_expectation("consume"));
  }

  // --- endpoints

  Endpoint known_endpoint(const Prefix& prefix) {
    const Endpoint* known = rig().snapshot() == nullptr
                                ? nullptr
                                : rig().snapshot()->endpoints->find_exact(prefix.address, prefix.bits);
    if (known == nullptr) throw std::invalid_argument("there is no endpoint " + to_string(prefix));
    return *known;
  }

  IdentityId identity_of_segment(const std::string& name) {
    const ImageView& image = *rig().snapshot()->image;
    for (const IdentityRecord& identity : image.identities)
      if (image.text(image.segments[identity.segment].name) == name) return IdentityId{identity.id};
    throw std::invalid_argument("policy has no segment '" + name + "'");
  }

  void endpoint(Layer& words) {
    std::string verb = words.next("put, remove, contain or release");
    auto prefix = parse_prefix(words.next("its prefix"));
    if (!prefix) throw std::invalid_argument(prefix.error().message);
    EndpointChange change{};
    change.kind = verb == "remove" ? ChangeKind::kRemove : ChangeKind::kPut;
    if (verb == "put") {
      change.endpoint.address = prefix->address;
      change.endpoint.bits = prefix->bits;
      change.endpoint.identity = identity_of_segment(words.next("its segment")).value;
      auto port = words.value("port");
      change.endpoint.port = port ? port_named(*port).value : kPortNone.value;
      if (auto mac = words.value("mac")) {
        change.endpoint.mac = mac_of(*mac);
        change.endpoint.flags |= kEndpointHasMac;
      }
    } else {
      change.endpoint = known_endpoint(*prefix);
      if (verb == "contain") change.endpoint.flags |= kEndpointContained;
      if (verb == "release") change.endpoint.flags &= static_cast<uint8_t>(~kEndpointContained);
    }
    words.done();
    rig().publish(std::vector{change});
  }

  // --- packets

  PortId port_named(const std::string& name) {
    for (size_t i = 0; i < settings_.ports.size(); ++i)
      if (settings_.ports[i].name == name) return PortId{static_cast<uint8_t>(i)};
    throw std::invalid_argument("there is no port '" + name + "'");
  }
  bool routes() const { return settings_.mode == Mode::kRoute; }

  void packets(std::string head, const std::string& packet, const std::string& expected) {
    rig();
    uint64_t repetitions = take_count(head);
    PortId port = port_named(head);
    Expectation expectation = parse_expectation(expected);
    for (uint64_t i = 0; i < repetitions && !testing::Test::HasFailure(); ++i)
      arrive(port, numbered(packet, i), expectation);
  }

  void arrive(PortId port, const std::string& text, const Expectation& expected) {
    Rig& gateway = rig();
    LinkDefaults link;
    if (routes()) link.destination = gateway.port(port).mac;
    BuiltFrame frame = build_frame(text, link);
    Outcome outcome = gateway.inject(port, frame.bytes);
    if (auto wrong = differences(expected, gateway, settings_, outcome.verdict); !wrong.empty())
      fail(text + "\n" + wrong);
    check_frame(expected, outcome, frame);
    if (outcome.verdict.fate == Fate::kHold) waiting_.emplace(outcome.packet, frame);
    if (std::string broken = gateway.broken_conservation(); !broken.empty()) fail(broken);
  }

  /// In wire mode a frame leaves as it came, padding trimmed; in route mode MACs, TTL and its checksum
  /// change, nothing else.
  void check_frame(const Expectation& expected, const Outcome& outcome, const BuiltFrame& in) {
    if (outcome.verdict.fate == Fate::kRelay) return check_relayed(expected, outcome);
    if (outcome.verdict.fate != Fate::kForward) {
      if (outcome.forwarded) fail("the packet didn't pass and yet left");
      return;
    }
    if (!outcome.forwarded) return fail("the packet passed and yet never left");
    if (outcome.forwarded->port != outcome.verdict.out) fail("it left by another port than the verdict says");
    Bytes wanted(in.bytes.begin(), in.bytes.begin() + static_cast<ptrdiff_t>(in.unpadded));
    const Bytes& got = outcome.forwarded->frame;
    if (expected.leaving) {
      wanted = build_frame(*expected.leaving, {}).bytes;
    } else if (routes()) {
      MacAddress to = expected.to.value_or(
          load<MacAddress>(got.data()));  // where the scenario names no next hop, any will do
      rewrite_as_router(wanted, outcome.forwarded->port, to);
    }
    if (got != wanted) fail("it left changed:" + hex_dump(got) + "\ninstead of:" + hex_dump(wanted));
  }

  /// What goes to the relay leaves as it came but for its link header; from where the IP packet begins,
  /// `leaving` says what it is.
  void check_relayed(const Expectation& expected, const Outcome& outcome) {
    if (!outcome.forwarded) return fail("the packet was for the relay and yet never left");
    if (!expected.leaving) return;
    Bytes wanted = build_frame(*expected.leaving, {kRelayMac, kRelayMac}).bytes;
    if (outcome.forwarded->frame != wanted)
      fail("it left changed:" + hex_dump(outcome.forwarded->frame) + "\ninstead of:" + hex_dump(wanted));
  }

  void rewrite_as_router(Bytes& frame, PortId out, const MacAddress& to) {
    std::ranges::copy(to.bytes, frame.begin());
    std::ranges::copy(rig().port(out).mac.bytes, frame.begin() + 6);
    bool v4 = get16(frame, 12) == 0x0800;
    frame[14 + (v4 ? 8 : 7)]--;
    if (!v4) return;
    size_t header = (frame[14] & 15u) * 4;
    set16(frame, 24, 0);
    set16(frame, 24, internet_checksum(std::span(frame).subspan(14, header)));
  }

  void released(std::string head, const std::string& expected) {
    Expectation expectation = parse_expectation(expected);
    uint64_t repetitions = take_count(head);
    for (uint64_t i = 0; i < repetitions && !testing::Test::HasFailure(); ++i) release(expectation);
  }

  void release(const Expectation& expectation) {
    if (rig().released().empty()) return fail("no packet that was held was let go");
    Outcome outcome = std::move(rig().released().front());
    rig().released().pop_front();
    if (auto wrong = differences(expectation, rig(), settings_, outcome.verdict); !wrong.empty()) fail(wrong);
    auto waiting = waiting_.find(outcome.packet);
    check_frame(expectation, outcome, waiting->second);
    waiting_.erase(waiting);
  }

  /// The oldest frame of the gateway's own on that port, byte for byte.
  void sent(std::string head, const std::string& text) {
    uint64_t repetitions = take_count(head);
    PortId port = port_named(head);
    LinkDefaults link;
    if (routes()) link.source = rig().port(port).mac;
    for (uint64_t i = 0; i < repetitions; ++i) {
      auto& own = rig().own_frames();
      auto first = std::ranges::find(own, port, &Sent::port);
      if (first == own.end()) return fail("the gateway sent nothing on " + head);
      if (text != "any") {
        Bytes wanted = build_frame(numbered(text, i), link).bytes;
        if (first->frame != wanted)
          fail("the gateway sent:" + hex_dump(first->frame) + "\ninstead of:" + hex_dump(wanted));
      }
      own.erase(first);
    }
  }

  void one(const char* port, const std::string& packet, FlowRelation relation) {
    Expectation expected;
    expected.out = std::string(port) == "left" ? "right" : "left";
    expected.relation = relation;
    arrive(port_named(port), packet, expected);
  }

  /// handshake CLIENT PORT > SERVER PORT: from left, initial sequence numbers 100 and 500, windows of 1,000
  /// bytes.
  void handshake(Layer& words) {
    rig();
    std::string client = words.next("its client"), from = words.next("its port"), arrow = words.next("'>'");
    std::string server = words.next("its server"), to = words.next("its port");
    words.done();
    std::string there = "ip " + client + " > " + server + " / tcp " + from + " > " + to,
                back = "ip " + server + " > " + client + " / tcp " + to + " > " + from;
    one("left", there + " S seq 100 win 1000", FlowRelation::kNew);
    one("right", back + " SA seq 500 ack 101 win 1000", FlowRelation::kEstablished);
    one("left", there + " A seq 101 ack 501 win 1000", FlowRelation::kEstablished);
  }

  // --- counters

  void expect_equal(const std::string& what, uint64_t got, uint64_t wanted) {
    if (got != wanted) fail(what + ": " + std::to_string(got) + ", not " + std::to_string(wanted));
  }

  void count(Layer& words) {
    static const std::map<std::string, Counter WorkerCounters::*> kCounters{
        {"received", &WorkerCounters::received},
        {"originated", &WorkerCounters::originated},
        {"transmitted", &WorkerCounters::transmitted},
        {"consumed", &WorkerCounters::consumed},
        {"held", &WorkerCounters::held},
        {"datagrams_held", &WorkerCounters::datagrams_held},
        {"new_flows", &WorkerCounters::new_flows},
        {"revoked", &WorkerCounters::flows_revoked},
        {"evicted", &WorkerCounters::half_open_evicted},
        {"judged", &WorkerCounters::judged},
        {"opening", &WorkerCounters::flows_tcp_opening},
        {"established", &WorkerCounters::flows_tcp_established},
        {"closing", &WorkerCounters::flows_tcp_closing}};
    std::string name = words.next("what");
    if (name == "flows") return expect_equal(name, rig().flow_count(), number_of(words.next("how many")));
    if (name == "drops") {
      std::string reason = words.next("the reason");
      auto known = drop_reason_named(reason);
      if (!known) throw std::invalid_argument("'" + reason + "' isn't a drop reason");
      return expect_equal(reason, rig().drops(*known), number_of(words.next("how many")));
    }
    auto counter = kCounters.find(name);
    if (counter == kCounters.end()) throw std::invalid_argument("no counter is called '" + name + "'");
    auto member = counter->second;
    expect_equal(name, rig().total([member](const WorkerCounters& c) -> const Counter& { return c.*member; }),
                 number_of(words.next("how many")));
  }

  /// hits RULE DECIDED [audited N]
  void hits(Layer& words) {
    std::string name = words.next("the rule");
    uint64_t wanted = number_of(words.next("how many")), wanted_audited = words.number("audited", 0),
             decided = 0, audited = 0;
    const ImageView& image = *rig().snapshot()->image;
    for (uint32_t rule = 0; rule < image.rules.size(); ++rule) {
      if (image.rule_name(RuleIndex{rule}) != name) continue;
      for (unsigned worker = 0; worker < rig().workers(); ++worker) {
        decided += read(rig().hits(worker)[rule].decided);
        audited += read(rig().hits(worker)[rule].audited);
      }
      expect_equal(name + " decided", decided, wanted);
      return expect_equal(name + " audited", audited, wanted_audited);
    }
    throw std::invalid_argument("no rule is called '" + name + "'");
  }

  void end() {
    for (const Sent& own : rig_->own_frames())
      fail("the gateway sent a frame on " + settings_.ports[own.port.value].name +
           " that the scenario doesn't mention:" + hex_dump(own.frame));
    if (!rig_->released().empty())
      fail("a packet that was held was let go, and the scenario doesn't mention it");
    if (std::string broken = rig_->broken_conservation(); !broken.empty()) fail(broken);
    if (size_t missing = rig_->close(); missing != 0)
      fail(std::to_string(missing) + " packets never came back to the pool");
  }

  std::string path_;
  unsigned workers_;
  bool chained_;
  bool with_svid_ = false;  ///< the gateway has an mTLS relay
  int line_ = 0;
  Nanoseconds uptime_ = std::chrono::hours(1);
  DataplaneSettings settings_;
  std::unique_ptr<Rig> rig_;
  std::map<uint64_t, BuiltFrame> waiting_;  // held, by their number
};

}  // namespace

void run_scenario(const std::string& path, unsigned workers, bool chained) {
  Script(path, workers, chained).run();
}

}  // namespace bulkhead::test
