// Server names of verified connections, each once however many use it: policy that changes is asked about
// them again.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "dataplane/fastpath/flow_hash.h"
#include "dataplane/fastpath/hash_chains.h"
#include "dataplane/fastpath/index_list.h"
#include "wire/tls.h"

namespace bulkhead {

/// A worker's. Thread: that worker. Nothing allocates after it is made; the hash is secret.
class NameStore {
 public:
  NameStore(uint32_t names, const HashSeed& seed);

  /// The name's place, and one use of it more. kNoIndex: it is empty, or there is no room for another.
  uint32_t keep(std::string_view name) noexcept;
  /// One use less. kNoIndex: nothing happens.
  void release(uint32_t place) noexcept;
  /// Empty for kNoIndex.
  std::string_view text(uint32_t place) const noexcept {
    return place == kNoIndex ? std::string_view{} : std::string_view(names_[place].text, names_[place].bytes);
  }
  uint32_t size() const noexcept { return size_; }

 private:
  struct Name {
    uint32_t uses = 0;
    uint32_t next = kNoIndex;  ///< free
    uint64_t hash = 0;
    uint8_t bytes = 0;
    char text[kMostHostName];
  };
  uint64_t hash_of(std::string_view name) const noexcept;

  HashSeed seed_;
  std::vector<Name> names_;
  HashChains chains_;
  uint32_t free_ = kNoIndex;
  uint32_t size_ = 0;
};

}  // namespace bulkhead
