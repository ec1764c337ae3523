// A checked image, ready to be evaluated. Everything that evaluate() may follow was bounds-checked once,
// here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "policy/image.h"

namespace bulkhead {

inline constexpr size_t kMostServerName = 255;

/// Spans over the sections of an image that somebody else owns and that nobody changes any more.
struct ImageView {
  uint64_t pair_hash_seed = 0;
  std::string_view strings;
  std::span<const SegmentRecord> segments;
  std::span<const IdentityRecord> identities;
  std::span<const uint32_t> selectors;
  std::span<const PairRecord> pairs;
  std::span<const ProgramRecord> programs;
  std::span<const IntervalRecord> intervals;
  std::span<const EntryRecord> entries;
  std::span<const RuleRecord> rules;
  std::span<const StringRef> server_names;
  std::vector<uint32_t> first_identity_of_tag;  ///< 65,537 entries: identities of tag t are [t], up to [t+1]

  /// The identity's place in `identities`; that of `unknown` (0) where the image doesn't know it.
  uint32_t identity_index(IdentityId id) const {
    uint16_t tag = tag_of(id).value;
    uint32_t first = first_identity_of_tag[tag], end = first_identity_of_tag[size_t{tag} + 1];
    uint32_t index = first + posture_class_of(id);
    return index < end ? index : 0;
  }
  bool knows(IdentityId id) const { return identities[identity_index(id)].id == id.value; }
  /// The pair's slot, or nullptr where no rule names it. Cost: at most kMaxPairRun slots, about one as a
  /// rule.
  const PairRecord* find_pair(uint32_t source_selector, uint32_t destination_selector) const noexcept {
    const PairRecord *slot = pair_home(source_selector, destination_selector),
                     *end = pairs.data() + pairs.size();
    while (slot->program != kNoProgram) {
      if (slot->source_selector == source_selector && slot->destination_selector == destination_selector)
        return slot;
      if (++slot == end) slot = pairs.data();
    }
    return nullptr;
  }
  /// Where find_pair() starts.
  const PairRecord* pair_home(uint32_t source_selector, uint32_t destination_selector) const noexcept {
    return &pairs[pair_slot_hash(pair_hash_seed, source_selector, destination_selector) & (pairs.size() - 1)];
  }
  std::string_view text(StringRef ref) const { return strings.substr(ref.offset, ref.length); }
  /// The segment's name for an identity of this image, "unknown" for any other.
  std::string_view segment_name(IdentityId id) const {
    return text(segments[identities[identity_index(id)].segment].name);
  }
  /// Empty for kRuleNone and for an index that this image doesn't have.
  std::string_view rule_name(RuleIndex rule) const {
    return rule.value < rules.size() ? text(rules[rule.value].name) : std::string_view{};
  }
  /// Whether the rule has this server name (in lower case; at most kMostServerName bytes), or a wildcard for
  /// its first label. `rule` must be one of `rules`. Cost: two binary searches.
  bool has_server_name(const RuleRecord& rule, std::string_view name) const noexcept;
};

/// Checks an image end to end and returns a view of it: sizes, alignment, order and disjointness of sections,
/// every reference, sorted and disjoint intervals, entries in order of precedence, enums in range, short runs
/// and every pair to be found in `pairs`, `unknown` as identity 0, posture classes of a tag from 0 without
/// gaps. Input:  bytes that nobody else can write, 64-byte aligned; they must outlive the view. Errors:
/// kInvalid, naming the first thing found wrong. Never reads outside `bytes`. Cost: linear in the image.
Expected<ImageView> read_image(std::span<const std::byte> bytes);

}  // namespace bulkhead
