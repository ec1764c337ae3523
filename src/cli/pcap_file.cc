#include "cli/pcap_file.h"

#include <pcap/pcap.h>

#include <cerrno>
#include <cstdio>
#include <optional>
#include <utility>

#include "cli/link_type.h"

namespace bulkhead {

static constexpr int kSnapLength = 262144;  // libpcap's own bound on a packet

/// libpcap's time with nanosecond precision, which it puts where the type says microseconds.
static std::optional<WallTime> time_of(const timeval& time, bool classic) {
  int64_t seconds = time.tv_sec;
  if (classic) seconds = static_cast<uint32_t>(seconds);  // unsigned in the file, sign-extended by libpcap
  if (seconds < 0 || seconds > UINT32_MAX) return std::nullopt;
  WallTime result{seconds * 1'000'000'000 + time.tv_usec};
  if (result.ns < 0) return std::nullopt;  // a fraction that is none
  return result;
}

Expected<PcapReader> PcapReader::open(const std::string& path) {
  char error[PCAP_ERRBUF_SIZE];
  pcap_t* handle = pcap_open_offline_with_tstamp_precision(path.c_str(), PCAP_TSTAMP_PRECISION_NANO, error);
  if (handle == nullptr)
    return fail(ErrorCode::kInvalid, std::string(error).contains(path) ? error : path + ": " + error);
  PcapReader reader(path, handle);
  if (reader.link_type_ != DLT_EN10MB && !is_convertible(reader.link_type_)) {
    const char* name = pcap_datalink_val_to_name(reader.link_type_);
    return fail(ErrorCode::kInvalid,
                path + ": link type " + (name ? name : std::to_string(reader.link_type_)) +
                    " has no Ethernet frames in it; capture on an Ethernet interface, or on `any`");
  }
  return reader;
}

PcapReader::PcapReader(std::string path, pcap_t* handle)
    : path_(std::move(path)), handle_(handle), link_type_(pcap_datalink(handle)) {}
PcapReader::PcapReader(PcapReader&& other) noexcept
    : path_(std::move(other.path_)),
      handle_(std::exchange(other.handle_, nullptr)),
      link_type_(other.link_type_),
      count_(other.count_),
      cut_off_(other.cut_off_) {}
PcapReader& PcapReader::operator=(PcapReader&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(handle_, other.handle_);
  std::swap(link_type_, other.link_type_);
  std::swap(count_, other.count_);
  std::swap(cut_off_, other.cut_off_);
  return *this;
}
PcapReader::~PcapReader() {
  if (handle_ != nullptr) pcap_close(handle_);
}

std::unexpected<Error> PcapReader::broken(const std::string& why) const {
  return fail(ErrorCode::kInvalid, path_ + ": packet " + std::to_string(count_) + ": " + why);
}

Expected<bool> PcapReader::next(CapturedFrame& frame) {
  pcap_pkthdr* header = nullptr;
  const u_char* bytes = nullptr;
  int result = pcap_next_ex(handle_, &header, &bytes);
  if (result == PCAP_ERROR_BREAK) return false;
  ++count_;
  if (result != 1) {
    cut_off_ = std::feof(pcap_file(handle_)) != 0;
    if (cut_off_) return false;
    return broken(pcap_geterr(handle_));
  }
  std::span<const std::byte> captured(reinterpret_cast<const std::byte*>(bytes), header->caplen);
  constexpr int kFirstClassicVersion = 2;  // pcapng says 1
  auto time = time_of(header->ts, pcap_major_version(handle_) >= kFirstClassicVersion);
  if (!time) return broken("its time is before 1970 or after 2106; shift the capture's with editcap -t");
  frame.time = *time;
  frame.cut_short = header->caplen < header->len;
  frame.made_header = link_type_ != DLT_EN10MB;
  if (frame.made_header) {
    frame.bytes = to_ethernet(link_type_, captured);
  } else {
    frame.bytes.assign(captured.begin(), captured.end());
  }
  return true;
}

Expected<PcapWriter> PcapWriter::create(const std::string& path) {
  pcap_t* handle = pcap_open_dead_with_tstamp_precision(DLT_EN10MB, kSnapLength, PCAP_TSTAMP_PRECISION_NANO);
  if (handle == nullptr) return fail(ErrorCode::kExhausted, path + ": no memory");
  pcap_dumper_t* dumper = pcap_dump_open(handle, path.c_str());
  PcapWriter writer(path, handle, dumper);
  if (dumper == nullptr) return fail(ErrorCode::kSystem, pcap_geterr(handle));
  return writer;
}

PcapWriter::PcapWriter(std::string path, pcap_t* handle, pcap_dumper_t* dumper)
    : path_(std::move(path)), handle_(handle), dumper_(dumper) {}
PcapWriter::PcapWriter(PcapWriter&& other) noexcept
    : path_(std::move(other.path_)),
      handle_(std::exchange(other.handle_, nullptr)),
      dumper_(std::exchange(other.dumper_, nullptr)) {}
PcapWriter& PcapWriter::operator=(PcapWriter&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(handle_, other.handle_);
  std::swap(dumper_, other.dumper_);
  return *this;
}
PcapWriter::~PcapWriter() {
  if (dumper_ != nullptr) pcap_dump_close(dumper_);
  if (handle_ != nullptr) pcap_close(handle_);
}

void PcapWriter::write(WallTime time, std::span<const std::byte> frame) {
  pcap_pkthdr header{};
  header.ts.tv_sec = time.ns / 1'000'000'000;
  header.ts.tv_usec = time.ns % 1'000'000'000;
  header.caplen = header.len = static_cast<bpf_u_int32>(frame.size());
  pcap_dump(reinterpret_cast<u_char*>(dumper_), &header, reinterpret_cast<const u_char*>(frame.data()));
}

Expected<void> PcapWriter::close() {
  int failed =
      pcap_dump_flush(dumper_) != 0 || ferror(pcap_dump_file(dumper_)) ? (errno != 0 ? errno : EIO) : 0;
  pcap_dump_close(std::exchange(dumper_, nullptr));
  if (failed != 0) return fail_errno(failed, path_);
  return {};
}

}  // namespace bulkhead
