#include "base/tls_fault.h"

#include <cstddef>

namespace bulkhead {

std::string_view text_of(TlsFault fault) {
  static constexpr std::string_view kTexts[] = {
#define BULKHEAD_NAME(name, text) text,
      BULKHEAD_TLS_FAULTS(BULKHEAD_NAME)
#undef BULKHEAD_NAME
  };
  return fault < TlsFault::kCount ? kTexts[static_cast<size_t>(fault)] : std::string_view{};
}

}  // namespace bulkhead
