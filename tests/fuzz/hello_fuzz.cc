// What two ends say to each other before they speak TLS, in pieces: however it is cut it is read the same,
// and what is found verified a naive reading of the whole finds too. The input is a list of (direction in the
// lowest bit, length, bytes).
#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "dataplane/fastpath/tls_hello.h"

using namespace bulkhead;

namespace {

using Bytes = std::vector<uint8_t>;

struct Piece {
  unsigned direction;
  std::span<const uint8_t> bytes;
};

std::vector<Piece> pieces_of(std::span<const uint8_t> input) {
  std::vector<Piece> pieces;
  while (input.size() >= 3) {
    size_t wanted = size_t{input[1]} << 8 | input[2];
    size_t bytes = std::min(wanted, input.size() - 3);
    pieces.push_back({input[0] & 1u, input.subspan(3, bytes)});
    input = input.subspan(3 + bytes);
  }
  return pieces;
}

struct Result {
  TlsFault fault = TlsFault::kNone;
  bool verified = false, heard = false;
  std::string name;
  uint16_t suite = 0;
  Bytes streams[2];  ///< what was read
  bool operator==(const Result&) const = default;
};

Result read(const std::vector<Piece>& pieces, size_t most) {
  TlsHellos hellos;
  Result result;
  for (const Piece& piece : pieces) {
    for (auto rest = piece.bytes; !rest.empty() && !hellos.verified();) {
      // A block of exactly its size, so that a sanitizer sees any step outside.
      Bytes part(rest.begin(), rest.begin() + static_cast<ptrdiff_t>(std::min(rest.size(), most)));
      size_t taken = 0;
      result.fault = hellos.take(piece.direction, part, taken);
      if (result.fault != TlsFault::kNone) return {result.fault, false, false, {}, 0, {}};
      BULKHEAD_CHECK(taken == part.size() || hellos.verified());
      Bytes& stream = result.streams[piece.direction];
      stream.insert(stream.end(), part.begin(), part.begin() + static_cast<ptrdiff_t>(taken));
      rest = rest.subspan(taken);
    }
  }
  result.verified = hellos.verified();
  result.heard = hellos.heard_client();
  if (result.heard || result.verified) result.name = hellos.name();
  if (result.verified) result.suite = hellos.suite();
  return result;
}

// --- a naive reading

uint16_t number(const Bytes& in, size_t at) {
  BULKHEAD_CHECK(at + 2 <= in.size());
  return static_cast<uint16_t>(in[at] << 8 | in[at + 1]);
}

/// Handshake messages of a stream of whole records.
std::vector<Bytes> messages_of(const Bytes& stream) {
  Bytes handshake;
  for (size_t at = 0; at < stream.size();) {
    size_t length = number(stream, at + 3);
    BULKHEAD_CHECK(at + 5 + length <= stream.size());
    auto first = stream.begin() + static_cast<ptrdiff_t>(at + 5);
    if (stream[at] == kTlsHandshake)
      handshake.insert(handshake.end(), first, first + static_cast<ptrdiff_t>(length));
    at += 5 + length;
  }
  std::vector<Bytes> messages;
  for (size_t at = 0; at < handshake.size();) {
    BULKHEAD_CHECK(at + 4 <= handshake.size());
    size_t length = size_t{handshake[at + 1]} << 16 | number(handshake, at + 2);
    BULKHEAD_CHECK(at + 4 + length <= handshake.size());
    auto first = handshake.begin() + static_cast<ptrdiff_t>(at);
    messages.emplace_back(first, first + static_cast<ptrdiff_t>(4 + length));
    at += 4 + length;
  }
  return messages;
}

/// The extension's body in a hello whose extensions begin at `at`.
std::optional<Bytes> extension_of(const Bytes& hello, size_t at, uint16_t type) {
  size_t end = at + 2 + number(hello, at);
  BULKHEAD_CHECK(end == hello.size());
  for (at += 2; at < end;) {
    size_t length = number(hello, at + 2);
    auto first = hello.begin() + static_cast<ptrdiff_t>(at + 4);
    if (number(hello, at) == type) return Bytes(first, first + static_cast<ptrdiff_t>(length));
    at += 4 + length;
  }
  return std::nullopt;
}

size_t behind_session(const Bytes& hello) {
  return 4 + 2 + 32 + 1 + size_t{hello.at(38)};
}

std::string name_in(const Bytes& client) {
  size_t suites = behind_session(client), compression = suites + 2 + number(client, suites);
  size_t extensions = compression + 1 + client.at(compression);
  BULKHEAD_CHECK(client.at(0) == kTlsClientHello && !extension_of(client, extensions, kTlsEarlyData));
  auto versions = extension_of(client, extensions, kTlsSupportedVersions);
  bool offered = false;
  for (size_t at = 1; versions && at < versions->size(); at += 2)
    offered |= number(*versions, at) == kTlsVersion13;
  BULKHEAD_CHECK(offered);
  auto names = extension_of(client, extensions, kTlsServerName);
  if (!names) return {};
  std::string name(names->begin() + 5, names->end());
  std::ranges::transform(name, name.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return name;
}

void check_naively(const Result& result) {
  auto client = messages_of(result.streams[0]), server = messages_of(result.streams[1]);
  BULKHEAD_CHECK(client.size() == server.size() && (client.size() == 1 || client.size() == 2));
  for (const Bytes& hello : client) BULKHEAD_CHECK(name_in(hello) == result.name);
  for (const Bytes& hello : server) {
    size_t suite = behind_session(hello);
    BULKHEAD_CHECK(hello.at(0) == kTlsServerHello);
    BULKHEAD_CHECK(extension_of(hello, suite + 3, kTlsSupportedVersions) == (Bytes{3, 4}));
    bool retries = std::equal(kTlsHelloRetryRequest.begin(), kTlsHelloRetryRequest.end(), hello.begin() + 6);
    BULKHEAD_CHECK(retries == (&hello != &server.back()));
  }
  BULKHEAD_CHECK(number(server.back(), behind_session(server.back())) == result.suite);
  BULKHEAD_CHECK(result.suite >> 8 == 0x13);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  auto pieces = pieces_of({input, size});
  Result whole = read(pieces, SIZE_MAX);
  BULKHEAD_CHECK(read(pieces, 1) == whole);
  BULKHEAD_CHECK(read(pieces, 7) == whole);
  if (whole.verified) check_naively(whole);
  return 0;
}
