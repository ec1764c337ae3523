// A policy image in the dataplane's own memory, checked, with the counters of its rules.
#pragma once

#include <cstdint>
#include <memory>

#include "base/error.h"
#include "contract/counters.h"
#include "contract/memfd.h"
#include "policy/image_view.h"

namespace bulkhead {

/// Immutable but for the hits, which workers write.
struct EnforcedImage {
  Mapping memory;
  ImageView view;  ///< of `memory`
  uint64_t checksum = 0;
  uint64_t generation = 0;
  SharedMemory
      hits;  ///< RuleHits[worker][rule], sealed against writing by readers; none where there are no rules

  /// The rule counters that `worker` writes; nullptr where there are no rules.
  RuleHits* hits_of(unsigned worker) const;
};

/// Copies and checks the image in `memfd`.
/// Errors: kInvalid (seals, size, or the first thing wrong with the image); kExhausted.
Expected<std::unique_ptr<EnforcedImage>> take_image(const Fd& memfd, size_t bytes, uint64_t generation,
                                                    unsigned workers);

}  // namespace bulkhead
