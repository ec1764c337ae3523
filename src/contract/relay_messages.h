// What crosses the SEQPACKET socket between the control plane and the relay, under the rules of messages.h.
// The relay listens; one control plane at a time is attached.
//
//   control plane -> relay            relay -> control plane
//   Hello                             RelayWelcome or Refused
//   PublishIdentities (+ fd: image)   Accepted (every connection is judged by it) or Refused (nothing
//   changed) RelayDrain, Shutdown              ConnectionProof, RelayCounters (every second)
//
// On another socket the SVIDs' fetcher says PublishSvids (+ fd: response). Accepted says that it has been
// read, whatever came of it, and that the next one may follow.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/error.h"
#include "contract/messages.h"
#include "contract/relay_end.h"
#include "contract/relay_flow.h"

namespace bulkhead {

inline constexpr uint64_t kMaxRelayIdentitiesBytes = uint64_t{1} << 30;
inline constexpr uint64_t kMaxSvidResponseBytes = uint64_t{32} << 20;
inline constexpr size_t kMaxIdentityBytes = 2048;  ///< SPIFFE-ID §2.3

/// The relay's answer to Hello.
struct RelayWelcome {
  MessageHeader header;
  uint64_t pid;
  uint64_t generation;  ///< of the identities in force; 0: none
  uint64_t started_boot_ns;
  uint64_t live;  ///< connections
  RelayState state;
  uint8_t reserved[7];
};

/// Hands over identities (contract/relay_identities.h): the fd is a sealed memfd of `image_bytes`. What comes
/// last counts, whatever its number: generations go back where one is withdrawn, or where both planes were
/// started again. The relay keeps those before, for flows announced under them, while generations go up.
struct PublishIdentities {
  MessageHeader header;
  uint64_t generation;  ///< the policy image's
  uint64_t image_bytes;
};

/// What the SPIFFE Workload API's agent said last: all SVIDs, keys, bundles and CRLs that there are.
struct PublishSvids {
  MessageHeader header;
  uint64_t response_bytes;  ///< of an X509SVIDResponse; the fd is a sealed memfd with it
  uint32_t withdrawn;       ///< 1: the agent grants nothing any more; there is no response, and no fd
  uint32_t reserved;
};

/// No new connections from now on; the relay stays until it is told Shutdown.
struct RelayDrain {
  MessageHeader header;
};

enum class ProofMoment : uint8_t {
  kEstablished = 1,  ///< both identities are verified; application data may flow from now on
  kEnded,            ///< was established, and ended
  kFailed,           ///< never was, and why
};

/// The fixed part of a ConnectionProof as it travels; the texts follow, one after the other.
struct ProofRecord {
  MessageHeader header;
  uint64_t flow_id;           ///< RelayAnnouncement::flow_id; 0: none was announced
  uint64_t image_generation;  ///< of the identities that it was judged by last
  int64_t time_boot_ns;       ///< BootTime of `moment`
  int64_t handshake_ns;       ///< from the client's connection until both identities were verified; 0: never
  uint64_t bytes_from_client, bytes_from_server;  ///< of application data, as it was passed on
  IpAddress client, server;
  uint16_t client_port, server_port;
  uint16_t tls_version;   ///< as on the wire: 0x0304 is TLS 1.3; 0: not negotiated
  uint16_t cipher_suite;  ///< as on the wire: 0x1301 is TLS_AES_128_GCM_SHA256
  ProofMoment moment;
  RelayRole role;   ///< meaningless where flow_id is 0
  RelayEnd end;     ///< kCount: it lives
  uint8_t resumed;  ///< 1: an earlier TLS session was taken up; both identities were verified all the same
  uint8_t own_certificate[32];   ///< SHA-256 of the leaf that the relay showed; zeroes: none
  uint8_t peer_certificate[32];  ///< SHA-256 of the peer's leaf; zeroes: none
  uint16_t own_id_bytes, peer_id_bytes, detail_bytes;
  uint16_t reserved[3];
};
static_assert(sizeof(ProofRecord) == 184);

/// What the relay knows of one connection: proof of who spoke with whom, and how.
struct ConnectionProof {
  ProofRecord record{};
  std::string
      own_id;  ///< SPIFFE ID that the relay showed: of the client's side for kOriginate, else the server's
  std::string peer_id;  ///< SPIFFE ID in the peer's certificate; not verified where `end` is svid_refused
  std::string detail;   ///< what exactly was wrong, for counting and for a person, e.g. a name of SvidFault
};
inline constexpr size_t kMaxProofDetail = 200;
static_assert(sizeof(ProofRecord) + 2 * kMaxIdentityBytes + kMaxProofDetail <= kMaxMessageBytes);

/// What the relay counted since it started.
struct RelayCounters {
  MessageHeader header;
  uint64_t live;                                     ///< connections now, opening ones included
  uint64_t opening;                                  ///< of those, not yet established
  uint64_t established[kRelayRoleCount];             ///< by index_of(RelayRole)
  uint64_t failed[kRelayRoleCount][kRelayEndCount];  ///< never established, by reason
  uint64_t ended[kRelayRoleCount][kRelayEndCount];   ///< established and ended, by reason
  uint64_t unannounced;  ///< connections without an announcement: of no known role
  uint64_t resumed;      ///< of those established
  uint64_t bytes_from_client, bytes_from_server;
  uint64_t memory_bytes;  ///< buffers in use
  uint64_t announcements, announcements_wrong, announcements_expired;
  uint64_t proofs_lost;  ///< couldn't be sent, and no room to keep them
};

/// Its packet; the header and the lengths of the texts are filled in. IDs over kMaxIdentityBytes and a detail
/// over kMaxProofDetail are cut off.
std::vector<std::byte> encode_proof(const ConnectionProof& proof);
/// Errors: kInvalid, as decode_message.
Expected<ConnectionProof> decode_proof(std::span<const std::byte> packet);

}  // namespace bulkhead
