// Whether certificates prove a workload's identity (X509-SVID §5, RFC 5280 §6).
#pragma once

#include <array>
#include <chrono>
#include <expected>
#include <span>
#include <string>

#include "svid/fault.h"
#include "svid/trust_store.h"

namespace bulkhead {

/// How far clocks may be apart: a certificate, or a CRL, is taken this much before and after its time.
inline constexpr std::chrono::seconds kClockSkew{60};
/// A chain as a peer presents it, leaf included. More is refused before anything is computed.
inline constexpr size_t kMaxChainCertificates = 8;
inline constexpr size_t kMaxChainBytes = 65536;  ///< of their DER

/// A proven identity.
struct VerifiedSvid {
  SpiffeId id;
  WallTime expires;                ///< when the first certificate of its chain ends, without skew
  std::array<uint8_t, 32> sha256;  ///< of the leaf's DER
  std::string serial;              ///< the leaf's, in hexadecimal
  bool operator==(const VerifiedSvid&) const = default;
};

/// Verifies a leaf against the bundle of the trust domain that its SPIFFE ID names, and no other.
/// Input:  `intermediates` may be null, in any order, and hold the leaf as well, as OpenSSL's do.
/// Output: the identity. OpenSSL's error queue stays as it was.
/// Errors: the first rule that is broken, in this order: the size of the chain, the leaf by itself, its trust
/// domain, the intermediates by themselves, the path.
/// Thread: any. Cost: one signature for each certificate of the path, and one for each CRL.
std::expected<VerifiedSvid, SvidFault> verify_svid(X509* leaf, const STACK_OF(X509) * intermediates,
                                                   const TrustStore& trust, WallTime now,
                                                   std::chrono::seconds skew = kClockSkew);

/// Whether a chain is within kMaxChainCertificates and kMaxChainBytes; nothing: it is. Input: as
/// verify_svid's.
std::optional<SvidFault> check_chain_size(X509* leaf, const STACK_OF(X509) * intermediates);

/// SHA-256 of the DER.
std::array<uint8_t, 32> fingerprint_of(const X509* certificate);
/// Hexadecimal, upper case, as OpenSSL's tools print it.
std::string serial_of(const X509* certificate);
std::string to_hex(std::span<const uint8_t> bytes);

}  // namespace bulkhead
