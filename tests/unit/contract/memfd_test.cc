#include "contract/memfd.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

namespace bulkhead {
namespace {

std::vector<std::byte> content(size_t bytes) {
  std::vector<std::byte> out(bytes);
  for (size_t i = 0; i < bytes; ++i) out[i] = static_cast<std::byte>(i * 7);
  return out;
}

std::string copy_error(const Fd& fd, size_t bytes) {
  std::vector<std::byte> to(bytes, std::byte{0xee});
  auto copied = copy_sealed(fd, to);
  if (copied) return "none";
  for (std::byte b : to) EXPECT_EQ(b, std::byte{0xee});
  return copied.error().message;
}

TEST(Sealed, IsCopiedByteForByte) {
  auto bytes = content(100'000);
  auto fd = make_sealed("test", bytes);
  ASSERT_TRUE(fd) << fd.error().message;
  std::vector<std::byte> to(bytes.size());
  ASSERT_TRUE(copy_sealed(*fd, to));
  EXPECT_EQ(to, bytes);
}

TEST(Sealed, CannotBeWrittenGrownOrUnsealed) {
  auto fd = make_sealed("test", content(4096));
  ASSERT_TRUE(fd);
  EXPECT_LT(pwrite(fd->get(), "x", 1, 0), 0);
  EXPECT_LT(ftruncate(fd->get(), 8192), 0);
  EXPECT_LT(ftruncate(fd->get(), 1), 0);
  EXPECT_EQ(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd->get(), 0), MAP_FAILED);
  EXPECT_LT(fcntl(fd->get(), F_ADD_SEALS, F_SEAL_WRITE), 0);
}

TEST(Sealed, AnotherLengthIsRefused) {
  auto fd = make_sealed("test", content(4096));
  ASSERT_TRUE(fd);
  EXPECT_EQ(copy_error(*fd, 4096 + 1), "a memfd of 4096 bytes that was announced with 4097");
  EXPECT_EQ(copy_error(*fd, 4095), "a memfd of 4096 bytes that was announced with 4095");
}

/// Each of the four seals alone missing is enough to be refused.
TEST(Sealed, EverySealIsRequired) {
  constexpr int kSeals[] = {F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_SEAL};
  for (int missing : {0, 1, 2, 3}) {
    Fd fd(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    ASSERT_EQ(ftruncate(fd.get(), 64), 0);
    int seals = 0;
    for (int i = 0; i < 4; ++i)
      if (i != missing) seals |= kSeals[i];
    ASSERT_EQ(fcntl(fd.get(), F_ADD_SEALS, seals), 0);
    EXPECT_EQ(copy_error(fd, 64), "shared memory without the seals that it must have") << missing;
  }
}

TEST(Sealed, OrdinaryFileOrPipeIsRefused) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Fd in(ends[0]), out(ends[1]);
  EXPECT_EQ(copy_error(in, 16), "shared memory that isn't a memfd");
  Fd null(open("/dev/null", O_RDWR));
  EXPECT_EQ(copy_error(null, 0), "shared memory that isn't a memfd");
  EXPECT_EQ(copy_error(Fd(), 0), "shared memory that isn't a memfd");
}

TEST(SharedMemoryTest, ReaderSeesWritesButCannotWrite) {
  auto memory = make_shared_memory("test", 8192);
  ASSERT_TRUE(memory);
  ASSERT_TRUE(seal_against_readers(memory->fd));
  auto reader = map_read_only(memory->fd, 8192);
  ASSERT_TRUE(reader) << reader.error().message;
  *memory->mapping.as<int>(4096) = 17;
  EXPECT_EQ(*reader->as<const int>(4096), 17);
  EXPECT_FALSE(map_read_write(memory->fd, 8192));
  EXPECT_LT(pwrite(memory->fd.get(), "x", 1, 0), 0);
  EXPECT_NE(mprotect(reader->bytes(), 8192, PROT_READ | PROT_WRITE), 0);
}

TEST(SharedMemoryTest, WritableOneCannotBeSealedByItsReader) {
  auto memory = make_shared_memory("test", 4096);
  ASSERT_TRUE(memory);
  ASSERT_TRUE(seal_as_writable(memory->fd));
  EXPECT_LT(fcntl(memory->fd.get(), F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
  EXPECT_TRUE(map_read_write(memory->fd, 4096));
}

TEST(SharedMemoryTest, SizeIsSealedFromTheStart) {
  auto memory = make_shared_memory("test", 4096);
  ASSERT_TRUE(memory);
  EXPECT_LT(ftruncate(memory->fd.get(), 0), 0);
  EXPECT_LT(ftruncate(memory->fd.get(), 8192), 0);
}

TEST(SharedMemoryTest, ShorterThanNeededIsRefused) {
  auto memory = make_shared_memory("test", 4096);
  ASSERT_TRUE(memory);
  auto mapped = map_read_only(memory->fd, 4097);
  ASSERT_FALSE(mapped);
  EXPECT_EQ(mapped.error().message, "shared memory of 4096 bytes where 4097 are needed");
}

TEST(SharedMemoryTest, OneThatCouldShrinkIsRefused) {
  Fd fd(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(ftruncate(fd.get(), 4096), 0);
  auto mapped = map_read_only(fd, 4096);
  ASSERT_FALSE(mapped);
  EXPECT_EQ(mapped.error().code, ErrorCode::kInvalid);
}

}  // namespace
}  // namespace bulkhead
