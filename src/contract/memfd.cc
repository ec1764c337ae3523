#include "contract/memfd.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cerrno>
#include <string>

namespace bulkhead {

namespace {

constexpr int kSizeSeals = F_SEAL_SHRINK | F_SEAL_GROW;
constexpr int kAllSeals = kSizeSeals | F_SEAL_WRITE | F_SEAL_SEAL;

Expected<Fd> make_memfd(const char* name, size_t bytes) {
  Fd fd(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return fail_errno(errno, std::string("memfd ") + name);
  if (ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0)
    return fail_errno(errno, std::string("memfd ") + name + " of " + std::to_string(bytes) + " bytes");
  return fd;
}

Expected<void> add_seals(const Fd& fd, int seals) {
  if (fcntl(fd.get(), F_ADD_SEALS, seals) != 0) return fail_errno(errno, "seal a memfd");
  return {};
}

/// Whether `fd` carries all of `seals`. What isn't a memfd carries none that would satisfy.
Expected<void> require_seals(const Fd& fd, int seals) {
  int present = fcntl(fd.get(), F_GET_SEALS);
  if (present < 0) return fail(ErrorCode::kInvalid, "shared memory that isn't a memfd");
  if ((present & seals) != seals)
    return fail(ErrorCode::kInvalid, "shared memory without the seals that it must have");
  return {};
}

Expected<size_t> size_of(const Fd& fd) {
  struct stat status;
  if (fstat(fd.get(), &status) != 0) return fail_errno(errno, "shared memory");
  return static_cast<size_t>(status.st_size);
}

Expected<void> write_all(const Fd& fd, std::span<const std::byte> content) {
  for (size_t done = 0; done < content.size();) {
    ssize_t n = pwrite(fd.get(), content.data() + done, content.size() - done, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail_errno(n < 0 ? errno : ENOSPC, "write a memfd");
    done += static_cast<size_t>(n);
  }
  return {};
}

Expected<Mapping> map(const Fd& fd, size_t bytes, int protection) {
  if (bytes == 0) return fail(ErrorCode::kInvalid, "shared memory of no length");
  if (auto sealed = require_seals(fd, F_SEAL_SHRINK); !sealed) return std::unexpected(sealed.error());
  auto size = size_of(fd);
  if (!size) return std::unexpected(size.error());
  if (*size < bytes)
    return fail(ErrorCode::kInvalid, "shared memory of " + std::to_string(*size) + " bytes where " +
                                         std::to_string(bytes) + " are needed");
  void* at = mmap(nullptr, bytes, protection, MAP_SHARED, fd.get(), 0);
  if (at == MAP_FAILED) return fail_errno(errno, "map shared memory");
  return Mapping(at, bytes);
}

}  // namespace

Mapping::Mapping(Mapping&& other) noexcept
    : at_(std::exchange(other.at_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(at_, other.at_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Mapping::~Mapping() {
  if (at_) munmap(at_, bytes_);
}

Expected<SharedMemory> make_shared_memory(const char* name, size_t bytes) {
  auto fd = make_memfd(name, bytes);
  if (!fd) return std::unexpected(fd.error());
  if (auto sealed = add_seals(*fd, kSizeSeals); !sealed) return std::unexpected(sealed.error());
  auto mapping = map(*fd, bytes, PROT_READ | PROT_WRITE);
  if (!mapping) return std::unexpected(mapping.error());
  return SharedMemory{std::move(*fd), std::move(*mapping)};
}

Expected<Fd> make_sealed(const char* name, std::span<const std::byte> content) {
  auto fd = make_memfd(name, content.size());
  if (!fd) return fd;
  if (auto written = write_all(*fd, content); !written) return std::unexpected(written.error());
  if (auto sealed = add_seals(*fd, kAllSeals); !sealed) return std::unexpected(sealed.error());
  return fd;
}

Expected<void> seal_against_readers(const Fd& fd) {
  return add_seals(fd, kSizeSeals | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
}

Expected<void> seal_as_writable(const Fd& fd) {
  return add_seals(fd, kSizeSeals | F_SEAL_SEAL);
}

Expected<void> copy_sealed(const Fd& fd, std::span<std::byte> to) {
  if (auto sealed = require_seals(fd, kAllSeals); !sealed) return sealed;
  auto size = size_of(fd);
  if (!size) return std::unexpected(size.error());
  if (*size != to.size())
    return fail(ErrorCode::kInvalid, "a memfd of " + std::to_string(*size) +
                                         " bytes that was announced with " + std::to_string(to.size()));
  for (size_t done = 0; done < to.size();) {
    ssize_t n = pread(fd.get(), to.data() + done, to.size() - done, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail_errno(n < 0 ? errno : EIO, "read a sealed memfd");
    done += static_cast<size_t>(n);
  }
  return {};
}

Expected<Mapping> map_read_only(const Fd& fd, size_t bytes) {
  return map(fd, bytes, PROT_READ);
}

Expected<Mapping> map_read_write(const Fd& fd, size_t bytes) {
  return map(fd, bytes, PROT_READ | PROT_WRITE);
}

}  // namespace bulkhead
