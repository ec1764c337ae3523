// Random policies and packets that meet often: few addresses, few services, few instants, so that prefixes
// nest, rules overlap and deadlines pass.
#pragma once

#include <random>
#include <set>
#include <vector>

#include "config/policy.h"
#include "naive_policy.h"

namespace bulkhead::naive {

class Chance {
 public:
  explicit Chance(uint64_t seed) : bits_(seed) {}
  /// 0 to count - 1.
  size_t below(size_t count) { return std::uniform_int_distribution<size_t>(0, count - 1)(bits_); }
  bool one_in(size_t count) { return below(count) == 0; }
  int64_t between(int64_t least, int64_t most) {
    return std::uniform_int_distribution<int64_t>(least, most)(bits_);
  }
  template <class List>
  const auto& of(const List& list) {
    return list[below(std::size(list))];
  }

 private:
  std::mt19937_64 bits_;
};

/// Deadlines lie from 0 to this.
inline constexpr int64_t kLastInstant = 10;

Policy random_policy(Chance& chance, const Gateway& gateway);
Packet random_packet(Chance& chance, const Policy& policy, const Gateway& gateway);
std::set<Prefix> random_containment(Chance& chance, const Policy& policy);

}  // namespace bulkhead::naive
