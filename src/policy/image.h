// The policy image: what the compiler writes and the dataplane enforces. Flat, position-independent,
// checksummed. Every reference is an index into a section or an offset into the strings.
//
//   ImageHeader | sections, in the order of SectionId, each at the first multiple of 64 bytes after the one
//   before
//
// The whole is a multiple of 64 bytes, too.
//
// How a pair of identities finds its rules: an identity has source selectors and destination selectors
// (itself, `any`, and each larger set of a rule that it belongs to). Every (source selector, destination
// selector) that a rule names stands in the hash table `pairs` and leads to a program: intervals on the
// service axis (base/service.h), each with the rules that cover it. Size and compile time are linear in the
// rules; a decision looks up |source selectors| x |destination selectors| pairs, usually four.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/types.h"

namespace bulkhead {

inline constexpr uint64_t kImageMagic = 0x31474d4944484b42;  // "BKHDIMG1" in memory
inline constexpr uint32_t kImageFormat = 2;

/// `count` records from `offset` bytes after the image's start.
struct Section {
  uint64_t offset;
  uint64_t count;
};

enum SectionId : uint32_t {
  kSectionStrings,      ///< char: names, not terminated
  kSectionSegments,     ///< SegmentRecord, by tag
  kSectionIdentities,   ///< IdentityRecord, by (tag, posture class); the first is `unknown`
  kSectionSelectors,    ///< uint32_t: selector numbers, the identities' slices
  kSectionPairs,        ///< PairRecord: open addressing, linear probing, a power of two of slots; runs within
                        ///< kMaxPairRun
  kSectionPrograms,     ///< ProgramRecord
  kSectionIntervals,    ///< IntervalRecord: the programs' slices one after the other, each ascending and
                        ///< disjoint
  kSectionEntries,      ///< EntryRecord: the intervals' slices, in order of precedence, then of rule
  kSectionRules,        ///< RuleRecord, by RuleIndex
  kSectionServerNames,  ///< StringRef: the rules' slices one after the other, each ascending by text
  kSectionCount,
};

struct ImageHeader {
  uint64_t magic;
  uint32_t format;
  uint32_t header_bytes;
  uint64_t total_bytes;
  uint64_t checksum;        ///< image_checksum() of the whole image with this field 0
  uint64_t pair_hash_seed;  ///< for pair_slot_hash()
  uint32_t selector_count;  ///< selectors are numbered from 0 to this, exclusive
  uint32_t reserved;
  Section sections[kSectionCount];
};

/// A slice of the string section.
struct StringRef {
  uint32_t offset;
  uint32_t length;
};

struct SegmentRecord {
  StringRef name;
  uint16_t tag;
  uint16_t reserved[3];
};

struct IdentityRecord {
  uint32_t id;            ///< IdentityId
  uint32_t segment;       ///< index into segments
  uint32_t source_first;  ///< slice of selectors that hold it as a source
  uint32_t source_count;
  uint32_t destination_first;
  uint32_t destination_count;
};

inline constexpr uint32_t kSelectorAny = 0;         ///< every segment that policy defines
inline constexpr uint32_t kNoProgram = 0xffffffff;  ///< an empty slot of `pairs`

// Bounds on what a decision looks up, whatever the image. How many rules cover one service of one pair is the
// policy's own affair: each of them is read.
inline constexpr uint32_t kMaxSelectorsOfIdentity = 1024;  ///< as a source, and again as a destination
inline constexpr size_t kMaxPairRun = 512;  ///< occupied slots of `pairs` in a row; about 70 at a million

struct PairRecord {
  uint32_t source_selector;
  uint32_t destination_selector;
  uint32_t program;  ///< kNoProgram: empty
};

struct ProgramRecord {
  uint32_t interval_first;
  uint32_t interval_count;
};

/// Services first_key..last_key (ServiceKey, inclusive).
struct IntervalRecord {
  uint32_t first_key;
  uint32_t last_key;
  uint32_t entry_first;
  uint32_t entry_count;
};

enum class Tier : uint8_t { kContainment, kGuardrail, kSegment, kBaseline, kDefault };
enum class Action : uint8_t { kDeny, kAsk, kAllow };  // in order of precedence
/// In order of strictness; kEndToEnd and kRelay never meet in one decision (the compiler refuses it).
enum class MtlsMode : uint8_t { kNone, kEndToEnd, kRelay };

enum RuleFlag : uint8_t {
  kRuleAudit = 1,   ///< decides nothing; what it would have decided is counted and logged
  kRuleReject = 2,  ///< a deny that answers
  kRuleLog = 4,     ///< log every flow that it decides
  kRuleNames = 8,   ///< an allow with kEndToEnd that admits only its server names
};

/// One rule as it covers one interval: all that evaluate() needs, so that a decision reads one place.
struct EntryRecord {
  int64_t after_ns;  ///< BootTime from which it holds; INT64_MIN: always
  int64_t until_ns;  ///< BootTime from which it holds no more; INT64_MAX: never
  uint32_t rule;     ///< RuleIndex
  uint8_t tier;      ///< Tier
  uint8_t action;    ///< Action
  uint8_t mtls;      ///< MtlsMode
  uint8_t flags;     ///< RuleFlag
};

/// A rule's name and where it stands, for people.
struct RuleRecord {
  StringRef name;
  StringRef file;
  int64_t after_wall_ns;  ///< as written, UTC; INT64_MIN: always
  int64_t until_wall_ns;  ///< as written, UTC; INT64_MAX: never
  uint32_t name_first;    ///< slice of server names: DNS names in lower case, "*." for one label;
  uint32_t name_count;    ///< more than 0 where kRuleNames is set, and nowhere else
  uint32_t line;
  uint8_t tier;
  uint8_t action;
  uint8_t mtls;
  uint8_t flags;
};

inline constexpr uint64_t kImageAlignment = 64;
constexpr uint64_t image_aligned(uint64_t offset) {
  return (offset + kImageAlignment - 1) / kImageAlignment * kImageAlignment;
}

static_assert(sizeof(ImageHeader) == 48 + 16 * kSectionCount);
static_assert(sizeof(SegmentRecord) == 16 && sizeof(IdentityRecord) == 24 && sizeof(PairRecord) == 12);
static_assert(sizeof(IntervalRecord) == 16 && sizeof(EntryRecord) == 24 && sizeof(RuleRecord) == 48);

/// Where a pair's search starts: the caller masks it to the number of slots.
inline uint32_t pair_slot_hash(uint64_t seed, uint32_t source_selector, uint32_t destination_selector) {
  uint64_t x = (uint64_t{source_selector} << 32 | destination_selector) ^ seed;
  x *= 0x9e3779b97f4a7c15;
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93;
  return static_cast<uint32_t>(x >> 32);
}

/// CRC-32C over four interleaved streams of 8-byte words, folded into 64 bits: the image with its checksum
/// field taken as 0. Finds damage, not malice: bounds are checked apart from it.
uint64_t image_checksum(const void* image, uint64_t total_bytes);

}  // namespace bulkhead
