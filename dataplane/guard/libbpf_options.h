// libbpf's option structs, as its C macro LIBBPF_OPTS makes them.
#pragma once

#include <cstring>

namespace bulkhead {

/// An option struct with only its size set. libbpf refuses one whose padding isn't zero, which no initializer
/// of C++ promises.
template <class Options>
void clear(Options& options) {
  std::memset(&options, 0, sizeof options);
  options.sz = sizeof options;
}

}  // namespace bulkhead
