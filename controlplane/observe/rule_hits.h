// How often each rule decided, over the life of the control plane: every new image starts its counters at 0,
// these don't.
#pragma once

#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "controlplane/publish/dataplane_client.h"
#include "policy/image_view.h"

namespace bulkhead {

using RuleHitCounts = std::vector<DataplaneClient::Hits>;  ///< by RuleIndex

/// The hits of the image in force.
RuleHitCounts read_rule_hits(const DataplaneClient& client);

/// What images that are no longer in force have counted, by rule's name and action. Thread: any.
class RetiredHits {
 public:
  /// Adds the last counts of the image that was in force, and forgets rules that `next` doesn't have. Once
  /// for each image.
  void add(const ImageView& image, const RuleHitCounts& counts, const ImageView& next);
  /// What is to be added to the current image's own count.
  DataplaneClient::Hits of(const ImageView& image, RuleIndex rule) const;

 private:
  static std::string key(const ImageView& image, const RuleRecord& rule) {
    return std::string(image.text(rule.name)) + '/' + static_cast<char>('0' + rule.action);
  }

  mutable std::mutex mutex_;
  std::unordered_map<std::string, DataplaneClient::Hits> sums_;
};

}  // namespace bulkhead
