#include "dataplane/fastpath/private_copy.h"

#include <sys/mman.h>
#include <cerrno>

namespace bulkhead {

static constexpr size_t kHugePage = 2 << 20;

Expected<Mapping> private_copy(const Fd& memfd, size_t bytes) {
  if (bytes == 0) return Mapping();
  void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return fail_errno(errno, "memory for " + std::to_string(bytes) + " bytes of policy");
  Mapping copy(at, bytes);
  if (bytes >= kHugePage) madvise(at, bytes, MADV_HUGEPAGE);  // a wish: ordinary pages are as right
  if (auto copied = copy_sealed(memfd, {copy.bytes(), bytes}); !copied)
    return std::unexpected(copied.error());
  return copy;
}

}  // namespace bulkhead
