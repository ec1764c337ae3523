#include "dataplane/fastpath/enforced_image.h"

#include "dataplane/fastpath/private_copy.h"

namespace bulkhead {

RuleHits* EnforcedImage::hits_of(unsigned worker) const {
  return hits.mapping ? hits.mapping.as<RuleHits>() + worker * view.rules.size() : nullptr;
}

static Expected<SharedMemory> make_hits(size_t count) {
  auto hits = make_shared_memory("bulkhead-rule-hits", count * sizeof(RuleHits));
  if (!hits) return hits;
  if (auto sealed = seal_against_readers(hits->fd); !sealed) return std::unexpected(sealed.error());
  return hits;
}

Expected<std::unique_ptr<EnforcedImage>> take_image(const Fd& memfd, size_t bytes, uint64_t generation,
                                                    unsigned workers) {
  auto image = std::make_unique<EnforcedImage>();
  auto memory = private_copy(memfd, bytes);
  if (!memory) return with_context(memory.error(), "policy image");
  image->memory = std::move(*memory);
  auto view = read_image({image->memory.bytes(), bytes});
  if (!view) return with_context(view.error(), "policy image");
  image->view = std::move(*view);
  image->checksum = image->memory.as<const ImageHeader>()->checksum;
  image->generation = generation;
  if (image->view.rules.empty()) return image;
  auto hits = make_hits(image->view.rules.size() * workers);
  if (!hits) return with_context(hits.error(), "counters of rules");
  image->hits = std::move(*hits);
  return image;
}

}  // namespace bulkhead
