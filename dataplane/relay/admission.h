// How much of the relay one source, and all together, may have.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "base/address.h"
#include "contract/relay_end.h"

namespace bulkhead {

struct AdmissionLimits {
  uint32_t connections = 65536;
  uint32_t connections_per_source = 16384;
  uint32_t opening = 8192;  ///< connections that aren't established yet
  uint32_t opening_per_source = 512;
};

/// Thread: any.
class Admission {
 public:
  explicit Admission(AdmissionLimits limits) : limits_(limits) {}

  /// Counts a connection that is opening; or says which limit it meets, and counts nothing.
  std::optional<RelayEnd> open(const IpAddress& source);
  /// It is established.
  void established(const IpAddress& source);
  /// It ended, `was_established` or not.
  void close(const IpAddress& source, bool was_established);

  uint64_t live() const;
  uint64_t opening() const;

 private:
  struct Count {
    uint32_t live = 0, opening = 0;
  };
  struct Hash {
    size_t operator()(const IpAddress& address) const noexcept;
  };

  const AdmissionLimits limits_;
  mutable std::mutex mutex_;
  Count all_;
  std::unordered_map<IpAddress, Count, Hash> by_source_;
};

}  // namespace bulkhead
