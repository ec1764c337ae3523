// How a relayed connection ended: one counter, one name in every tool, and one line of help each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace bulkhead {

/// NAME(name, help). The names are promises to users.
#define BULKHEAD_RELAY_ENDS(NAME)                                                                        \
  NAME(closed, "both sides said that they were done")                                                    \
  NAME(client_reset, "the client reset its connection")                                                  \
  NAME(server_reset, "the server reset its connection")                                                  \
  NAME(truncated, "the TLS side ended without close_notify, so its data may not be whole")               \
  NAME(tls_error, "the TLS side sent what TLS does not allow, or an alert, after the handshake")         \
  NAME(peer_silent, "a side stopped answering")                                                          \
  NAME(not_announced, "the dataplane announced no such flow")                                            \
  NAME(generation_unknown, "announced under a policy whose identities the relay does not have")          \
  NAME(svid_missing, "neither the workload nor its segment's relay_id has an SVID here")                 \
  NAME(connect_failed, "the server did not accept the connection")                                       \
  NAME(connect_timeout, "the server did not answer in time")                                             \
  NAME(handshake_failed, "the peer broke off the TLS handshake, or spoke something else than TLS 1.3")   \
  NAME(handshake_timeout, "the TLS handshake took too long")                                             \
  NAME(svid_missing_at_peer, "the peer showed no certificate")                                           \
  NAME(svid_refused, "the peer's certificate is no valid X.509-SVID of a trusted domain")                \
  NAME(identity_mismatch, "the peer's SPIFFE ID does not belong to the segment that its address is in")  \
  NAME(revoked, "identities, trust or policy changed, and the connection would not be allowed any more") \
  NAME(too_many_handshakes, "more handshakes at once than one source address or the relay may have")     \
  NAME(too_many_connections, "more connections than one source address or the relay may have")           \
  NAME(memory_limit, "the relay's memory is used up")                                                    \
  NAME(link_lost, "the link to the dataplane went away")                                                 \
  NAME(shutdown, "the relay was told to stop")

enum class RelayEnd : uint8_t {
#define BULKHEAD_NAME(name, help) k_##name,
  BULKHEAD_RELAY_ENDS(BULKHEAD_NAME)
#undef BULKHEAD_NAME
      kCount,
};
inline constexpr size_t kRelayEndCount = static_cast<size_t>(RelayEnd::kCount);

/// The name that every tool shows, e.g. "identity_mismatch". "none" for what is no end.
std::string_view name_of(RelayEnd end);
/// One line of help for a person.
std::string_view help_of(RelayEnd end);

}  // namespace bulkhead
