#include "dataplane/relay/peer_verdicts.h"

#include <openssl/sha.h>

#include <vector>

namespace bulkhead {

namespace {

void append(std::vector<uint8_t>& to, const X509* certificate) {
  auto fingerprint = fingerprint_of(certificate);
  to.insert(to.end(), fingerprint.begin(), fingerprint.end());
}

}  // namespace

/// The leaf and its intermediates, which a resumed session has from its ticket.
PeerVerdicts::Chain PeerVerdicts::chain_of(SSL* tls) {
  std::vector<uint8_t> all;
  append(all, SSL_get0_peer_certificate(tls));
  if (const STACK_OF(X509)* chain = SSL_get_peer_cert_chain(tls)) {
    for (int i = 0; i < sk_X509_num(chain); ++i) append(all, sk_X509_value(chain, i));
  } else {
    void* ticket = nullptr;
    size_t bytes = 0;
    SSL_SESSION_get0_ticket_appdata(SSL_get_session(tls), &ticket, &bytes);
    auto* first = static_cast<const uint8_t*>(ticket);
    all.insert(all.end(), first, first + bytes);
  }
  Chain digest;
  SHA256(all.data(), all.size(), digest.data());
  return digest;
}

std::optional<SvidFault> PeerVerdicts::fault_of(SSL* tls) {
  if (!SSL_get0_peer_certificate(tls)) return SvidFault::k_certificate_missing;
  auto [at, fresh] = known_.try_emplace(chain_of(tls));
  if (fresh)
    if (auto peer = peer_svid(tls); !peer) at->second = peer.error();
  return at->second;
}

}  // namespace bulkhead
