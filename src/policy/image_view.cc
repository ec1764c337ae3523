#include "policy/image_view.h"

#include <algorithm>
#include <bit>
#include <string>

namespace bulkhead {

namespace {

std::unexpected<Error> wrong(const char* what) {
  return fail(ErrorCode::kInvalid, std::string("policy image refused: ") + what);
}

bool within(uint64_t first, uint64_t count, uint64_t size) {
  return first <= size && count <= size - first;
}

/// The image's outside: that it is one, of this format, whole and undamaged.
Expected<> check_header(std::span<const std::byte> bytes) {
  if (bytes.size() < sizeof(ImageHeader)) return wrong("shorter than its header");
  if (reinterpret_cast<uintptr_t>(bytes.data()) % kImageAlignment != 0)
    return wrong("it does not start on a 64-byte boundary");
  const auto& header = *reinterpret_cast<const ImageHeader*>(bytes.data());
  if (header.magic != kImageMagic) return wrong("not a policy image");
  if (header.format != kImageFormat)
    return wrong("of another format version; run the same version of the control plane and the dataplane");
  if (header.header_bytes != sizeof(ImageHeader) || header.reserved != 0)
    return wrong("its header is not of this format");
  if (header.total_bytes != bytes.size() || bytes.size() % kImageAlignment != 0)
    return wrong("its size is not the one in its header");
  if (header.checksum != image_checksum(bytes.data(), bytes.size())) return wrong("its checksum is wrong");
  return {};
}

/// Cuts the image into its sections, in their order; remembers the first that doesn't fit.
class Cutter {
 public:
  explicit Cutter(std::span<const std::byte> bytes)
      : bytes_(bytes),
        header_(reinterpret_cast<const ImageHeader*>(bytes.data())),
        end_(sizeof(ImageHeader)) {}

  template <class Record>
  std::span<const Record> cut(SectionId id) {
    static_assert(kImageAlignment % alignof(Record) == 0);
    const Section& section = header_->sections[id];
    if (section.offset != image_aligned(end_) || section.offset > bytes_.size() ||
        section.count > (bytes_.size() - section.offset) / sizeof(Record) || section.count > UINT32_MAX) {
      fits_ = false;
      return {};
    }
    end_ = section.offset + section.count * sizeof(Record);
    return {reinterpret_cast<const Record*>(bytes_.data() + section.offset), section.count};
  }
  /// Whether every section fitted and nothing is left over.
  bool complete() const { return fits_ && image_aligned(end_) == bytes_.size(); }

