#include "contract/relay_identities.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <unordered_map>

#include "contract/relay_messages.h"

namespace bulkhead {

namespace {

std::unexpected<Error> wrong(const char* what) {
  return fail(ErrorCode::kInvalid, std::string("identities refused: ") + what);
}

/// Cuts sections off the front.
class Cutter {
 public:
  explicit Cutter(std::span<const std::byte> bytes) : rest_(bytes) {}
  template <class Record>
  std::span<const Record> cut(uint64_t count) {
    if (count > rest_.size() / sizeof(Record)) {
      fits_ = false;
      return {};
    }
    auto* first = reinterpret_cast<const Record*>(rest_.data());
    rest_ = rest_.subspan(count * sizeof(Record));
    return {first, count};
  }
  bool fits() const { return fits_; }
  std::string_view rest() const { return {reinterpret_cast<const char*>(rest_.data()), rest_.size()}; }

 private:
  std::span<const std::byte> rest_;
  bool fits_ = true;
};

bool is_text(const IdentitiesView& view, StringRef ref) {
  return ref.offset <= view.strings.size() && ref.length <= view.strings.size() - ref.offset;
}

bool is_id(const IdentitiesView& view, StringRef ref) {
  return is_text(view, ref) && ref.length != 0 && ref.length <= kMaxIdentityBytes;
}

Expected<> check_segments(const IdentitiesView& view) {
  uint32_t least = 0;
  for (const SegmentIdentities& s : view.segments) {
    if (s.tag < least) return wrong("segments are not by ascending tag");
    least = uint32_t{s.tag} + 1;
    if (!is_text(view, s.name)) return wrong("a segment's name lies outside the strings");
    if (!is_text(view, s.relay_id) || s.relay_id.length > kMaxIdentityBytes)
      return wrong("a relay_id lies outside the strings, or is too long");
    if (s.pattern_first > view.patterns.size() || s.pattern_count > view.patterns.size() - s.pattern_first)
      return wrong("a segment's patterns lie outside their section");
    if (std::ranges::any_of(s.reserved, [](uint16_t word) { return word != 0; }))
      return wrong("a segment's reserved fields are set");
  }
  return {};
}

Expected<> check_texts(const IdentitiesView& view) {
  for (StringRef pattern : view.patterns)
    if (!is_id(view, pattern)) return wrong("a pattern lies outside the strings, or is empty or too long");
  uint64_t least = 1;
  for (const WorkloadIdentity& w : view.workloads) {
    if (w.number < least) return wrong("workloads are not by ascending number");
    least = uint64_t{w.number} + 1;
    if (!is_id(view, w.id)) return wrong("a workload's ID lies outside the strings, or is empty or too long");
  }
  return {};
}

/// Texts one after the other, each once.
class Strings {
 public:
  StringRef add(std::string_view text) {
    if (text.empty()) return {};
    auto [at, fresh] = known_.try_emplace(text, StringRef{});
    if (fresh) {
      at->second = {static_cast<uint32_t>(text_.size()), static_cast<uint32_t>(text.size())};
      text_.append(text);
    }
    return at->second;
  }
  const std::string& text() const { return text_; }

 private:
  std::unordered_map<std::string_view, StringRef> known_;  ///< of texts that outlive this
  std::string text_;
};

template <class Record>
void append(std::vector<std::byte>& out, std::span<const Record> records) {
  auto bytes = std::as_bytes(records);
  out.insert(out.end(), bytes.begin(), bytes.end());
}

}  // namespace

const SegmentIdentities* IdentitiesView::segment(SegmentTag tag) const noexcept {
  auto at = std::ranges::lower_bound(segments, tag.value, {}, &SegmentIdentities::tag);
  return at != segments.end() && at->tag == tag.value ? &*at : nullptr;
}

std::string_view IdentitiesView::workload_id(uint32_t number) const noexcept {
  auto at = std::ranges::lower_bound(workloads, number, {}, &WorkloadIdentity::number);
  return at != workloads.end() && at->number == number ? text(at->id) : std::string_view{};
}

Expected<IdentitiesView> read_identities(std::span<const std::byte> bytes) {
  IdentitiesHeader header;
  if (bytes.size() < sizeof header) return wrong("shorter than their header");
  if (reinterpret_cast<uintptr_t>(bytes.data()) % alignof(IdentitiesHeader) != 0)
    return wrong("they do not start on an 8-byte boundary");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != kIdentitiesMagic) return wrong("not identities");
  if (header.format != kIdentitiesFormat || header.reserved != 0)
    return wrong("of another format version; run the same version of the control plane and the relay");
  if (header.total_bytes != bytes.size()) return wrong("their size is not the one in their header");
  if (header.generation == 0) return wrong("without a generation");

  Cutter cutter(bytes.subspan(sizeof header));
  IdentitiesView view;
  view.generation = header.generation;
  view.segments = cutter.cut<SegmentIdentities>(header.segment_count);
  view.patterns = cutter.cut<StringRef>(header.pattern_count);
  view.workloads = cutter.cut<WorkloadIdentity>(header.workload_count);
  view.strings = cutter.rest();
  if (!cutter.fits()) return wrong("their sections are longer than the whole");
  if (auto checked = check_segments(view); !checked) return std::unexpected(checked.error());
  if (auto checked = check_texts(view); !checked) return std::unexpected(checked.error());
  return view;
}

Expected<std::vector<std::byte>> write_identities(const IdentitySet& set) {
  Strings strings;
  std::vector<SegmentIdentities> segments;
  std::vector<StringRef> patterns;
  std::vector<WorkloadIdentity> workloads;
  for (const IdentitySet::Segment& s : set.segments) {
    segments.push_back({.name = strings.add(s.name),
                        .relay_id = strings.add(s.relay_id),
                        .pattern_first = static_cast<uint32_t>(patterns.size()),
                        .pattern_count = static_cast<uint32_t>(s.patterns.size()),
                        .tag = s.tag.value,
                        .reserved = {}});
    for (const std::string& pattern : s.patterns) patterns.push_back(strings.add(pattern));
  }
  for (const IdentitySet::Workload& w : set.workloads) workloads.push_back({w.number, strings.add(w.id)});
  if (strings.text().size() > std::numeric_limits<uint32_t>::max())
    return fail(ErrorCode::kExhausted, "identities with more than 4 GiB of text");
  std::ranges::sort(segments, {}, &SegmentIdentities::tag);
  std::ranges::sort(workloads, {}, &WorkloadIdentity::number);

  IdentitiesHeader header{.magic = kIdentitiesMagic,
                          .format = kIdentitiesFormat,
                          .reserved = 0,
                          .total_bytes = 0,
                          .generation = set.generation,
                          .segment_count = segments.size(),
                          .pattern_count = patterns.size(),
                          .workload_count = workloads.size()};
  header.total_bytes = sizeof header + std::span(segments).size_bytes() + std::span(patterns).size_bytes() +
                       std::span(workloads).size_bytes() + strings.text().size();
  std::vector<std::byte> out;
  out.reserve(header.total_bytes);
  append(out, std::span<const IdentitiesHeader>(&header, 1));
  append(out, std::span<const SegmentIdentities>(segments));
  append(out, std::span<const StringRef>(patterns));
  append(out, std::span<const WorkloadIdentity>(workloads));
  append(out, std::span<const char>(strings.text()));
  if (auto good = read_identities(out); !good) return std::unexpected(good.error());
  return out;
}

}  // namespace bulkhead
