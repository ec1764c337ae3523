// The TLS records of a stream (RFC 8446 §5.1), followed as its segments pass: so that it is seen, and not
// believed, that nothing else leaves.
#pragma once

#include <cstdint>
#include <span>

namespace bulkhead {

struct RecordTrace {
  uint32_t next;         ///< sequence number of the first byte that wasn't seen yet
  uint16_t left;         ///< bytes of the record at hand that are still to come
  uint8_t header;        ///< bytes of the next record's header that were seen: 0 to 4
  uint8_t length_begin;  ///< with four of them: the first byte of its length
};

enum class TraceResult : uint8_t {
  kRecords,  ///< nothing but records so far
  kAhead,    ///< behind a gap: there is no saying what it is
  kOther,    ///< not a record
};

/// Reads on with one segment's payload; what comes again was read before. After kOther the trace means
/// nothing.
TraceResult follow(RecordTrace& trace, uint32_t sequence, std::span<const uint8_t> payload) noexcept;

}  // namespace bulkhead
