// The image reader: whatever bytes come, it refuses them or they are harmless to judge by. The first byte
// chooses what the rest is: an image of its own, or changes to a good one, which get further.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/bytes.h"
#include "policy/evaluate.h"
#include "tests/unit/policy/sample_image.h"

namespace bulkhead {
namespace {

/// Takes values from the front; 0 once it is used up.
class Input {
 public:
  explicit Input(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  bool has(size_t count) const { return bytes_.size() >= count; }
  template <class T>
  T take() {
    if (!has(sizeof(T))) return T{};
    T value = load<T>(bytes_.data());
    bytes_ = bytes_.subspan(sizeof(T));
    return value;
  }
  std::span<const uint8_t> rest() const { return bytes_; }

 private:
  std::span<const uint8_t> bytes_;
};

/// The input as it is, under a header that passes.
ImageBlock own_image(Input& input) {
  std::vector<std::byte> bytes(image_aligned(std::max(input.rest().size(), sizeof(ImageHeader))));
  if (!input.rest().empty()) std::memcpy(bytes.data(), input.rest().data(), input.rest().size());
  ImageBlock block(bytes);
  block.header().magic = kImageMagic;
  block.header().format = kImageFormat;
  block.header().header_bytes = sizeof(ImageHeader);
  block.header().total_bytes = bytes.size();
  block.header().reserved = 0;
  return block;
}

/// A good image with some of its words replaced.
ImageBlock changed_image(Input& input) {
  static const CompiledPolicy sample = compiled_sample();
  ImageBlock block(sample.image.span());
  std::span words{reinterpret_cast<uint32_t*>(block.span().data()), block.span().size() / sizeof(uint32_t)};
  while (input.has(6)) {
    uint32_t& word = words[input.take<uint16_t>() % words.size()];
    word = input.take<uint32_t>();
  }
  return block;
}

void judge_some(const ImageView& image, uint32_t seed) {
  for (int i = 0; i < 32; ++i, seed = seed * 1664525 + 1013904223) {
    uint32_t source = (seed >> 8) % image.identities.size(),
             destination = (seed >> 20) % image.identities.size();
    uint32_t key = i % 2 == 0 || image.intervals.empty()
                       ? seed
                       : image.intervals[seed % image.intervals.size()].first_key;
    Decision decision = judge(image, source, destination, false, ServiceKey{key}, BootTime{seed % 3000});
    image.rule_name(decision.rule);
    image.rule_name(decision.audit_rule);
    image.segment_name(IdentityId{seed});
  }
}

}  // namespace
}  // namespace bulkhead

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bulkhead;
  Input input({data, size});
  bool own = input.take<uint8_t>() % 2 == 0;
  uint32_t seed = input.take<uint32_t>();
  ImageBlock block = own ? own_image(input) : changed_image(input);
  block.repair_checksum();
  if (auto image = read_image(block.span())) judge_some(*image, seed);
  return 0;
}
