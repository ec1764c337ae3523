// Frames as bytes, in a heap block of exactly their size: the first byte chooses the port's kind and the
// checks, the rest is the frame.
#include <algorithm>
#include <cstring>
#include <memory>

#include "base/check.h"
#include "dataplane/fastpath/parse.h"

using namespace bulkhead;

static PortView port_of(bool any_vlan) {
  PortView port;
  port.id = PortId{0};
  port.vlans.set(0);
  if (any_vlan) port.vlans.set();
  return port;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  static const PortView untagged = port_of(false), tagged = port_of(true);
  if (size == 0 || size > 65000) return 0;
  uint8_t choice = input[0];
  std::unique_ptr<uint8_t[]> frame(new uint8_t[size - 1]);
  std::copy_n(input + 1, size - 1, frame.get());
  PacketMeta meta;
  PacketKey key;
  auto flags = static_cast<uint8_t>(choice & (kSkipL4Checksum | kSkipIpChecksum));
  DropReason reason = parse_frame({frame.get(), size - 1}, (choice & 4) != 0 ? tagged : untagged,
                                  (choice & 8) != 0, flags, meta, key);
  BULKHEAD_CHECK(reason == meta.reason);
  PacketMeta full_meta;
  PacketKey full_key;
  DropReason full = parse_frame({frame.get(), size - 1}, (choice & 4) != 0 ? tagged : untagged,
                                (choice & 8) != 0, flags | kNoShortcut, full_meta, full_key);
  BULKHEAD_CHECK(full == reason);  // the shortcut takes nothing that the full checks don't
  if (reason != DropReason::kNone || meta.family == 0) return 0;
  if (meta.family == 4 && meta.kind == PacketKind::kFlow)
    BULKHEAD_CHECK(key.v4 == full_key.v4 && std::memcmp(&meta, &full_meta, sizeof meta) == 0);
  BULKHEAD_CHECK(size_t{meta.l3} + meta.ip_bytes <= size - 1);
  BULKHEAD_CHECK(meta.l4 > meta.l3 && meta.l4 <= meta.l3 + meta.ip_bytes);
  return 0;
}
