#include "base/drop_reason.h"

#include <array>

namespace bulkhead {

struct Text {
  std::string_view name;
  std::string_view help;
};

static constexpr std::array<Text, kDropReasonCount> kTexts{{
#define BULKHEAD_NAME(name, help) {#name, help},
    BULKHEAD_DROP_REASONS(BULKHEAD_NAME)
#undef BULKHEAD_NAME
}};

std::string_view name_of(DropReason reason) {
  auto i = static_cast<size_t>(reason);
  return i < kTexts.size() ? kTexts[i].name : "none";
}

std::string_view help_of(DropReason reason) {
  auto i = static_cast<size_t>(reason);
  return i < kTexts.size() ? kTexts[i].help : "not dropped";
}

std::optional<DropReason> drop_reason_named(std::string_view name) {
  for (size_t i = 0; i < kTexts.size(); ++i)
    if (kTexts[i].name == name) return static_cast<DropReason>(i);
  return std::nullopt;
}

}  // namespace bulkhead
