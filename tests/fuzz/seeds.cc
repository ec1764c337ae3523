// Writes the fuzz targets' seeds: valid inputs of every kind, made by the code that makes them in earnest,
// and every packet of the scenarios. Usage: fuzz_seeds OUT CORPUS CASES. OUT gets TARGET.list for each
// target, the names of its seeds and of the files in CORPUS/TARGET (former crashes among them), joined by
// commas as libFuzzer's -seed_inputs wants them.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <stdexcept>

#include "base/check.h"
#include "config/gateway.h"
#include "contract/messages.h"
#include "contract/relay_flow.h"
#include "contract/relay_identities.h"
#include "contract/relay_messages.h"
#include "contract/settings.h"
#include "dataplane/fastpath/parse.h"
#include "dataplane/relay/svid_response.h"
#include "packet_text.h"
#include "packet_words.h"
#include "policy/image_view.h"
#include "statements.h"
#include "svid/pem.h"
#include "svid/verify.h"
#include "tests/fuzz/svid_chain.h"
#include "tests/unit/cli/capture_bytes.h"
#include "tests/unit/policy/sample_image.h"
#include "tests/unit/svid/certificates.h"
#include "tests/unit/svid/der_of.h"
#include "tls_bytes.h"
#include "workload_api.pb.h"

namespace bulkhead::test {
namespace {

namespace fs = std::filesystem;

/// The seeds of all targets as they are made.
class Seeds {
 public:
  explicit Seeds(fs::path out) : out_(std::move(out)) {}

  void add(const std::string& target, const std::string& name, std::span<const uint8_t> bytes) {
    fs::create_directories(out_ / target);
    fs::path path = out_ / target / name;
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    lists_[target].push_back(path.string());
  }
  void add_files(const std::string& target, const fs::path& directory) {
    std::error_code none;
    for (const auto& entry : fs::directory_iterator(directory, none))
      lists_[target].push_back(fs::absolute(entry.path()).string());
  }
  void write_lists() {
    for (auto& [target, paths] : lists_) {
      std::ranges::sort(paths);
      std::ofstream list(out_ / (target + ".list"));
      for (size_t i = 0; i < paths.size(); ++i) list << (i == 0 ? "" : ",") << paths[i];
    }
  }

