#include "controlplane/compiler/image_writer.h"

#include <bit>
#include <cstring>
#include <span>

namespace bulkhead {

namespace {

constexpr PairRecord kEmptyPair{0, 0, kNoProgram};

bool runs_are_short(const std::vector<PairRecord>& slots) {
  size_t run = 0;
  for (size_t i = 0; i < slots.size() + kMaxPairRun; ++i) {
    run = slots[i & (slots.size() - 1)].program == kNoProgram ? 0 : run + 1;
    if (run > kMaxPairRun) return false;
  }
  return true;
}

std::vector<PairRecord> hashed(const std::vector<PairProgram>& pairs, size_t slot_count, uint64_t seed) {
  std::vector<PairRecord> slots(slot_count, kEmptyPair);
  for (const PairProgram& pair : pairs) {
    size_t slot = pair_slot_hash(seed, pair.source_selector, pair.destination_selector) & (slot_count - 1);
    while (slots[slot].program != kNoProgram) slot = (slot + 1) & (slot_count - 1);
    slots[slot] = {pair.source_selector, pair.destination_selector, pair.program};
  }
  return slots;
}

/// Sections, one after the other, into a buffer that is measured first.
class Writer {
 public:
  template <class Record>
  void measure(SectionId id, std::span<const Record> records) {
    end_ = image_aligned(end_);
    header_.sections[id] = {end_, records.size()};
    end_ += records.size_bytes();
    too_many_ |= records.size() >= UINT32_MAX;
  }
  bool too_many() const { return too_many_; }

  void start(uint64_t seed, uint32_t selector_count) {
    header_.magic = kImageMagic;
    header_.format = kImageFormat;
    header_.header_bytes = sizeof(ImageHeader);
    header_.total_bytes = image_aligned(end_);
    header_.pair_hash_seed = seed;
    header_.selector_count = selector_count;
    buffer_.lines.resize(header_.total_bytes / kImageAlignment);
  }
  template <class Record>
  void write(SectionId id, std::span<const Record> records) {
    if (!records.empty())
      std::memcpy(bytes() + header_.sections[id].offset, records.data(), records.size_bytes());
  }
  ImageBuffer finish() {
    std::memcpy(bytes(), &header_, sizeof header_);
    header_.checksum = image_checksum(bytes(), header_.total_bytes);
    std::memcpy(bytes(), &header_, sizeof header_);
    return std::move(buffer_);
  }

 private:
  std::byte* bytes() { return reinterpret_cast<std::byte*>(buffer_.lines.data()); }

  ImageHeader header_{};
  uint64_t end_ = sizeof(ImageHeader);
  bool too_many_ = false;
  ImageBuffer buffer_;
};

template <class Each>
void for_each_section(const ImageParts& parts, const std::vector<PairRecord>& pairs, Each each) {
  each(kSectionStrings, std::span<const char>(parts.strings));
  each(kSectionSegments, std::span(parts.segments));
  each(kSectionIdentities, std::span(parts.identities));
  each(kSectionSelectors, std::span(parts.selectors));
  each(kSectionPairs, std::span(pairs));
  each(kSectionPrograms, std::span(parts.programs.programs));
  each(kSectionIntervals, std::span(parts.programs.intervals));
  each(kSectionEntries, std::span(parts.programs.entries));
  each(kSectionRules, std::span(parts.rules));
  each(kSectionServerNames, std::span(parts.server_names));
}

}  // namespace

StringRef ImageParts::text(std::string_view text) {
  auto [known, is_new] = known_texts_.try_emplace(std::string(text));
  if (is_new) {
    known->second = {static_cast<uint32_t>(strings.size()), static_cast<uint32_t>(text.size())};
    strings += text;
  }
  return known->second;
}

Expected<ImageBuffer> write_image(const ImageParts& parts) {
  // Half full at most. Seeds are tried in order, so that the same policy gives the same image; the first one
  // fits but for bad luck.
  size_t slot_count = std::bit_ceil(parts.programs.pairs.size() * 2 + 1);
  uint64_t seed = 0x6275'6c6b'6865'6164;
  std::vector<PairRecord> pairs = hashed(parts.programs.pairs, slot_count, seed);
  while (!runs_are_short(pairs)) pairs = hashed(parts.programs.pairs, slot_count, seed += 0x9e3779b97f4a7c15);

  Writer writer;
  for_each_section(parts, pairs, [&](SectionId id, auto records) { writer.measure(id, records); });
  if (writer.too_many()) return fail(ErrorCode::kExhausted, "the policy is too large for one image");
  writer.start(seed, parts.selector_count);
  for_each_section(parts, pairs, [&](SectionId id, auto records) { writer.write(id, records); });
  return writer.finish();
}

}  // namespace bulkhead
