// Every byte of an image damaged, as it is and with the checksum made right again: refused, or harmless to
// evaluate.
#include <gtest/gtest.h>

#include <random>

#include "policy/evaluate.h"
#include "sample_image.h"

namespace bulkhead {
namespace {

/// What a packet between two endpoints is judged by.
size_t use_endpoints(const ImageView& image) {
  static const EndpointTable endpoints = [] {
    EndpointTable table;
    for (const Endpoint& endpoint : compiled_sample().endpoints) EXPECT_TRUE(table.put(endpoint));
    return table;
  }();
  size_t length = 0;
  for (uint32_t from = 0; from < 11; ++from) {  // the last one is nobody's
    for (uint32_t to = 0; to < 11; ++to) {
      Origin origin{IpAddress::v4(0x0a000001 + from * 256), PortId{0}, 0, {}};
      Evaluation e = evaluate(image, endpoints, origin, IpAddress::v4(0x0a000001 + to * 256),
                              ServiceKey{6u << 24 | 443}, BootTime{1500});
      length += image.rule_name(e.decision.rule).size() + image.segment_name(e.source.identity).size();
    }
  }
  return length;
}

/// The edges of every interval that the image holds now, at instants around the sample's deadlines.
size_t use_intervals(const ImageView& image) {
  size_t length = 0, identities = image.identities.size();
  for (size_t i = 0; i < image.intervals.size(); ++i) {
    for (uint32_t key : {image.intervals[i].first_key, image.intervals[i].first_key - 1}) {
      for (int64_t now : {0, 1000, 2000}) {
        Decision decision =
            judge(image, static_cast<uint32_t>(i % identities), static_cast<uint32_t>(i * 7 % identities),
                  i % 2 != 0, ServiceKey{key}, BootTime{now});
        length += image.rule_name(decision.rule).size();
      }
    }
  }
  return length;
}

/// Judges every pair of identities on services in and out of the rules, and asks for every name.
size_t use(const ImageView& image) {
  size_t length = use_endpoints(image) + use_intervals(image);
  for (uint32_t i = 0; i < image.rules.size(); ++i) length += image.rule_name(RuleIndex{i}).size();
  for (const IdentityRecord& identity : image.identities)
    length += image.segment_name(IdentityId{identity.id}).size();
  for (uint32_t source = 0; source < image.identities.size(); ++source) {
    for (uint32_t destination = 0; destination < image.identities.size(); ++destination) {
      for (uint32_t key : {0u, 6u << 24 | 22, 6u << 24 | 38, 6u << 24 | 443, 17u << 24 | 53,
                           1u << 24 | 0x0800, 0xffffffffu}) {
        Decision decision = judge(image, source, destination, false, ServiceKey{key}, BootTime{1500});
        length += image.rule_name(decision.rule).size() + image.rule_name(decision.audit_rule).size();
      }
    }
  }
  return length;
}

TEST(ImageFlip, EveryByteAsItIs_IsRefused) {
  auto sample = compiled_sample();
  ImageBlock block(sample.image.span());
  for (std::byte mask : {std::byte{0xff}, std::byte{1}}) {
    for (std::byte& byte : block.span()) {
      byte ^= mask;
      EXPECT_FALSE(read_image(block.span())) << "byte " << &byte - block.span().data();
      byte ^= mask;
    }
  }
  EXPECT_TRUE(read_image(block.span())) << "the sample itself must pass, or nothing was tested";
}

TEST(ImageFlip, EveryByteWithItsChecksumRepaired_IsRefusedOrHarmless) {
  auto sample = compiled_sample();
  ImageBlock block(sample.image.span());
  size_t refused = 0, harmless = 0;
  for (std::byte mask : {std::byte{0xff}, std::byte{1}, std::byte{0x80}}) {
    for (std::byte& byte : block.span()) {
      byte ^= mask;
      block.repair_checksum();
      auto image = read_image(block.span());
      image ? ++harmless : ++refused;
      if (image) use(*image);
      byte ^= mask;
    }
  }
  EXPECT_GT(refused, block.span().size() / 4);
  EXPECT_GT(harmless, 0u);  // names, deadlines and the like
}

TEST(ImageFlip, EveryWordReplacedByAnExtremeOne_IsRefusedOrHarmless) {
  auto sample = compiled_sample();
  ImageBlock block(sample.image.span());
  std::span<uint32_t> words{reinterpret_cast<uint32_t*>(block.span().data()),
                            block.span().size() / sizeof(uint32_t)};
  for (uint32_t& word : words) {
    uint32_t before = word;
    for (uint32_t extreme :
         {0u, 0x7fffffffu, 0x80000000u, 0xffffffffu, 0xfffffff0u, before + 1, before - 1, before * 2}) {
      word = extreme;
      block.repair_checksum();
      if (auto image = read_image(block.span())) use(*image);
    }
    word = before;
  }
}

TEST(ImageFlip, SeveralDamagesAtOnce_AreRefusedOrHarmless) {
  auto sample = compiled_sample();
  std::mt19937 random(7);
  for (int round = 0; round < 5'000; ++round) {
    ImageBlock block(sample.image.span());
    std::span<uint32_t> words{reinterpret_cast<uint32_t*>(block.span().data()),
                              block.span().size() / sizeof(uint32_t)};
    for (int damages = 2; damages-- > 0;) words[random() % words.size()] = random() % 64;
    block.repair_checksum();
    if (auto image = read_image(block.span())) use(*image);
  }
}

TEST(ImageFlip, CutShortAnywhere_IsRefused) {
  auto sample = compiled_sample();
  for (size_t size = 0; size < sample.image.span().size(); size += 8) {
    std::vector<std::byte> storage(size + kImageAlignment);
    auto bytes =
        storage.data() +
        (kImageAlignment - reinterpret_cast<uintptr_t>(storage.data()) % kImageAlignment) % kImageAlignment;
    std::memcpy(bytes, sample.image.span().data(), size);
    EXPECT_FALSE(read_image({bytes, size})) << size;
  }
}

}  // namespace
}  // namespace bulkhead