 private:
  fs::path out_;
  std::map<std::string, std::vector<std::string>> lists_;
};

Bytes operator+(Bytes head, std::span<const uint8_t> tail) {
  head.insert(head.end(), tail.begin(), tail.end());
  return head;
}

template <class T>
std::span<const uint8_t> bytes_of(const T& value) {
  return {reinterpret_cast<const uint8_t*>(&value), sizeof value};
}

std::span<const uint8_t> bytes_of(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// --- contract

template <class Message>
void add_message(Seeds& seeds, const char* name, MessageType type, const Message& fields) {
  Message message = fields;
  message.header = make_message<Message>(type).header;
  BULKHEAD_CHECK(decode_message<Message>(std::as_bytes(std::span(&message, 1)), type).has_value());
  seeds.add("contract", name, bytes_of(message));
}

constexpr const char* kGateway = R"(gateway: {name: edge-1}
dataplane:
  mode: route
  ports:
    - {name: left, link: attached, sources: [10.1.0.0/24, "fd00:1::/64"], vlans: [10, 20], addresses: [10.1.0.254/24, "fd00:1::fe/64"],
       host_addresses: [192.0.2.1], neighbours: [{address: 10.1.0.9, mac: "02:00:00:00:00:09"}]}
    - {name: right, addresses: [10.2.0.254/24], mac: "02:00:00:00:00:02"}
  routes: [{to: 0.0.0.0/0, via: 10.2.0.1}]
)";

void add_relay_contract(Seeds& seeds) {
  RelayWelcome welcome{};
  welcome.generation = 3, welcome.state = RelayState::kReady;
  add_message(seeds, "relay-welcome", MessageType::kRelayWelcome, welcome);
  add_message(seeds, "publish-identities", MessageType::kPublishIdentities,
              PublishIdentities{.header = {}, .generation = 3, .image_bytes = 400});
  add_message(seeds, "relay-drain", MessageType::kRelayDrain, RelayDrain{});
  add_message(seeds, "relay-counters", MessageType::kRelayCounters, RelayCounters{});
  add_message(seeds, "publish-svids", MessageType::kPublishSvids,
              PublishSvids{.header = {}, .response_bytes = 4096, .withdrawn = 0, .reserved = 0});
  ConnectionProof proof;
  proof.record.moment = ProofMoment::kEnded, proof.record.role = RelayRole::kTerminate;
  proof.own_id = "spiffe://corp.example/db", proof.peer_id = "spiffe://corp.example/web",
  proof.detail = "why";
  auto packet = encode_proof(proof);
  BULKHEAD_CHECK(decode_proof(packet).has_value());
  seeds.add("contract", "proof", {reinterpret_cast<const uint8_t*>(packet.data()), packet.size()});

  RelayAnnouncement announcement = make_relay_announcement();
  announcement.client = announcement.server = IpAddress::v4(0x0a000001);
  announcement.client_port = announcement.server_port = 7;
  announcement.role = RelayRole::kOriginate;
  BULKHEAD_CHECK(read_relay_announcement(std::as_bytes(std::span(&announcement, 1))).has_value());
  seeds.add("contract", "announcement", bytes_of(announcement));
  RelayHeartbeat heartbeat = make_relay_heartbeat();
  heartbeat.state = RelayState::kReady;
  seeds.add("contract", "heartbeat", bytes_of(heartbeat));
  auto identities = write_identities(
      {.generation = 3,
       .segments =
           {{SegmentTag{100}, "web", {"spiffe://corp.example/web/*"}, "spiffe://corp.example/web/relay"}},
       .workloads = {{7, "spiffe://corp.example/web/7"}}});
  BULKHEAD_CHECK(identities.has_value());
  seeds.add("contract", "identities",
            {reinterpret_cast<const uint8_t*>(identities->data()), identities->size()});
}

void add_contract(Seeds& seeds) {
  add_message(seeds, "hello", MessageType::kHello, Hello{.header = {}, .pid = 7});
  Welcome welcome{};
  welcome.pid = 7, welcome.generation = 3, welcome.image_generation = 2, welcome.worker_count = 4,
  welcome.port_count = 2;
  std::snprintf(welcome.gateway, sizeof welcome.gateway, "edge-1");
  add_message(seeds, "welcome", MessageType::kWelcome, welcome);
  Publish publish{};
  publish.generation = 4, publish.image_bytes = 4096, publish.batch_count = 10, publish.replace_endpoints = 1;
  add_message(seeds, "publish", MessageType::kPublish, publish);
  Accepted accepted{};
  accepted.generation = 4, accepted.rule_hits_count = 10;
  add_message(seeds, "accepted", MessageType::kAccepted, accepted);
  Refused refused{};
  refused.generation = 4, refused.code = ErrorCode::kInvalid;
  std::snprintf(refused.reason, sizeof refused.reason, "its checksum is wrong");
  add_message(seeds, "refused", MessageType::kRefused, refused);
  add_message(seeds, "list-flows", MessageType::kListFlows,
              ListFlows{.header = {}, .request = 1, .limit = 100});
  add_message(seeds, "flow-page", MessageType::kFlowPage,
              FlowPage{.header = {}, .request = 1, .count = 2, .total = 3});
  add_message(seeds, "port-event", MessageType::kPortEvent, PortEvent{.header = {}, .port = 1, .up = 1});
  add_message(seeds, "shutdown", MessageType::kShutdown, Shutdown{});

  auto loaded = load_gateway_text("seed", kGateway, true);
  BULKHEAD_CHECK(loaded.config.has_value());
  std::string settings = encode(loaded.config->dataplane);
  BULKHEAD_CHECK(decode_settings(settings).has_value());
  seeds.add("contract", "settings", bytes_of(settings));
  add_relay_contract(seeds);
}

// --- image

void add_image(Seeds& seeds) {
  static const CompiledPolicy sample = compiled_sample();
  BULKHEAD_CHECK(read_image(sample.image.span()).has_value());
  const Bytes own{0, 1, 2, 3, 4}, changed{1, 1, 2, 3, 4};  // what the rest is, and a seed for what is judged
  auto image = sample.image.span();
  seeds.add("image", "own", own + std::span(reinterpret_cast<const uint8_t*>(image.data()), image.size()));
  seeds.add("image", "unchanged", changed);
  seeds.add("image", "changed", changed + Bytes{200, 0, 9, 0, 0, 0});
}

// --- captures

void add_captures(Seeds& seeds) {
  std::vector<std::string> frames;
  for (const char* text : {"ip 10.1.0.5 > 10.2.0.9 / tcp 40000 > 80 S seq 100 win 1000",
                           "ip 10.2.0.9 > 10.1.0.5 / tcp 80 > 40000 SA seq 500 ack 101 win 1000",
                           "ip fd00:1::5 > fd00:2::9 / udp 40000 > 53 / text \"who\""}) {
    Bytes frame = build_frame(text).bytes;
    frames.emplace_back(reinterpret_cast<const char*>(frame.data()), frame.size());
  }
  for (const auto& [name, capture] : sample_captures(frames))
    for (uint8_t route : {0, 1})
      seeds.add("capture", name + (route ? "-route" : ""), Bytes{route} + bytes_of(capture));
}

// --- certificates

void add_svids(Seeds& seeds) {
  auto chain = *certificates_from_pem(std::string(kLeafPem) + kMiddlePem);
  TrustStore trust;
  BULKHEAD_CHECK(trust.add(*parse_trust_domain("corp.example"), {*certificates_from_pem(kRootPem), {}}));
  X509Stack above = stack_of(&chain[1], &chain[1] + 1);
  auto svid = verify_svid(chain[0].get(), above.get(), trust, WallTime{1'800'000'000'000'000'000});
  BULKHEAD_CHECK(svid && svid->id.text() == kOnlyId);
  Bytes der{'c'};
  for (const X509Ptr& one : chain) {
    size_t at = der.size();
    der.resize(at + static_cast<size_t>(i2d_X509(one.get(), nullptr)));
    uint8_t* to = der.data() + at;
    i2d_X509(one.get(), &to);
  }
  seeds.add("svid", "chain", der);
  auto add_text = [&](const char* name, const std::string& text) { seeds.add("svid", name, bytes_of(text)); };
  add_text("id", std::string("i") + kOnlyId);
  add_text("domain", "ispiffe://corp.example");
  add_text("pattern", "ispiffe://corp.example/web/*");
  add_text("certificates", std::string("p") + kLeafPem + kMiddlePem);
  add_text("crl", std::string("p") + kCrlPem);
}

void add_svid_response(Seeds& seeds) {
  Issued root = issue(authority("root")), leaf = issue({}, &root), other = issue(authority("other"));
  X509SVIDResponse sent;
  X509SVID& svid = *sent.add_svids();
  svid.set_spiffe_id("spiffe://corp.example/web/7");
  svid.set_x509_svid(der_of(leaf.certificate.get()));
  svid.set_x509_svid_key(der_of(leaf.key.get()));
  svid.set_bundle(der_of(root.certificate.get()));
  auto add = [&](const char* name) {
    std::string bytes = sent.SerializeAsString();
    auto response = read_svid_response(bytes);
    BULKHEAD_CHECK(response && response->left_out.empty());
    seeds.add("svid_response", name, bytes_of(bytes));
  };
  add("one");
  (*sent.mutable_federated_bundles())["spiffe://other.example"] = der_of(other.certificate.get());
  add("federated");
  sent.add_crl(der_of(revoke(root, {leaf.certificate.get()}).get()));
  add("revoked");
}

// --- packets

struct Packet {
  uint8_t port;
  Bytes frame;
};

uint8_t port_named(const std::string& name) {
  return name == "left" ? 0 : 1;
}

/// The packet of a line, as it would arrive; nothing where the line is no packet, or needs ports of other
/// names.
std::vector<Packet> packets_of(const Statement& statement, bool route) {
  std::vector<Packet> packets;
  auto add = [&](const std::string& port, const std::string& text) {
    LinkDefaults link;
    uint8_t number = port_named(port);
    if (route) link.destination = MacAddress{{0x02, 0xff, 0, 0, 0, static_cast<uint8_t>(number + 1)}};
    packets.push_back({number, build_frame(numbered(text, 0), link).bytes});
  };
  const std::string& text = statement.text;
  size_t colon = text.find(": "), arrow = text.find("=>");
  if (text.starts_with("handshake ")) {
    auto words = split_words(text);
    std::string there = "ip " + words[1] + " > " + words[4] + " / tcp " + words[2] + " > " + words[5],
                back = "ip " + words[4] + " > " + words[1] + " / tcp " + words[5] + " > " + words[2];
    add("left", there + " S seq 100 win 1000");
    add("right", back + " SA seq 500 ack 101 win 1000");
    add("left", there + " A seq 101 ack 501 win 1000");
  } else if (colon != std::string::npos && arrow != std::string::npos && colon < arrow) {
    std::string port = split_words(text.substr(0, colon)).at(0);
    if (port == "left" || port == "right") add(port, text.substr(colon + 2, arrow - colon - 2));
  }
  return packets;
}

/// One seed of frames each for the parser, and the whole as bursts for the pipeline. Returns how many parse.
size_t add_scenario(Seeds& seeds, const fs::path& file, const std::string& name) {
  static const PortView port = [] {
    PortView view;
    view.vlans.set();
    return view;
  }();
  auto statements = read_statements(file.string());
  auto says = [&](const char* words) {
    return std::ranges::any_of(statements,
                               [=](const Statement& s) { return s.block.find(words) != std::string::npos; });
  };
  bool route = says("mode: route");
  bool tags = !route && (says("trust_tags: true") || says("vxlan: {local: 192.0.2.1"));
  Bytes bursts{static_cast<uint8_t>(route ? 1 : tags ? 2 : 0)};
  size_t number = 0, parsed = 0;
  for (const Statement& statement : statements) {
    for (const Packet& packet : packets_of(statement, route)) {
      uint8_t choice = static_cast<uint8_t>(4 | (route ? 8 : 0));  // any VLAN; checksums are verified
      seeds.add("parse", name + "-" + std::to_string(++number), Bytes{choice} + packet.frame);
      PacketMeta meta;
      PacketKey key;
      parsed += parse_frame(packet.frame, port, route, 0, meta, key) == DropReason::kNone;
      size_t bytes = packet.frame.size();
      if (bytes >= 2048 || bursts.size() + bytes > 8000) continue;
      bursts = bursts + Bytes{packet.port, 1, static_cast<uint8_t>(bytes >> 8), static_cast<uint8_t>(bytes)} +
               packet.frame;
    }
    if (statement.text.starts_with("idle") || statement.text.starts_with("at"))
      bursts = bursts + Bytes{0x50, 200, 0xff, 0};  // 6.4 s, and the timers
  }
  seeds.add("pipeline", name, bursts);
  return parsed;
}

/// As fragments_fuzz.cc reads them: 1 is the second datagram, 2 more to come, 32 a tenth of a second.
void add_fragments(Seeds& seeds) {
  const Bytes first{2, 0, 1, 7}, second{2, 2, 1, 7}, last{0, 4, 1, 7};
  seeds.add("fragments", "in-order", Bytes{0} + first + second + last);
  seeds.add("fragments", "backwards", Bytes{1} + last + second + first);
  seeds.add("fragments", "duplicate", Bytes{0} + last + last + first + first + second);
  seeds.add("fragments", "overlap", Bytes{0} + first + Bytes{2, 1, 1, 7} + second + last);
  seeds.add("fragments", "rewrite", Bytes{1} + first + Bytes{2, 0, 1, 8} + second + last);
  seeds.add("fragments", "two-ends", Bytes{0} + last + Bytes{0, 3, 0, 7} + first + second);
  seeds.add("fragments", "interleaved",
            Bytes{0} + first + Bytes{3, 0, 1, 9} + second + Bytes{1, 2, 0x21, 9} + last);
  seeds.add("fragments", "too-late",
            Bytes{0} + first + Bytes{226, 2, 1, 7} + Bytes{224, 4, 1, 7} + first + second);
}

/// As hello_fuzz.cc reads them.
void add_hellos(Seeds& seeds) {
  auto piece = [](uint8_t direction, const Bytes& bytes) {
    Bytes p{direction};
    put16(p, bytes.size());
    return p + bytes;
  };
  const Bytes client = piece(0, build(client_hello("db.corp.example"))),
              server = piece(1, build(server_hello()));
  const Bytes again = piece(1, build(hello_retry_request()) + tls_record(20, Bytes{1})),
              change = piece(0, tls_record(20, Bytes{1}));
  TlsHello pieces = client_hello("a.example");
  pieces.record_bytes = 3;
  seeds.add("hello", "plain", client + server);
  seeds.add("hello", "retry", client + again + change + client + server);
  seeds.add("hello", "pieces", piece(0, build(pieces)) + server);
  seeds.add("hello", "nameless", piece(0, build(client_hello(""))) + server);
  seeds.add("hello", "tls12", client + piece(1, [] {
                                TlsHello old = server_hello();
                                old.remove(43);
                                return build(old);
                              }()));
}

void add_scenarios(Seeds& seeds, const fs::path& cases) {
  size_t parsed = 0;
  for (const auto& entry : fs::recursive_directory_iterator(cases)) {
    if (entry.path().extension() != ".scenario") continue;
    std::string name = entry.path().lexically_relative(cases).replace_extension().string();
    std::ranges::replace(name, '/', '-');
    parsed += add_scenario(seeds, entry.path(), name);
  }
  BULKHEAD_CHECK(parsed > 300);  // or the seeds don't get behind the first checks
}

}  // namespace
}  // namespace bulkhead::test

int main(int argc, char** argv) {
  using namespace bulkhead::test;
  if (argc != 4) {
    std::fprintf(stderr, "usage: fuzz_seeds OUT CORPUS CASES\n");
    return 2;
  }
  Seeds seeds(std::filesystem::absolute(argv[1]));
  add_contract(seeds);
  add_captures(seeds);
  add_image(seeds);
  add_svids(seeds);
  add_svid_response(seeds);
  add_fragments(seeds);
  add_hellos(seeds);
  add_scenarios(seeds, argv[3]);
  for (const char* target : {"capture", "contract", "fragments", "hello", "image", "parse", "pipeline",
                             "svid", "svid_response", "yaml"})
    seeds.add_files(target, std::filesystem::path(argv[2]) / target);
  seeds.write_lists();
  return 0;
}
