#include "dataplane/fastpath/record_trace.h"

#include <algorithm>

#include "wire/tls.h"

namespace bulkhead {
namespace {

/// Whether a record's header may have that byte at that place: a type, SSL 3.1 or 3.3 (§5.1), a length.
bool may_stand(const RecordTrace& trace, uint8_t byte) noexcept {
  switch (trace.header) {
    case 0:
      return byte >= kTlsChangeCipherSpec && byte <= kTlsApplicationData;
    case 1:
      return byte == 3;
    case 2:
      return byte == 1 || byte == 3;
    case 3:
      return byte <= kTlsMostCiphertext >> 8;
    default:
      break;
  }
  uint32_t length = uint32_t{trace.length_begin} << 8 | byte;
  return length != 0 && length <= kTlsMostCiphertext;
}

}  // namespace

TraceResult follow(RecordTrace& trace, uint32_t sequence, std::span<const uint8_t> payload) noexcept {
  auto known = static_cast<int32_t>(trace.next - sequence);
  if (known < 0 && !payload.empty()) return TraceResult::kAhead;
  payload = payload.subspan(std::min(static_cast<size_t>(known), payload.size()));
  trace.next += static_cast<uint32_t>(payload.size());
  while (!payload.empty()) {
    if (trace.left != 0) {
      size_t here = std::min<size_t>(trace.left, payload.size());
      trace.left -= static_cast<uint16_t>(here);
      payload = payload.subspan(here);
      continue;
    }
    uint8_t byte = payload[0];
    if (!may_stand(trace, byte)) return TraceResult::kOther;
    if (trace.header == 3) trace.length_begin = byte;
    if (++trace.header == kTlsRecordHeader) {
      trace.left = static_cast<uint16_t>(trace.length_begin << 8 | byte);
      trace.header = 0;
    }
    payload = payload.subspan(1);
  }
  return TraceResult::kRecords;
}

}  // namespace bulkhead
