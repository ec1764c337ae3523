// TLS 1.3 as far as its two hellos go (RFC 8446).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace bulkhead {

// Record layer (§5.1): type, legacy version, length of the fragment.
inline constexpr size_t kTlsRecordHeader = 5;
inline constexpr uint32_t kTlsMostFragment = 1u << 14;
inline constexpr uint32_t kTlsMostCiphertext = kTlsMostFragment + 256;  ///< of an encrypted one (§5.2)
inline constexpr uint8_t kTlsChangeCipherSpec = 20;
inline constexpr uint8_t kTlsHandshake = 22;
inline constexpr uint8_t kTlsApplicationData = 23;

// Handshake messages (§4): type, length in 24 bits, body.
inline constexpr uint8_t kTlsClientHello = 1;
inline constexpr uint8_t kTlsServerHello = 2;
inline constexpr uint32_t kTlsRandomBytes = 32;
inline constexpr uint32_t kTlsMostSessionId = 32;

inline constexpr uint16_t kTlsLegacyVersion = 0x0303;  ///< that both hellos have (§4.1.2, §4.1.3)
inline constexpr uint16_t kTlsVersion13 = 0x0304;

// Extensions (§4.2; RFC 6066 §3).
inline constexpr uint16_t kTlsServerName = 0;
inline constexpr uint16_t kTlsEarlyData = 42;
inline constexpr uint16_t kTlsSupportedVersions = 43;
inline constexpr uint8_t kTlsHostName = 0;
inline constexpr size_t kMostHostName =
    253;  ///< characters of a DNS name without its last dot (RFC 1035 §2.3.4)
inline constexpr size_t kMostHostLabel = 63;

/// The random of a ServerHello that is a HelloRetryRequest: SHA-256 of that word (§4.1.3).
inline constexpr std::array<uint8_t, kTlsRandomBytes> kTlsHelloRetryRequest = {
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c};

}  // namespace bulkhead
