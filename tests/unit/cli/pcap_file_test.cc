#include "cli/pcap_file.h"

#include <gtest/gtest.h>
#include <pcap/pcap.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "cli/link_type.h"
#include "tests/unit/cli/capture_bytes.h"

namespace bulkhead {
namespace {

std::vector<std::byte> bytes_of(std::initializer_list<int> values) {
  std::vector<std::byte> bytes;
  for (int value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}

/// A file of this test's own, gone with it.
struct TemporaryFile {
  std::string path = testing::TempDir() + "bulkhead-" +
                     testing::UnitTest::GetInstance()->current_test_info()->name() + "." +
                     std::to_string(getpid());
  ~TemporaryFile() { std::filesystem::remove(path); }
  std::string content() const {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void write(const std::string& text) const { std::ofstream(path, std::ios::binary) << text; }
};

constexpr WallTime kTime{1'700'000'000'123'456'789};

void write_capture(const std::string& path, int link_type, int precision, const std::vector<std::byte>& frame,
                   uint32_t length) {
  pcap_t* handle = pcap_open_dead_with_tstamp_precision(link_type, 65535, static_cast<u_int>(precision));
  pcap_dumper_t* dumper = pcap_dump_open(handle, path.c_str());
  ASSERT_NE(dumper, nullptr);
  pcap_pkthdr header{};
  header.ts.tv_sec = 1'700'000'000;
  header.ts.tv_usec = precision == PCAP_TSTAMP_PRECISION_NANO ? 123'456'789 : 123'456;
  header.caplen = static_cast<bpf_u_int32>(frame.size());
  header.len = length;
  pcap_dump(reinterpret_cast<u_char*>(dumper), &header, reinterpret_cast<const u_char*>(frame.data()));
  pcap_dump_close(dumper);
  pcap_close(handle);
}

TEST(PcapFile, WhatIsWritten_IsReadBackToTheNanosecond) {
  TemporaryFile file;
  std::vector<std::byte> frame = bytes_of({1, 2, 3, 4, 5});
  auto writer = PcapWriter::create(file.path);
  ASSERT_TRUE(writer) << writer.error().message;
  writer->write(kTime, frame);
  ASSERT_TRUE(writer->close());
  auto reader = PcapReader::open(file.path);
  ASSERT_TRUE(reader) << reader.error().message;
  CapturedFrame read;
  ASSERT_TRUE(*reader->next(read));
  EXPECT_EQ(read.time.ns, kTime.ns);
  EXPECT_EQ(read.bytes, frame);
  EXPECT_FALSE(read.cut_short);
  EXPECT_FALSE(*reader->next(read));
}

TEST(PcapFile, Output_IsClassicPcapWithNanoseconds) {
  TemporaryFile file;
  auto writer = PcapWriter::create(file.path);
  ASSERT_TRUE(writer);
  ASSERT_TRUE(writer->close());
  uint32_t magic;
  std::string content = file.content();
  ASSERT_EQ(content.size(), 24u);
  std::memcpy(&magic, content.data(), 4);
  EXPECT_EQ(magic, 0xa1b23c4du);
}

TEST(PcapFile, Microseconds_AreReadAsNanoseconds) {
  TemporaryFile file;
  write_capture(file.path, DLT_EN10MB, PCAP_TSTAMP_PRECISION_MICRO, bytes_of({1}), 1);
  auto reader = PcapReader::open(file.path);
  ASSERT_TRUE(reader);
  CapturedFrame frame;
  ASSERT_TRUE(*reader->next(frame));
  EXPECT_EQ(frame.time.ns, 1'700'000'000'123'456'000);
}

TEST(PcapFile, FrameLongerThanItsCapture_IsCutShort) {
  TemporaryFile file;
  write_capture(file.path, DLT_EN10MB, PCAP_TSTAMP_PRECISION_NANO, bytes_of({1, 2}), 100);
  auto reader = PcapReader::open(file.path);
  ASSERT_TRUE(reader);
  CapturedFrame frame;
  ASSERT_TRUE(*reader->next(frame));
  EXPECT_TRUE(frame.cut_short);
}

TEST(PcapFile, LinkTypeWithoutEthernet_IsRefusedByName) {
  TemporaryFile file;
  write_capture(file.path, DLT_IEEE802_11, PCAP_TSTAMP_PRECISION_NANO, bytes_of({1}), 1);
  auto reader = PcapReader::open(file.path);
  ASSERT_FALSE(reader);
  EXPECT_NE(reader.error().message.find("IEEE802_11"), std::string::npos) << reader.error().message;
}

TEST(PcapFile, TextFile_IsRefusedNamingIt) {
  TemporaryFile file;
  file.write("gateway: not a capture at all, only text");
  auto reader = PcapReader::open(file.path);
  ASSERT_FALSE(reader);
  EXPECT_NE(reader.error().message.find(file.path), std::string::npos) << reader.error().message;
}

TEST(PcapFile, FileThatEndsInsideAPacket_EndsBeforeItAndSaysSo) {
  TemporaryFile file;
  write_capture(file.path, DLT_EN10MB, PCAP_TSTAMP_PRECISION_NANO, bytes_of({1, 2, 3, 4}), 4);
  file.write(file.content().substr(0, 24 + 16 + 2));
  auto reader = PcapReader::open(file.path);
  ASSERT_TRUE(reader);
  CapturedFrame frame;
  auto more = reader->next(frame);
  ASSERT_TRUE(more) << more.error().message;
  EXPECT_FALSE(*more);
  EXPECT_TRUE(reader->cut_off());
  EXPECT_EQ(reader->count(), 1u);
}

TEST(PcapFile, SecondsOfTheClassicFormat_AreUnsigned) {
  TemporaryFile file;
  for (bool big_endian : {false, true}) {
    file.write(test::classic_capture({big_endian}, {{0x80000000, 1, "x"}, {0xffffffff, 999'999, "x"}}));
    auto reader = PcapReader::open(file.path);
    ASSERT_TRUE(reader) << reader.error().message;
    CapturedFrame frame;
    ASSERT_TRUE(*reader->next(frame));
    EXPECT_EQ(frame.time.ns, 2'147'483'648'000'001'000);
    ASSERT_TRUE(*reader->next(frame));
    EXPECT_EQ(frame.time.ns, 4'294'967'295'999'999'000);
    EXPECT_FALSE(*reader->next(frame));
    EXPECT_FALSE(reader->cut_off());
  }
}

TEST(PcapFile, MissingDirectory_IsAnErrorNamingTheFile) {
  auto writer = PcapWriter::create("/nonexistent/left.pcap");
  ASSERT_FALSE(writer);
  EXPECT_NE(writer.error().message.find("/nonexistent/left.pcap"), std::string::npos);
}

TEST(LinkType, RawIpv6_GetsItsEtherType) {
  std::vector<std::byte> ethernet = to_ethernet(DLT_RAW, bytes_of({0x60, 0, 0, 0}));
  ASSERT_EQ(ethernet.size(), 18u);
  EXPECT_EQ(ethernet[12], std::byte{0x86});
  EXPECT_EQ(ethernet[13], std::byte{0xdd});
}

TEST(LinkType, LinuxCooked_KeepsSenderAndProtocol) {
  std::vector<std::byte> ethernet =
      to_ethernet(DLT_LINUX_SLL, bytes_of({0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 7, 0, 0, 0x08, 0x06, 0xaa}));
  EXPECT_EQ(ethernet, bytes_of({0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 7, 0x08, 0x06, 0xaa}));
}

TEST(LinkType, LinuxCooked2_KeepsSenderAndProtocol) {
  std::vector<std::byte> ethernet = to_ethernet(
      DLT_LINUX_SLL2, bytes_of({0x08, 0x00, 0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 2, 0, 0, 0, 0, 7, 0, 0, 0x45}));
  EXPECT_EQ(ethernet, bytes_of({0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 7, 0x08, 0x00, 0x45}));
}

TEST(LinkType, Loopback_TellsTheFamilyByThePacketInEitherByteOrder) {
  std::vector<std::byte> native = to_ethernet(DLT_NULL, bytes_of({2, 0, 0, 0, 0x45}));
  std::vector<std::byte> network = to_ethernet(DLT_LOOP, bytes_of({0, 0, 0, 2, 0x45}));
  ASSERT_EQ(native.size(), 15u);
  EXPECT_EQ(native, network);
}

TEST(LinkType, HeaderCutShort_LeavesAnEmptyFrame) {
  EXPECT_TRUE(to_ethernet(DLT_LINUX_SLL, bytes_of({0, 0, 0})).empty());
}

}  // namespace
}  // namespace bulkhead
