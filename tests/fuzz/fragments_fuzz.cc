// Fragments of two datagrams in any order, overlapping as they like, through a whole pipeline beside a naive
// reassembly: what leaves is exactly what that one completes. The input is a list of (which datagram, whether
// more follow, and tenths of seconds since the one before; offset; length; content).
#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <vector>

#include "base/check.h"
#include "config/gateway.h"
#include "config/policy.h"
#include "dataplane/fastpath/parse.h"
#include "dataplane/fastpath/replay.h"
#include "rig.h"
#include "wire_bytes.h"

using namespace bulkhead;
using test::Bytes;

namespace {

constexpr const char* kGateway = R"(gateway: {name: gw}
dataplane:
  mode: wire
  ports: [{name: left}, {name: right}]
  wires: [[left, right]]
  fragments: {datagrams: 4, timeout: 1s}
)";
constexpr const char* kPolicy = R"(segments:
  web: {tag: 100, members: [10.1.0.0/24]}
  db: {tag: 200, members: [10.2.0.0/24]}
policies: [{name: open, from: web, to: db, allow: [udp/53]}]
)";
constexpr int64_t kTimeoutNs = 1'000'000'000;

struct Piece {
  size_t offset, bytes;
  bool more;
  Bytes frame;
};

Piece piece_of(std::span<const uint8_t> input) {
  Piece p{input[1] % 32u * 8, (input[2] % 8u + 1) * 8, (input[0] & 2) != 0, {}};
  if (!p.more) p.bytes -= input[2] >> 5;
  Bytes payload(p.bytes, input[3]);
  if (p.offset == 0) {
    const Bytes udp{0x03, 0xe8, 0, 53, 0, 8, 0, 0};  // 1000 to 53, of 8 bytes, without a checksum
    std::copy_n(udp.begin(), std::min(udp.size(), payload.size()), payload.begin());
  }
  p.frame = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0};
  test::put16(p.frame, 20 + p.bytes);
  test::put16(p.frame, input[0] & 1);
  test::put16(p.frame, (p.more ? 0x2000u : 0u) | p.offset / 8);
  test::append(p.frame, Bytes{64, 17, 0, 0, 10, 1, 0, 5, 10, 2, 0, 9});
  test::append(p.frame, payload);
  return p;
}

/// What RFC 791 and RFC 5722 say of one datagram, without a thought for speed.
class NaiveDatagram {
 public:
  /// The fragments that leave now: all in order, or none.
  std::vector<Bytes> take(const Piece& piece, BootTime now) {
    if (began_ && now.ns - began_->ns >= kTimeoutNs) *this = {};
    if (!began_) began_ = now;
    if (refused_) return {};
    for (const Piece& other : pieces_)
      if (other.frame == piece.frame) return {};
    pieces_.push_back(piece);
    refused_ = contradicts();
    if (refused_) return {};
    std::ranges::sort(pieces_, {}, &Piece::offset);
    size_t end = 0;
    for (const Piece& p : pieces_) {
      if (p.offset != end) return {};
      end += p.bytes;
    }
    if (pieces_.back().more) return {};
    std::vector<Bytes> all;
    for (const Piece& p : pieces_) all.push_back(p.frame);
    *this = {};
    return all;
  }

 private:
  bool contradicts() const {
    for (const Piece& a : pieces_)
      for (const Piece& b : pieces_) {
        if (&a == &b) continue;
        bool overlap = a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
        bool beyond = !a.more && b.offset + b.bytes >= a.offset + a.bytes;
        if (overlap || beyond) return true;
      }
    return false;
  }
  std::optional<BootTime> began_;
  bool refused_ = false;
  std::vector<Piece> pieces_;
};

std::unique_ptr<test::Rig> make_rig(unsigned workers) {
  auto loaded = load_gateway_text("fuzz", kGateway, true);
  auto policy = load_policy_text({{"fuzz", kPolicy}}, WallTime{0});
  BULKHEAD_CHECK(loaded.config && policy.policy);
  auto compiled = compile(*policy.policy, target_of(loaded.config->dataplane), wall_as_boot);
  BULKHEAD_CHECK(compiled.has_value());
  auto rig = std::make_unique<test::Rig>(loaded.config->dataplane, workers, BootTime{1'000'000'000'000},
                                         std::chrono::hours(1), kSkipIpChecksum);
  rig->publish(*compiled);
  return rig;
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  auto started = start_replay_memory(256);
  if (!started) std::fprintf(stderr, "%s\n", started.error().message.c_str());
  BULKHEAD_CHECK(started.has_value());
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::span<const uint8_t> input(data, size);
  auto rig = make_rig(1 + input[0] % 2);
  NaiveDatagram naive[2];
  for (input = input.subspan(1); input.size() >= 4; input = input.subspan(4)) {
    rig->set_now(BootTime{rig->now().ns + int64_t{input[0] >> 5} * 100'000'000});
    Piece piece = piece_of(input);
    if (piece.offset == 0 && !piece.more) continue;  // all of it at once isn't a fragment
    std::vector<Bytes> wanted = naive[input[0] & 1].take(piece, rig->now());
    rig->inject(PortId{0}, piece.frame);
    BULKHEAD_CHECK(rig->transmitted().size() == wanted.size());
    for (size_t i = 0; i < wanted.size(); ++i) BULKHEAD_CHECK(rig->transmitted()[i].frame == wanted[i]);
    rig->transmitted().clear();
    rig->released().clear();
    BULKHEAD_CHECK(rig->broken_conservation().empty());
  }
  BULKHEAD_CHECK(rig->close() == 0);
  return 0;
}
