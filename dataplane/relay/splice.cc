#include "dataplane/relay/connection.h"

namespace bulkhead {

namespace {

constexpr int kTurns = 8;  ///< reads of up to 64 KiB each way before others have their turn

/// One read of what `from` says, where there is something and room for it.
LegStatus take_in(Side& from, BlockPool& pool) {
  if (from.ended || !from.leg.readable) return LegStatus::kAgain;
  std::span<std::byte> room = from.said.room(pool);
  if (room.empty()) return from.said.empty() ? LegStatus::kNoMemory : LegStatus::kAgain;
  LegResult got = from.leg.read(room);
  from.said.filled(pool, got.bytes);
  if (got.status != LegStatus::kEnd) return got.status;
  from.ended = true;
  return LegStatus::kDone;
}

/// One write of it to the other side.
LegStatus hand_on(Side& from, Side& to, BlockPool& pool) {
  if (from.said.empty() || !to.leg.writable) return LegStatus::kAgain;
  LegResult put = to.leg.write(from.said.bytes());
  from.said.drop(pool, put.bytes);
  from.passed += put.bytes;
  return put.status;
}

/// Tells the other side that this one is done, once all that it said is written.
LegStatus hand_on_end(Side& from, Side& to) {
  if (!from.ended || from.end_passed || !from.said.empty() || !to.leg.writable) return LegStatus::kAgain;
  LegStatus status = to.leg.finish();
  from.end_passed = status == LegStatus::kDone;
  return status;
}

bool failed(LegStatus status) {
  return status != LegStatus::kDone && status != LegStatus::kAgain && status != LegStatus::kLater;
}

/// One direction.
SpliceOutcome move(Side& from, Side& to, BlockPool& pool) {
  from.leg.begin_turn();
  for (int turn = 0; turn < kTurns; ++turn) {
    LegStatus in = take_in(from, pool);
    if (failed(in)) return {.end = end_of(in, from)};
    LegStatus out = hand_on(from, to, pool);
    if (failed(out)) return {.end = end_of(out, to)};
    if (LegStatus end = hand_on_end(from, to); failed(end)) return {.end = end_of(end, to)};
    if (in == LegStatus::kLater) break;
    if (in == LegStatus::kAgain && out == LegStatus::kAgain) return {};
  }
  return {.end = std::nullopt, .more = true};
}

}  // namespace

RelayEnd end_of(LegStatus status, const Side& side) {
  switch (status) {
    case LegStatus::kTruncated:
      return RelayEnd::k_truncated;
    case LegStatus::kSilent:
      return RelayEnd::k_peer_silent;
    case LegStatus::kError:
      return RelayEnd::k_tls_error;
    case LegStatus::kNoMemory:
      return RelayEnd::k_memory_limit;
    default:
      return &side == &side.connection.client ? RelayEnd::k_client_reset : RelayEnd::k_server_reset;
  }
}

SpliceOutcome splice(Connection& c, BlockPool& pool) {
  SpliceOutcome there = move(c.client, c.server, pool);
  if (there.end) return there;
  SpliceOutcome back = move(c.server, c.client, pool);
  if (back.end) return back;
  if (c.client.end_passed && c.server.end_passed) return {.end = RelayEnd::k_closed};
  return {.end = std::nullopt, .more = there.more || back.more};
}

}  // namespace bulkhead
