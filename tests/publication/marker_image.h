// Small policy images that tell each other apart: segment `site` of a given tag, and one rule of a given name
// that allows everything within it.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <vector>

#include "policy/image.h"

namespace bulkhead::test {

/// An image in memory that is aligned as read_image() wants it.
class MarkerImage {
 public:
  MarkerImage(SegmentTag tag, const std::string& rule) {
    std::string strings =
        "unknown"
        "gateway"
        "site"
        "policy.yaml" +
        rule;
    StringRef file{18, 11}, rule_name{29, static_cast<uint32_t>(rule.size())};
    append<char>(kSectionStrings, {strings.begin(), strings.end()});
    append<SegmentRecord>(
        kSectionSegments,
        {{{0, 7}, kTagUnknown.value, {}}, {{14, 4}, tag.value, {}}, {{7, 7}, kTagGateway.value, {}}});
    append<IdentityRecord>(kSectionIdentities, {{kIdentityUnknown.value, 0, 0, 0, 0, 0},
                                                {identity_of(tag).value, 1, 0, 1, 0, 1},
                                                {kIdentityGateway.value, 2, 0, 0, 0, 0}});
    append<uint32_t>(kSectionSelectors, {kSite});
    std::vector<PairRecord> pairs(2, {0, 0, kNoProgram});
    pairs[pair_slot_hash(kSeed, kSite, kSite) & 1] = {kSite, kSite, 0};
    append<PairRecord>(kSectionPairs, pairs);
    append<ProgramRecord>(kSectionPrograms, {{0, 1}});
    append<IntervalRecord>(kSectionIntervals, {{0, 0xffffffff, 0, 1}});
    constexpr auto kTier = static_cast<uint8_t>(Tier::kSegment);
    constexpr auto kAllow = static_cast<uint8_t>(Action::kAllow);
    append<EntryRecord>(kSectionEntries, {{INT64_MIN, INT64_MAX, 0, kTier, kAllow, 0, 0}});
    append<RuleRecord>(kSectionRules,
                       {{rule_name, file, INT64_MIN, INT64_MAX, 0, 0, 1, kTier, kAllow, 0, 0}});
    append<StringRef>(kSectionServerNames, {});
    finish();
  }

  std::span<std::byte> bytes() { return {at_.get(), size_}; }
  std::span<const std::byte> bytes() const { return {at_.get(), size_}; }
  uint64_t checksum() const { return reinterpret_cast<const ImageHeader*>(at_.get())->checksum; }
  /// Makes the checksum right again after a change.
  void sign() {
    auto* header = reinterpret_cast<ImageHeader*>(at_.get());
    header->checksum = image_checksum(at_.get(), size_);
  }

 private:
  static constexpr uint32_t kSite = 1;
  static constexpr uint64_t kSeed = 42;

  template <class Record>
  void append(SectionId id, const std::vector<Record>& records) {
    header_.sections[id] = {sections_.size(), records.size()};
    size_t bytes = records.size() * sizeof(Record);
    sections_.resize(aligned(sections_.size() + bytes));
    if (bytes != 0) std::memcpy(sections_.data() + header_.sections[id].offset, records.data(), bytes);
  }
  static size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }
  void finish() {
    size_t first = aligned(sizeof(ImageHeader));
    for (Section& section : header_.sections) section.offset += first;
    size_ = first + sections_.size();
    header_.magic = kImageMagic;
    header_.format = kImageFormat;
    header_.header_bytes = sizeof(ImageHeader);
    header_.total_bytes = size_;
    header_.pair_hash_seed = kSeed;
    header_.selector_count = 2;
    at_.reset(static_cast<std::byte*>(::operator new(size_, std::align_val_t{64})));
    std::memset(at_.get(), 0, size_);
    std::memcpy(at_.get(), &header_, sizeof header_);
    std::memcpy(at_.get() + first, sections_.data(), sections_.size());
    sign();
  }

  struct Free {
    void operator()(std::byte* at) const { ::operator delete(at, std::align_val_t{64}); }
  };
  ImageHeader header_{};
  std::vector<std::byte> sections_;
  std::unique_ptr<std::byte[], Free> at_;
  size_t size_ = 0;
};

}  // namespace bulkhead::test
