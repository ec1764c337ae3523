// The endpoint table, twice: workers read one side while the control thread writes the other.
//
//   stage -> publish -> (every worker quiescent) -> settle
//
// stage writes what will be to the idle side; publish makes it the live one; settle brings the other side up
// to it. A staged state that isn't wanted after all is discarded. The idle side exists only once there was a
// batch of changes: a table that was replaced whole stands in memory once. Thread: control.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/error.h"
#include "contract/messages.h"
#include "policy/endpoint_table.h"

namespace bulkhead {

class EndpointSides {
 public:
  EndpointSides() : live_(std::make_unique<EndpointTable>()) {}

  /// What workers read.
  const EndpointTable& live() const { return *live_; }
  /// What they will read after publish(): the staged table, or the live one where none is staged.
  const EndpointTable& next() const { return staged_ ? *staged_ : *live_; }

  /// Stages the live table with `changes` made to it, in order.
  /// Errors: kInvalid where an endpoint occurs twice in the batch, kNotFound for the removal of one that
  /// isn't there, kExhausted. Nothing is staged then. Changes must outlive settle().
  Expected<void> stage_changes(std::span<const EndpointChange> changes);
  /// Stages a new table of exactly these (all kPut). Errors as above.
  Expected<void> stage_replacement(std::span<const EndpointChange> changes);
  /// Forgets what is staged. Safe at any time before publish().
  void discard() noexcept;

  /// Makes next() the live table; the one before stays as it is until settle().
  void publish() noexcept;
  /// No worker reads the table before any more: frees it, or makes the same changes to it.
  void settle() noexcept;

 private:
  std::unique_ptr<EndpointTable> live_, staged_;
  std::unique_ptr<EndpointTable>
      idle_;  ///< equal to live_ between settle() and the next stage; may be missing
  std::unique_ptr<EndpointTable> retired_;   ///< between publish() and settle()
  std::span<const EndpointChange> pending_;  ///< what retired_ lacks; empty: it is to be freed
};

}  // namespace bulkhead
