// What a single certificate must be, before any chain is looked at.
#pragma once

#include <expected>
#include <optional>

#include "svid/fault.h"
#include "svid/openssl.h"
#include "svid/spiffe_id.h"

namespace bulkhead {

/// The workload's ID, where the certificate may be an SVID's first.
/// Errors: what X509-SVID §4 and §5.2 forbid, and what check_key and check_signature_algorithm do.
std::expected<SpiffeId, SvidFault> check_leaf(X509* leaf);

/// Whether it may stand above others (X509-SVID §4.1, RFC 5280 §4.2.1.9): a CA with keyCertSign, and with
/// both TLS usages where it limits those of what it issues. Nothing: it may.
std::optional<SvidFault> check_issuer(X509* issuer);

/// The key and the signature that the certificate carries. A named curve stands as its name: parameters
/// written out could pretend to be one (CVE-2020-0601).
std::optional<SvidFault> check_key(X509* certificate);
std::optional<SvidFault> check_signature_algorithm(X509* certificate);

/// Whether it is a signature with one of SHA-2's hashes, for a CRL's too. `signature` as OpenSSL numbers it.
bool is_sha2_signature(int signature);

}  // namespace bulkhead
