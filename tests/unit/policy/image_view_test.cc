// Each check of read_image(): one thing of a good image changed, and its own message.
#include "policy/image_view.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "sample_image.h"

namespace bulkhead {
namespace {

class ReadImage : public testing::Test {
 protected:
  /// What read_image() says after `damage`, the checksum made right again.
  std::string refusal_after(const std::function<void(ImageBlock&)>& damage) {
    ImageBlock block(sample_.image.span());
    damage(block);
    block.repair_checksum();
    auto image = read_image(block.span());
    return image ? "accepted" : image.error().message;
  }
  CompiledPolicy sample_ = compiled_sample();
};

#define EXPECT_REFUSED(what, damage) \
  EXPECT_EQ(refusal_after([](ImageBlock & image) damage), std::string("policy image refused: ") + what)

TEST_F(ReadImage, TheSampleItself_IsAccepted) {
  EXPECT_EQ(refusal_after([](ImageBlock&) {}), "accepted");
}

TEST_F(ReadImage, HeaderOfAnotherKind_IsRefused) {
  EXPECT_REFUSED("not a policy image", { image.header().magic ^= 1; });
  EXPECT_REFUSED("of another format version; run the same version of the control plane and the dataplane",
                 { image.header().format = 1; });
  EXPECT_REFUSED("its header is not of this format", { image.header().header_bytes += 16; });
  EXPECT_REFUSED("its header is not of this format", { image.header().reserved = 1; });
  EXPECT_REFUSED("its size is not the one in its header", { image.header().total_bytes += 64; });
}

TEST_F(ReadImage, WrongChecksum_IsRefused) {
  ImageBlock block(sample_.image.span());
  block.header().checksum ^= 1;
  EXPECT_EQ(read_image(block.span()).error().message, "policy image refused: its checksum is wrong");
}

TEST_F(ReadImage, NotAligned_IsRefused) {
  std::vector<std::byte> bytes(sample_.image.span().size() + 2 * kImageAlignment);
  auto aligned =
      bytes.data() + (kImageAlignment - reinterpret_cast<uintptr_t>(bytes.data()) % kImageAlignment);
  std::memcpy(aligned + 8, sample_.image.span().data(), sample_.image.span().size());
  EXPECT_EQ(read_image({aligned + 8, sample_.image.span().size()}).error().message,
            "policy image refused: it does not start on a 64-byte boundary");
}

TEST_F(ReadImage, SectionsOutOfPlace_AreRefused) {
  constexpr char kWhat[] = "its sections are not in order, or not inside it";
  EXPECT_REFUSED(kWhat, { image.header().sections[kSectionPairs].offset += 64; });
  EXPECT_REFUSED(kWhat, { image.header().sections[kSectionPairs].offset -= 64; });
  EXPECT_REFUSED(kWhat, { image.header().sections[kSectionPairs].offset += 4; });
  EXPECT_REFUSED(kWhat, { image.header().sections[kSectionEntries].offset = ~uint64_t{0} - 63; });
  EXPECT_REFUSED(kWhat, { image.header().sections[kSectionEntries].count = uint64_t{1} << 60; });
  EXPECT_REFUSED(kWhat, { image.header().sections[kSectionRules].count += 1000; });
  EXPECT_REFUSED(kWhat, { image.header().sections[kSectionRules].count = 0; });
}

TEST_F(ReadImage, SegmentsThatAreWrong_AreRefused) {
  EXPECT_REFUSED("segments are not by ascending tag",
                 { image.section<SegmentRecord>(kSectionSegments)[2].tag = 100; });
  EXPECT_REFUSED("segments are not by ascending tag",
                 { image.section<SegmentRecord>(kSectionSegments)[0].tag = 0; });
  EXPECT_REFUSED("segment `unknown` or `gateway` is missing",
                 { image.section<SegmentRecord>(kSectionSegments).back().tag = 65534; });
  EXPECT_REFUSED("segment `unknown` or `gateway` is missing",
                 { image.section<SegmentRecord>(kSectionSegments)[0].tag = 2; });
  EXPECT_REFUSED("a segment's name lies outside the strings",
                 { image.section<SegmentRecord>(kSectionSegments)[1].name.offset = 1 << 20; });
  EXPECT_REFUSED("a segment's name lies outside the strings",
                 { image.section<SegmentRecord>(kSectionSegments)[1].name.length = 0xffffffff; });
}

TEST_F(ReadImage, IdentitiesThatAreWrong_AreRefused) {
  constexpr char kGaps[] = "identities are not by ascending tag, their classes from 0 without gaps";
  EXPECT_REFUSED("the first identity is not `unknown`",
                 { image.section<IdentityRecord>(kSectionIdentities)[0].id = 2; });
  EXPECT_REFUSED("identity `gateway` is missing",
                 { image.section<IdentityRecord>(kSectionIdentities).back().id = 65534; });
  EXPECT_REFUSED(kGaps, { image.section<IdentityRecord>(kSectionIdentities)[2].id |= 1 << 16; });
  EXPECT_REFUSED(kGaps, { image.section<IdentityRecord>(kSectionIdentities)[2].id = 100; });
  EXPECT_REFUSED("an identity's segment is not that of its tag",
                 { image.section<IdentityRecord>(kSectionIdentities)[2].segment = 1; });
  EXPECT_REFUSED("an identity's segment is not that of its tag",
                 { image.section<IdentityRecord>(kSectionIdentities)[2].segment = 99; });
  EXPECT_REFUSED("an identity has too many selectors", {
    image.section<IdentityRecord>(kSectionIdentities)[2].source_count = kMaxSelectorsOfIdentity + 1;
  });
  EXPECT_REFUSED("an identity's selectors lie outside their section",
                 { image.section<IdentityRecord>(kSectionIdentities)[2].destination_first = 0xffffffff; });
}

TEST_F(ReadImage, PairsThatAreWrong_AreRefused) {
  EXPECT_REFUSED("a selector that does not exist",
                 { image.section<uint32_t>(kSectionSelectors)[0] = image.header().selector_count; });
  EXPECT_REFUSED("its table of pairs is not a power of two, or too full", {
    for (PairRecord& pair : image.section<PairRecord>(kSectionPairs)) pair.program = 0;
  });
  EXPECT_REFUSED("a pair's program lies outside its section", {
    for (PairRecord& pair : image.section<PairRecord>(kSectionPairs))
      if (pair.program != kNoProgram) pair.program = 1000;
  });
  EXPECT_REFUSED("a pair stands twice, or where no search finds it", {
    auto pairs = image.section<PairRecord>(kSectionPairs);
    auto used = std::ranges::find_if(pairs, [](const PairRecord& p) { return p.program != kNoProgram; });
    auto empty = std::ranges::find_if(pairs, [](const PairRecord& p) { return p.program == kNoProgram; });
    *empty = *used;
  });
}

TEST_F(ReadImage, ProgramsThatAreWrong_AreRefused) {
  constexpr char kShared[] = "programs do not share out the intervals in order";
  constexpr char kOrder[] = "a program's intervals are not ascending and disjoint";
  EXPECT_REFUSED(kShared, { image.section<ProgramRecord>(kSectionPrograms)[1].interval_first += 1; });
  EXPECT_REFUSED(kShared, { image.section<ProgramRecord>(kSectionPrograms)[0].interval_count = 0xffffffff; });
  EXPECT_REFUSED("an interval belongs to no program",
                 { image.section<ProgramRecord>(kSectionPrograms).back().interval_count = 0; });
  EXPECT_REFUSED(kOrder, {
    IntervalRecord& first = image.section<IntervalRecord>(kSectionIntervals)[0];
    first.first_key = first.last_key + 1;
  });
  EXPECT_REFUSED(kOrder, {
    for (const ProgramRecord& program : image.section<ProgramRecord>(kSectionPrograms))
      if (program.interval_count > 1) {
        auto intervals = image.section<IntervalRecord>(kSectionIntervals).subspan(program.interval_first);
        intervals[1].first_key = intervals[0].last_key;
        return;
      }
  });
}

TEST_F(ReadImage, EntriesThatAreWrong_AreRefused) {
  constexpr char kOutside[] = "an interval's entries lie outside their section";
  EXPECT_REFUSED(kOutside, { image.section<IntervalRecord>(kSectionIntervals)[0].entry_first = 0xffffffff; });
  EXPECT_REFUSED(kOutside, { image.section<IntervalRecord>(kSectionIntervals)[0].entry_count = 0xffffffff; });
  EXPECT_REFUSED(kOutside, { image.section<IntervalRecord>(kSectionIntervals)[0].entry_count = 0; });
  EXPECT_REFUSED("an entry's rule lies outside its section",
                 { image.section<EntryRecord>(kSectionEntries)[0].rule = kRuleNone.value; });
  EXPECT_REFUSED("an entry differs from its rule",
                 { image.section<EntryRecord>(kSectionEntries)[0].action ^= 1; });
  EXPECT_REFUSED("an interval's entries are not in order of precedence", {
    for (const IntervalRecord& interval : image.section<IntervalRecord>(kSectionIntervals))
      if (interval.entry_count > 1) {
        auto entries = image.section<EntryRecord>(kSectionEntries).subspan(interval.entry_first);
        std::swap(entries[0], entries[1]);
        return;
      }
  });
}

TEST_F(ReadImage, RulesThatAreWrong_AreRefused) {
  constexpr char kKinds[] = "a rule's action, mTLS mode or flags don't exist";
  EXPECT_REFUSED("a rule's name or file lies outside the strings",
                 { image.section<RuleRecord>(kSectionRules)[0].name.length = 0xffffffff; });
  EXPECT_REFUSED("a rule's name or file lies outside the strings",
                 { image.section<RuleRecord>(kSectionRules)[0].file.offset = 1 << 20; });
  EXPECT_REFUSED("a rule of a tier that rules can't have",
                 { image.section<RuleRecord>(kSectionRules)[0].tier = 0; });
  EXPECT_REFUSED("a rule of a tier that rules can't have",
                 { image.section<RuleRecord>(kSectionRules)[0].tier = 4; });
  EXPECT_REFUSED(kKinds, { image.section<RuleRecord>(kSectionRules)[0].action = 3; });
  EXPECT_REFUSED(kKinds, { image.section<RuleRecord>(kSectionRules)[0].mtls = 3; });
  EXPECT_REFUSED(kKinds, { image.section<RuleRecord>(kSectionRules)[0].flags = 16; });
}

TEST_F(ReadImage, ServerNamesThatAreWrong_AreRefused) {
  constexpr char kSlices[] = "a rule's server names are not its slice of their section";
  auto rule = [](ImageBlock& image) -> RuleRecord& {
    for (RuleRecord& r : image.section<RuleRecord>(kSectionRules))
      if (r.name_count == 2) return r;
    throw std::logic_error("the sample has no rule with two server names");
  };
  auto names = [](ImageBlock& image) { return image.section<StringRef>(kSectionServerNames); };
  auto refused = [this](const std::function<void(ImageBlock&)>& damage) { return refusal_after(damage); };
  const std::string kRefused = "policy image refused: ";
  EXPECT_EQ(refused([&](ImageBlock& i) { names(i)[0].offset = 1 << 30; }),
            kRefused + "a server name lies outside the strings");
  EXPECT_EQ(refused([&](ImageBlock& i) { names(i)[0].length = 0; }),
            kRefused + "a server name lies outside the strings");
  EXPECT_EQ(refused([&](ImageBlock& i) { names(i)[0] = {0, 256}; }),
            kRefused + "a server name lies outside the strings");
  EXPECT_EQ(refused([&](ImageBlock& i) { std::swap(names(i)[0], names(i)[1]); }),
            kRefused + "server names are not in their order");
  EXPECT_EQ(refused([&](ImageBlock& i) { names(i)[1] = names(i)[0]; }),
            kRefused + "server names are not in their order");
  EXPECT_EQ(refused([&](ImageBlock& i) { rule(i).name_first = 1; }), kRefused + kSlices);
  EXPECT_EQ(refused([&](ImageBlock& i) { rule(i).name_count = 0xffffffff; }), kRefused + kSlices);
  EXPECT_EQ(refused([&](ImageBlock& i) { rule(i).name_count = 1; }), kRefused + kSlices);
  EXPECT_EQ(refused([&](ImageBlock& i) { rule(i).name_count = 0; }), kRefused + kSlices);
  EXPECT_EQ(refused([&](ImageBlock& i) { rule(i).flags &= static_cast<uint8_t>(~kRuleNames); }),
            kRefused + kSlices);
  EXPECT_EQ(refused([&](ImageBlock& i) { i.section<RuleRecord>(kSectionRules)[0].flags |= kRuleNames; }),
            kRefused + kSlices);
  constexpr char kNoAllow[] = "a rule with server names that is no allow with mTLS end to end";
  EXPECT_EQ(refused([&](ImageBlock& i) { rule(i).mtls = static_cast<uint8_t>(MtlsMode::kNone); }),
            kRefused + kNoAllow);
  EXPECT_EQ(refused([&](ImageBlock& i) { rule(i).action = static_cast<uint8_t>(Action::kAsk); }),
            kRefused + kNoAllow);
}

TEST_F(ReadImage, NamesAndIdentities_AreFound) {
  auto image = read_image(sample_.image.span());
  ASSERT_TRUE(image);
  EXPECT_EQ(image->segment_name(identity_of(SegmentTag{130})), "segment-3");
  EXPECT_EQ(image->segment_name(kIdentityGateway), "gateway");
  EXPECT_EQ(image->segment_name(identity_of(SegmentTag{131})), "unknown");
  EXPECT_EQ(image->segment_name(identity_of(SegmentTag{130}, 1)), "unknown")
      << "a posture class that isn't there";
  EXPECT_FALSE(image->knows(identity_of(SegmentTag{131})));
  EXPECT_TRUE(image->knows(kIdentityUnknown));
  EXPECT_EQ(image->rule_name(RuleIndex{0}), "no-telnet");
  EXPECT_EQ(image->rule_name(kRuleNone), "");
  EXPECT_EQ(image->first_identity_of_tag.size(), 65537u);
}

TEST(ImageChecksum, EveryBitOfAnyLength_MattersButTheChecksumFieldItself) {
  std::vector<unsigned char> bytes(200, 0x5a);
  for (size_t length : {1u, 31u, 32u, 33u, 64u, 199u, 200u}) {
    uint64_t before = image_checksum(bytes.data(), length);
    EXPECT_NE(before, image_checksum(bytes.data(), length - 1)) << length;
    for (size_t i = 0; i < length; ++i) {
      bytes[i] ^= 0x10;
      bool in_field = i >= 24 && i < 32;
      EXPECT_EQ(image_checksum(bytes.data(), length) == before, in_field) << "byte " << i << " of " << length;
      bytes[i] ^= 0x10;
    }
  }
}

}  // namespace
}  // namespace bulkhead
