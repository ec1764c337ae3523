// Two hashes of a flow key. One is secret and finds the flow in its table; the other is the one that NICs
// compute, and names the worker that owns the flow.
#pragma once

#include <immintrin.h>

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "dataplane/fastpath/packet.h"

namespace bulkhead {

/// Secret, since attackers choose tuples (Crosby and Wallach 2003). 16 bytes.
struct HashSeed {
  uint64_t words[2];
};

namespace hash_detail {
inline __m128i mix(__m128i state, __m128i seed) noexcept {
  // Two AES rounds spread every input bit over all 16 bytes; the third hides the linear last one.
  state = _mm_aesenc_si128(state, seed);
  state = _mm_aesenc_si128(state, seed);
  return _mm_aesenc_si128(state, seed);
}
inline __m128i seed_of(const HashSeed& seed) noexcept {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(seed.words));
}
}  // namespace hash_detail

/// The table's hash: three AES rounds over the key, keyed by the seed.
inline uint64_t flow_hash(const FlowKey4& key, const HashSeed& seed) noexcept {
  __m128i s = hash_detail::seed_of(seed);
  __m128i x = _mm_xor_si128(_mm_load_si128(reinterpret_cast<const __m128i*>(&key)), s);
  return static_cast<uint64_t>(_mm_cvtsi128_si64(hash_detail::mix(x, s)));
}

inline uint64_t flow_hash(const FlowKey6& key, const HashSeed& seed) noexcept {
  __m128i s = hash_detail::seed_of(seed);
  auto* at = reinterpret_cast<const uint8_t*>(&key);
  __m128i x = hash_detail::mix(_mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)), s), s);
  x = hash_detail::mix(_mm_xor_si128(x, _mm_loadu_si128(reinterpret_cast<const __m128i*>(at + 16))), s);
  x = hash_detail::mix(_mm_xor_si128(x, _mm_loadl_epi64(reinterpret_cast<const __m128i*>(at + 32))), s);
  return static_cast<uint64_t>(_mm_cvtsi128_si64(x));
}

/// The RSS key under which Toeplitz is symmetric: 16 bits, repeated (Woo and Park 2012, "Scalable TCP session
/// monitoring with symmetric RSS").
inline constexpr uint16_t kSymmetricRssKey = 0x6d5a;

namespace hash_detail {
/// Toeplitz of one 16-bit word under that key. Since the key repeats every 16 bits, all words of the input
/// see the same key bits, so the hash of the whole tuple is that of the exclusive or of its words.
constexpr uint32_t toeplitz_word(uint16_t word) {
  uint32_t window = uint32_t{kSymmetricRssKey} << 16 | kSymmetricRssKey, result = 0;
  for (int bit = 15; bit >= 0; --bit) {
    if (word >> bit & 1) result ^= window;
    window = std::rotl(window, 1);
  }
  return result;
}
inline constexpr auto kToeplitzHigh = [] {
  std::array<uint32_t, 256> table{};
  for (unsigned i = 0; i < 256; ++i) table[i] = toeplitz_word(static_cast<uint16_t>(i << 8));
  return table;
}();
inline constexpr auto kToeplitzLow = [] {
  std::array<uint32_t, 256> table{};
  for (unsigned i = 0; i < 256; ++i) table[i] = toeplitz_word(static_cast<uint16_t>(i));
  return table;
}();
inline uint16_t fold(uint64_t x) noexcept {
  x ^= x >> 32;
  return static_cast<uint16_t>(x ^ x >> 16);
}
inline uint32_t toeplitz_of_fold(uint16_t raw) noexcept {
  uint16_t word = __builtin_bswap16(raw);
  return kToeplitzHigh[word >> 8] ^ kToeplitzLow[word & 0xff];
}
inline uint16_t fold_ports(uint16_t low, uint16_t high, IpProto proto) noexcept {
  // NICs hash ports of TCP and UDP only.
  return proto == IpProto::kTcp || proto == IpProto::kUdp ? low ^ high : 0;
}
}  // namespace hash_detail

/// The 32-bit RSS hash that a NIC with the symmetric key gives the flow's packets, both directions.
inline uint32_t rss_hash(const FlowKey4& key) noexcept {
  uint16_t words = hash_detail::fold(uint64_t{key.low_address} ^ key.high_address);
  return hash_detail::toeplitz_of_fold(words ^
                                       hash_detail::fold_ports(key.low_port, key.high_port, key.proto));
}
inline uint32_t rss_hash(const FlowKey6& key) noexcept {
  uint64_t words[4];
  std::memcpy(words, key.low_address, 32);
  uint16_t folded = hash_detail::fold(words[0] ^ words[1] ^ words[2] ^ words[3]);
  return hash_detail::toeplitz_of_fold(folded ^
                                       hash_detail::fold_ports(key.low_port, key.high_port, key.proto));
}

/// The worker that owns flows of that hash: as a redirection table of 128 entries filled in turn gives it.
inline unsigned owner_of(uint32_t rss, unsigned workers) noexcept {
  return (rss & 127) % workers;
}

}  // namespace bulkhead
