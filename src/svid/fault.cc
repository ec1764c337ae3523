#include "svid/fault.h"

#include <array>

namespace bulkhead {

struct Text {
  std::string_view name;
  std::string_view help;
};

static constexpr std::array<Text, kSvidFaultCount> kTexts{{
#define BULKHEAD_NAME(name, help) {#name, help},
    BULKHEAD_SVID_FAULTS(BULKHEAD_NAME)
#undef BULKHEAD_NAME
}};

std::string_view name_of(SvidFault fault) {
  return kTexts.at(static_cast<size_t>(fault)).name;
}

std::string_view help_of(SvidFault fault) {
  return kTexts.at(static_cast<size_t>(fault)).help;
}

}  // namespace bulkhead
