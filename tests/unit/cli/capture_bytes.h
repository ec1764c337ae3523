// Captures as bytes, both formats in both byte orders, so that tests can damage them.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bulkhead::test {

struct CapturedPacket {
  uint64_t seconds;
  uint32_t fraction;  ///< of the capture's own unit
  std::string bytes;
  uint32_t missing = 0;  ///< bytes of it that weren't kept
};

/// Numbers in the byte order that the file has.
class ByteWriter {
 public:
  explicit ByteWriter(bool big_endian) : big_endian_(big_endian) {}

  template <std::unsigned_integral Number>
  ByteWriter& put(Number number) {
    for (size_t i = 0; i < sizeof number; ++i) {
      size_t byte = big_endian_ ? sizeof number - 1 - i : i;
      bytes_ += static_cast<char>(number >> (8 * byte));
    }
    return *this;
  }
  ByteWriter& put(std::string_view bytes) {
    bytes_ += bytes;
    return *this;
  }
  /// A number of `Number`'s size, whatever its type.
  ByteWriter& u16(uint64_t n) { return put(static_cast<uint16_t>(n)); }
  ByteWriter& u32(uint64_t n) { return put(static_cast<uint32_t>(n)); }
  ByteWriter& u64(uint64_t n) { return put(n); }
  const std::string& bytes() const { return bytes_; }

 private:
  bool big_endian_;
  std::string bytes_;
};

struct ClassicFormat {
  bool big_endian = false, nanoseconds = false;
  uint32_t link_type = 1;  ///< LINKTYPE_ETHERNET
  uint32_t snap_length = 65'535;
};

/// draft-ietf-opsawg-pcap.
inline std::string classic_capture(const ClassicFormat& format, const std::vector<CapturedPacket>& packets) {
  ByteWriter out(format.big_endian);
  out.u32(format.nanoseconds ? 0xa1b23c4d : 0xa1b2c3d4).u16(2).u16(4).u32(0).u32(0);
  out.u32(format.snap_length).u32(format.link_type);
  for (const CapturedPacket& packet : packets) {
    out.u32(packet.seconds).u32(packet.fraction);
    out.u32(packet.bytes.size()).u32(packet.bytes.size() + packet.missing).put(packet.bytes);
  }
  return out.bytes();
}

/// Blocks of pcapng, draft-ietf-opsawg-pcapng.
class NextGenerationCapture {
 public:
  explicit NextGenerationCapture(bool big_endian) : big_endian_(big_endian) {
    block(0x0a0d0d0a, fields().u32(0x1a2b3c4d).u16(1).u16(0).u64(UINT64_MAX));
  }
  ByteWriter fields() const { return ByteWriter(big_endian_); }
  NextGenerationCapture& block(uint32_t type, const ByteWriter& body) {
    std::string padded = body.bytes() + std::string((4 - body.bytes().size() % 4) % 4, '\0');
    bytes_ += fields().u32(type).u32(padded.size() + 12).put(padded).u32(padded.size() + 12).bytes();
    return *this;
  }
  /// `resolution`: if_tsresol, 0: absent; `offset`: if_tsoffset in seconds, 0: absent.
  NextGenerationCapture& interface(uint16_t link_type, uint8_t resolution = 0, int64_t offset = 0) {
    ByteWriter body = fields();
    body.u16(link_type).u16(0).u32(65'535);
    if (resolution != 0) body.u16(9).u16(1).put(std::string{static_cast<char>(resolution), 0, 0, 0});
    if (offset != 0) body.u16(14).u16(8).u64(static_cast<uint64_t>(offset));
    if (resolution != 0 || offset != 0) body.u16(0).u16(0);
    return block(1, body);
  }
  NextGenerationCapture& packet(uint32_t interface, uint64_t time, const std::string& bytes,
                                uint32_t missing = 0) {
    return block(6, fields()
                        .u32(interface)
                        .u32(time >> 32)
                        .u32(time)
                        .u32(bytes.size())
                        .u32(bytes.size() + missing)
                        .put(bytes));
  }
  const std::string& bytes() const { return bytes_; }

 private:
  bool big_endian_;
  std::string bytes_;
};

/// One capture of each kind: what stands in one, and what readers stumble over. `frames`: three at least.
inline std::vector<std::pair<std::string, std::string>> sample_captures(
    const std::vector<std::string>& frames) {
  std::vector<std::pair<std::string, std::string>> captures;
  std::vector<CapturedPacket> packets{{1'700'000'000, 1, frames[0]},
                                      {1'700'000'000, 2, {}},
                                      {1'700'000'003, 0, frames[1].substr(0, 30), 40},
                                      {4'294'967'295, 999'999, frames[2]}};
  for (bool big_endian : {false, true}) {
    std::string order = big_endian ? "big" : "little";
    for (bool nanoseconds : {false, true})
      captures.emplace_back("classic-" + order + (nanoseconds ? "-ns" : "-us"),
                            classic_capture({big_endian, nanoseconds}, packets));
    NextGenerationCapture next(big_endian);
    next.interface(1).interface(1, 9).interface(1, 0x80 | 20, 1'600'000'000);
    next.block(0x0badcafe, next.fields().u32(1));
    next.packet(0, 1'700'000'000'000'001, frames[0]);
    next.packet(1, 1'700'000'001'000'000'001, frames[1].substr(0, 30), 40);
    next.block(3, next.fields().u32(frames[2].size()).put(frames[2]));  // a simple packet: without a time
    next.packet(2, uint64_t{100'000'002} << 20, {});
    captures.emplace_back("next-" + order, next.bytes());
  }
  constexpr uint32_t kLinuxCooked = 113, kRawIp = 101;
  std::string cooked = std::string("\0\0\0\1\0\6\2\0\0\0\0\7\0\0", 14) + frames[0].substr(12);
  captures.emplace_back("cooked", classic_capture({.link_type = kLinuxCooked}, {{1'700'000'000, 0, cooked}}));
  captures.emplace_back("raw", classic_capture({.link_type = kRawIp}, {{1, 0, frames[0].substr(14)}}));
  return captures;
}

}  // namespace bulkhead::test
