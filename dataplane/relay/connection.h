// One relayed connection: the client's side, the server's side, and what is known of the flow.
#pragma once

#include <optional>
#include <string>

#include "base/clock.h"
#include "contract/relay_end.h"
#include "contract/relay_flow.h"
#include "contract/relay_messages.h"
#include "dataplane/relay/byte_queue.h"
#include "dataplane/relay/intrusive_list.h"
#include "dataplane/relay/leg.h"

namespace bulkhead {

struct Connection;

struct Side {
  explicit Side(Connection& owner) : connection(owner) {}
  Connection& connection;
  Leg leg;
  ByteQueue said;           ///< by this side, and not yet taken by the other
  uint64_t passed = 0;      ///< bytes that it said and the other took
  bool ended = false;       ///< it said that it is done
  bool end_passed = false;  ///< and the other was told
};

/// Thread: its worker.
struct Connection {
  enum class Phase : uint8_t {
    kIdentities,  ///< the flow was announced under newer ones than are here, which are on their way
    kHandshake,   ///< of the TLS side
    kConnect,     ///< to the server
    kRelay,       ///< both identities are verified, both sides are open
  };

  explicit Connection(const RelayAnnouncement& announced) : flow(announced) {}

  RelayAnnouncement flow;
  Side client{*this}, server{*this};
  Phase phase = Phase::kConnect;
  bool authorized = false;  ///< the peer's identity was verified and belongs where it is
  bool established = false;
  bool dead = false;  ///< ended, and about to be forgotten
  BootTime accepted{}, deadline{};
  std::string own_id, peer_id;
  ProofRecord proof{};  ///< what was known when the handshake was done

  OwnedHook<Connection> in_all{this}, in_waiting{this}, in_ready{this};

  Side& tls_side() { return flow.role == RelayRole::kOriginate ? server : client; }
  Side& plain_side() { return flow.role == RelayRole::kOriginate ? client : server; }
};

/// Moves what can be moved from one side to the other, and the end of it.
struct SpliceOutcome {
  std::optional<RelayEnd> end;  ///< the connection is over
  bool more = false;            ///< its turn is over, but there is more to do at once
};
SpliceOutcome splice(Connection& connection, BlockPool& pool);

/// What a failure of the side's leg means for the connection.
RelayEnd end_of(LegStatus status, const Side& side);

}  // namespace bulkhead
