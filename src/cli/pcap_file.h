// Captures on disk: pcap and pcapng in, classic pcap with nanoseconds out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"

struct pcap;
struct pcap_dumper;

namespace bulkhead {

/// One captured frame, with an Ethernet header whatever the capture's link type.
struct CapturedFrame {
  WallTime time;
  std::vector<std::byte> bytes;
  bool cut_short = false;    ///< the capture kept less than was on the wire
  bool made_header = false;  ///< the Ethernet header is ours: the destination MAC is still all zero
};

/// A capture that is read from beginning to end.
class PcapReader {
 public:
  /// Opens a pcap or pcapng file. "-" is standard input.
  /// Errors: kInvalid for what isn't a capture, and for link types that no Ethernet frame can be made from;
  /// names the file.
  static Expected<PcapReader> open(const std::string& path);
  PcapReader(PcapReader&&) noexcept;
  PcapReader& operator=(PcapReader&&) noexcept;
  ~PcapReader();

  /// The next frame into `frame`; false at the end, be it in the middle of a packet.
  /// Errors: kInvalid for a damaged file, and for a time that is before 1970 or after 2106 (as far as the
  /// classic format counts), naming the file and the packet's number.
  Expected<bool> next(CapturedFrame& frame);
  /// How many packets were begun, the one included that isn't whole.
  uint64_t count() const { return count_; }
  /// Whether the file ended inside the last of them, as where who captured was killed.
  bool cut_off() const { return cut_off_; }

 private:
  PcapReader(std::string path, pcap* handle);
  std::unexpected<Error> broken(const std::string& why) const;
  std::string path_;
  pcap* handle_;
  int link_type_;
  uint64_t count_ = 0;
  bool cut_off_ = false;
};

/// A classic pcap file of Ethernet frames, times in nanoseconds. The same frames give the same bytes.
class PcapWriter {
 public:
  /// Errors: as the operating system says, naming the file.
  static Expected<PcapWriter> create(const std::string& path);
  PcapWriter(PcapWriter&&) noexcept;
  PcapWriter& operator=(PcapWriter&&) noexcept;
  ~PcapWriter();

  void write(WallTime time, std::span<const std::byte> frame);
  /// Writes out what is buffered. Errors: kExhausted and the like, when not all of it reached the file.
  Expected<void> close();

 private:
  PcapWriter(std::string path, pcap* handle, pcap_dumper* dumper);
  std::string path_;
  pcap* handle_;
  pcap_dumper* dumper_;
};

}  // namespace bulkhead
