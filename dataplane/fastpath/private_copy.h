// Memory that no other process can change, for what came from one.
#pragma once

#include <cstddef>

#include "base/error.h"
#include "contract/memfd.h"

namespace bulkhead {

/// `bytes` of the sealed memfd, copied to pages of our own (huge ones where the kernel has them to give),
/// page-aligned. Errors: kInvalid where a seal is missing or the size differs; kExhausted.
Expected<Mapping> private_copy(const Fd& memfd, size_t bytes);

}  // namespace bulkhead
