// Names of workloads, by numbers that stay the same from policy to policy.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bulkhead {

/// What is known of a workload.
struct WorkloadDescription {
  std::string_view name, spiffe;  ///< empty: not known
};
/// Takes a text of WorkloadNames apart: a name, a SPIFFE ID, or both with a blank between.
WorkloadDescription describe_workload(std::string_view text);

/// Many names, each kept once. A number follows from the name alone (of two that collide, from which came
/// first), so that a policy with a workload more or less leaves the endpoints of all others as they are.
class WorkloadNames {
 public:
  /// The name's number, never 0; 0 for the empty name. Of a name over 65,535 bytes that is kept. Throws
  /// std::bad_alloc.
  uint32_t add(std::string_view name);
  /// The name with that number; empty for 0 and for a number that none has.
  std::string_view name(uint32_t number) const;
  /// Calls take(number, name) for each, in no order.
  template <class Take>
  void for_each(Take take) const {
    for (const Slot& slot : slots_)
      if (slot.number != 0) take(slot.number, text_at(slot.start));
  }
  size_t memory_bytes() const;

 private:
  /// Open addressing by number; at most half full.
  struct Slot {
    uint32_t number = 0;  ///< 0: empty
    uint32_t start = 0;   ///< in texts_: two bytes of length, then the name
  };
  size_t place_of(uint32_t number) const;
  std::string_view text_at(uint32_t start) const;
  void grow();

  std::vector<Slot> slots_;
  std::string texts_;
  size_t count_ = 0;
};

}  // namespace bulkhead