 private:
  std::span<const std::byte> bytes_;
  const ImageHeader* header_;
  uint64_t end_;
  bool fits_ = true;
};

Expected<> check_segments(const ImageView& image) {
  uint32_t least_tag = kTagUnknown.value;
  for (const SegmentRecord& segment : image.segments) {
    if (segment.tag < least_tag) return wrong("segments are not by ascending tag");
    least_tag = segment.tag + uint32_t{1};
    if (!within(segment.name.offset, segment.name.length, image.strings.size()))
      return wrong("a segment's name lies outside the strings");
  }
  if (image.segments.empty() || image.segments.front().tag != kTagUnknown.value ||
      image.segments.back().tag != kTagGateway.value)
    return wrong("segment `unknown` or `gateway` is missing");
  return {};
}

Expected<> check_identities(const ImageView& image) {
  if (image.identities.empty() || image.identities.front().id != kIdentityUnknown.value)
    return wrong("the first identity is not `unknown`");
  if (image.identities.back().id % 65536 != kTagGateway.value) return wrong("identity `gateway` is missing");
  IdentityId before{0};
  for (const IdentityRecord& identity : image.identities) {
    IdentityId id{identity.id};
    bool next_class = tag_of(id) == tag_of(before) && posture_class_of(id) == posture_class_of(before) + 1;
    bool next_tag = tag_of(id) > tag_of(before) && posture_class_of(id) == 0;
    if (!next_class && !next_tag)
      return wrong("identities are not by ascending tag, their classes from 0 without gaps");
    if (identity.segment >= image.segments.size() || image.segments[identity.segment].tag != tag_of(id).value)
      return wrong("an identity's segment is not that of its tag");
    if (identity.source_count > kMaxSelectorsOfIdentity ||
        identity.destination_count > kMaxSelectorsOfIdentity)
      return wrong("an identity has too many selectors");
    if (!within(identity.source_first, identity.source_count, image.selectors.size()) ||
        !within(identity.destination_first, identity.destination_count, image.selectors.size()))
      return wrong("an identity's selectors lie outside their section");
    before = id;
  }
  return {};
}

/// Runs of occupied slots are short, cyclically seen: so every search ends soon.
bool runs_are_short(std::span<const PairRecord> pairs) {
  size_t run = 0;
  for (size_t i = 0; i < pairs.size() + kMaxPairRun; ++i) {
    run = pairs[i & (pairs.size() - 1)].program == kNoProgram ? 0 : run + 1;
    if (run > kMaxPairRun || run >= pairs.size()) return false;
  }
  return true;
}

Expected<> check_pairs(const ImageView& image, uint32_t selector_count) {
  for (uint32_t selector : image.selectors)
    if (selector >= selector_count) return wrong("a selector that does not exist");
  if (!std::has_single_bit(image.pairs.size()) || !runs_are_short(image.pairs))
    return wrong("its table of pairs is not a power of two, or too full");
  for (const PairRecord& pair : image.pairs) {
    if (pair.program == kNoProgram) continue;
    if (pair.program >= image.programs.size()) return wrong("a pair's program lies outside its section");
    if (image.find_pair(pair.source_selector, pair.destination_selector) != &pair)
      return wrong("a pair stands twice, or where no search finds it");
  }
  return {};
}

Expected<> check_programs(const ImageView& image) {
  uint64_t end = 0;
  for (const ProgramRecord& program : image.programs) {
    if (program.interval_first != end || !within(end, program.interval_count, image.intervals.size()))
      return wrong("programs do not share out the intervals in order");
    end += program.interval_count;
    for (uint64_t i = program.interval_first; i < end; ++i) {
      const IntervalRecord& interval = image.intervals[i];
      bool first = i == program.interval_first;
      if (interval.first_key > interval.last_key ||
          (!first && interval.first_key <= image.intervals[i - 1].last_key))
        return wrong("a program's intervals are not ascending and disjoint");
    }
  }
  if (end != image.intervals.size()) return wrong("an interval belongs to no program");
  return {};
}

bool in_order(const EntryRecord& a, const EntryRecord& b) {
  if (a.tier != b.tier) return a.tier < b.tier;
  if (a.action != b.action) return a.action < b.action;
  return a.rule < b.rule;
}

/// Intervals share entries, so each entry's longest sorted run is found once and then every slice checked
/// against it.
Expected<> check_entries(const ImageView& image) {
  std::vector<uint32_t> run_end(image.entries.size());
  for (size_t i = image.entries.size(); i-- > 0;) {
    bool goes_on = i + 1 < image.entries.size() && in_order(image.entries[i], image.entries[i + 1]);
    run_end[i] = goes_on ? run_end[i + 1] : static_cast<uint32_t>(i + 1);
  }
  for (const IntervalRecord& interval : image.intervals) {
    if (interval.entry_count == 0 ||
        !within(interval.entry_first, interval.entry_count, image.entries.size()))
      return wrong("an interval's entries lie outside their section");
    if (interval.entry_first + uint64_t{interval.entry_count} > run_end[interval.entry_first])
      return wrong("an interval's entries are not in order of precedence");
  }
  return {};
}

/// The slices of server names, which cover their section, each in its order.
Expected<> check_server_names(const ImageView& image) {
  uint64_t end = 0;
  for (const StringRef& name : image.server_names)
    if (!within(name.offset, name.length, image.strings.size()) || name.length == 0 ||
        name.length > kMostServerName)
      return wrong("a server name lies outside the strings");
  for (const RuleRecord& rule : image.rules) {
    bool named = (rule.flags & kRuleNames) != 0;
    if (rule.name_first != end || named != (rule.name_count != 0) ||
        !within(end, rule.name_count, image.server_names.size()))
      return wrong("a rule's server names are not its slice of their section");
    end += rule.name_count;
    auto names = image.server_names.subspan(rule.name_first, rule.name_count);
    for (size_t i = 1; i < names.size(); ++i)
      if (image.text(names[i - 1]) >= image.text(names[i]))
        return wrong("server names are not in their order");
    if (named && (rule.action != static_cast<uint8_t>(Action::kAllow) ||
                  rule.mtls != static_cast<uint8_t>(MtlsMode::kEndToEnd)))
      return wrong("a rule with server names that is no allow with mTLS end to end");
  }
  if (end != image.server_names.size()) return wrong("a server name belongs to no rule");
  return {};
}

Expected<> check_rules(const ImageView& image) {
  for (const RuleRecord& rule : image.rules) {
    if (!within(rule.name.offset, rule.name.length, image.strings.size()) ||
        !within(rule.file.offset, rule.file.length, image.strings.size()))
      return wrong("a rule's name or file lies outside the strings");
    auto tier = static_cast<Tier>(rule.tier);
    if (tier != Tier::kGuardrail && tier != Tier::kSegment && tier != Tier::kBaseline)
      return wrong("a rule of a tier that rules can't have");
    if (rule.action > static_cast<uint8_t>(Action::kAllow) ||
        rule.mtls > static_cast<uint8_t>(MtlsMode::kRelay) ||
        rule.flags > (kRuleAudit | kRuleReject | kRuleLog | kRuleNames))
      return wrong("a rule's action, mTLS mode or flags don't exist");
  }
  for (const EntryRecord& entry : image.entries) {
    if (entry.rule >= image.rules.size()) return wrong("an entry's rule lies outside its section");
    const RuleRecord& rule = image.rules[entry.rule];
    if (entry.tier != rule.tier || entry.action != rule.action || entry.mtls != rule.mtls ||
        entry.flags != rule.flags)
      return wrong("an entry differs from its rule");
  }
  return {};
}

/// For each tag, where its identities start. They are sorted by tag.
std::vector<uint32_t> index_by_tag(std::span<const IdentityRecord> identities) {
  std::vector<uint32_t> first(65537);
  for (const IdentityRecord& identity : identities)
    ++first[tag_of(IdentityId{identity.id}).value + size_t{1}];
  for (size_t tag = 1; tag < first.size(); ++tag) first[tag] += first[tag - 1];
  return first;
}

}  // namespace

bool ImageView::has_server_name(const RuleRecord& rule, std::string_view name) const noexcept {
  auto names = server_names.subspan(rule.name_first, rule.name_count);
  auto has = [&](std::string_view wanted) {
    auto at = std::lower_bound(names.begin(), names.end(), wanted,
                               [this](StringRef ref, std::string_view w) { return text(ref) < w; });
    return at != names.end() && text(*at) == wanted;
  };
  if (has(name)) return true;
  size_t dot = name.find('.');
  if (dot == std::string_view::npos || name.size() > kMostServerName) return false;
  char wildcard[kMostServerName + 1] = {'*'};
  name.copy(wildcard + 1, name.size() - dot, dot);
  return has({wildcard, 1 + name.size() - dot});
}

Expected<ImageView> read_image(std::span<const std::byte> bytes) {
  if (auto checked = check_header(bytes); !checked) return std::unexpected(checked.error());
  const auto& header = *reinterpret_cast<const ImageHeader*>(bytes.data());

  ImageView image;
  image.pair_hash_seed = header.pair_hash_seed;
  Cutter cutter(bytes);
  auto strings = cutter.cut<char>(kSectionStrings);
  image.strings = {strings.data(), strings.size()};
  image.segments = cutter.cut<SegmentRecord>(kSectionSegments);
  image.identities = cutter.cut<IdentityRecord>(kSectionIdentities);
  image.selectors = cutter.cut<uint32_t>(kSectionSelectors);
  image.pairs = cutter.cut<PairRecord>(kSectionPairs);
  image.programs = cutter.cut<ProgramRecord>(kSectionPrograms);
  image.intervals = cutter.cut<IntervalRecord>(kSectionIntervals);
  image.entries = cutter.cut<EntryRecord>(kSectionEntries);
  image.rules = cutter.cut<RuleRecord>(kSectionRules);
  image.server_names = cutter.cut<StringRef>(kSectionServerNames);
  if (!cutter.complete()) return wrong("its sections are not in order, or not inside it");

  if (auto checked = check_segments(image); !checked) return std::unexpected(checked.error());
  if (auto checked = check_identities(image); !checked) return std::unexpected(checked.error());
  if (auto checked = check_pairs(image, header.selector_count); !checked)
    return std::unexpected(checked.error());
  if (auto checked = check_programs(image); !checked) return std::unexpected(checked.error());
  if (auto checked = check_server_names(image); !checked) return std::unexpected(checked.error());
  if (auto checked = check_rules(image); !checked) return std::unexpected(checked.error());
  if (auto checked = check_entries(image); !checked) return std::unexpected(checked.error());
  image.first_identity_of_tag = index_by_tag(image.identities);
  return image;
}

}  // namespace bulkhead
