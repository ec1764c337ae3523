#include "contract/relay_end.h"

#include <array>

namespace bulkhead {

namespace {

struct Text {
  std::string_view name, help;
};

constexpr std::array<Text, kRelayEndCount> kTexts{{
#define BULKHEAD_NAME(name, help) {#name, help},
    BULKHEAD_RELAY_ENDS(BULKHEAD_NAME)
#undef BULKHEAD_NAME
}};

}  // namespace

std::string_view name_of(RelayEnd end) {
  auto i = static_cast<size_t>(end);
  return i < kTexts.size() ? kTexts[i].name : "none";
}

std::string_view help_of(RelayEnd end) {
  auto i = static_cast<size_t>(end);
  return i < kTexts.size() ? kTexts[i].help : "not ended";
}

}  // namespace bulkhead
