// Lays the parts of an image out as policy/image.h says.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "controlplane/compiler/compile.h"
#include "controlplane/compiler/programs.h"
#include "policy/image.h"

namespace bulkhead {

/// The parts, filled in by compile(). Strings through text().
struct ImageParts {
  std::string strings;
  std::vector<SegmentRecord> segments;
  std::vector<IdentityRecord> identities;
  std::vector<uint32_t> selectors;
  uint32_t selector_count = 0;
  Programs programs;
  std::vector<RuleRecord> rules;
  std::vector<StringRef> server_names;

  /// Keeps the text, once however often it is asked for.
  StringRef text(std::string_view text);

 private:
  std::unordered_map<std::string, StringRef> known_texts_;
};

/// Writes the image: pairs into their hash table, sections in order, the checksum last.
/// Errors: kExhausted where a section has more than its 32-bit numbers can count.
Expected<ImageBuffer> write_image(const ImageParts& parts);

}  // namespace bulkhead
