// Whose identities the relay may show and accept, as the control plane hands them over: flat,
// position-independent, sealed in a memfd. Every reference is an index into a section or an offset into the
// strings.
//
//   IdentitiesHeader | SegmentIdentities[], by tag | pattern StringRef[] | WorkloadIdentity[], by number |
//   strings
//
// Each section starts where the one before ends; the strings come last and end with the whole. Texts are what
// the control plane made of the policy: SPIFFE IDs and patterns, whose form the relay checks with
// svid/spiffe_id.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "policy/image.h"

namespace bulkhead {

inline constexpr uint64_t kIdentitiesMagic = 0x314449594c524b42;  // "BKRLYID1" in memory
inline constexpr uint32_t kIdentitiesFormat = 1;

struct IdentitiesHeader {
  uint64_t magic;
  uint32_t format;
  uint32_t reserved;
  uint64_t total_bytes;
  uint64_t generation;  ///< of the policy image that the tags and numbers belong to; never 0
  uint64_t segment_count, pattern_count, workload_count;
};

/// A segment: which IDs belong to it, and what the relay shows for members without an ID of their own.
struct SegmentIdentities {
  StringRef name;
  StringRef relay_id;  ///< length 0: none
  uint32_t pattern_first, pattern_count;
  uint16_t tag;  ///< SegmentTag
  uint16_t reserved[3];
};

struct WorkloadIdentity {
  uint32_t number;  ///< Endpoint::workload; never 0
  StringRef id;     ///< its SPIFFE ID; never empty
};
static_assert(sizeof(IdentitiesHeader) == 56 && sizeof(SegmentIdentities) == 32 &&
              sizeof(WorkloadIdentity) == 12);

/// Spans over identities that somebody else owns and that nobody changes any more.
struct IdentitiesView {
  uint64_t generation = 0;
  std::span<const SegmentIdentities> segments;
  std::span<const StringRef> patterns;
  std::span<const WorkloadIdentity> workloads;
  std::string_view strings;

  std::string_view text(StringRef ref) const { return strings.substr(ref.offset, ref.length); }
  std::span<const StringRef> patterns_of(const SegmentIdentities& segment) const {
    return patterns.subspan(segment.pattern_first, segment.pattern_count);
  }
  /// nullptr where there is no segment of that tag.
  const SegmentIdentities* segment(SegmentTag tag) const noexcept;
  /// Empty for 0 and for a workload without an ID.
  std::string_view workload_id(uint32_t number) const noexcept;
};

/// Checks identities end to end: sizes, every reference, order, and texts of a length that a SPIFFE ID can
/// have. Input:  bytes that nobody else can write, 8-byte aligned; they must outlive the view. Errors:
/// kInvalid, naming the first thing found wrong. Never reads outside `bytes`.
Expected<IdentitiesView> read_identities(std::span<const std::byte> bytes);

/// The same as plain data, for the one who writes it.
struct IdentitySet {
  struct Segment {
    SegmentTag tag;
    std::string name;
    std::vector<std::string> patterns;
    std::string relay_id;  ///< empty: none
    bool operator==(const Segment&) const = default;
  };
  struct Workload {
    uint32_t number;
    std::string id;
    bool operator==(const Workload&) const = default;
  };
  uint64_t generation = 0;
  std::vector<Segment> segments;    ///< in any order
  std::vector<Workload> workloads;  ///< in any order
};

/// The bytes that read_identities() takes. Equal texts are kept once.
/// Errors: kInvalid for what the reader would refuse (two of one tag or number, an empty or too long ID);
/// kExhausted over 4 GiB of text.
Expected<std::vector<std::byte>> write_identities(const IdentitySet& set);

}  // namespace bulkhead
