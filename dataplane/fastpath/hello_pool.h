// What a worker keeps of connections whose TLS hellos aren't verified yet: what was read of them, and the
// bytes that were, until both ends have acknowledged them, so that none comes again as another.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/fastpath/half_open.h"
#include "dataplane/fastpath/index_list.h"
#include "dataplane/fastpath/tls_hello.h"

namespace bulkhead {

/// Connections of a gateway whose hellos are read at a time, shared evenly by its workers, and server names
/// that are kept.
inline constexpr uint32_t kMostHellos = 8192;
/// Pieces of 508 bytes for one of them: both hellos with a post-quantum key share are 3 KiB.
inline constexpr uint32_t kChunksOfHellos = 8;
/// The most that is read of a direction before its hello is over.
inline constexpr uint32_t kMostHelloBytes = 16384;

struct HelloCheck {
  struct Side {
    uint32_t start = 0;                          ///< sequence number of its first byte
    uint32_t bytes = 0;                          ///< that were read, and are kept
    uint32_t first = kNoIndex, last = kNoIndex;  ///< chunks
    bool begun = false;
  };
  TlsHellos hellos;
  Side sides[2];  ///< [0] is the initiator's
  IndexLinks in_all, in_segment;
  HalfOpenFlows::Flow flow{};
  SegmentTag source{};
};

/// A worker's. No segment has more than half of the room: where it would, or where there is none, connections
/// that began earlier give way. Thread: that worker. Nothing allocates after create().
class HelloPool {
 public:
  static constexpr uint32_t kChunkBytes = 508;
  /// That one connection takes at most.
  static constexpr uint32_t kMostChunks = 2 * ((kMostHelloBytes + kChunkBytes - 1) / kChunkBytes);

  /// Room for `checks` connections at a time, at least 2, and for `chunks` pieces of what they said, at least
  /// twice kMostChunks.
  void create(uint32_t checks, uint32_t chunks);

  /// Who has to give way before a connection of that segment's begins; kNoIndex: nobody.
  uint32_t before_begin(SegmentTag source) const noexcept;
  /// A new record; nobody has to give way.
  uint32_t begin(HalfOpenFlows::Flow flow, SegmentTag source) noexcept;
  void end(uint32_t check) noexcept;
  HelloCheck& at(uint32_t check) noexcept { return checks_[check]; }
  const HelloCheck& at(uint32_t check) const noexcept { return checks_[check]; }
  uint32_t size() const noexcept { return size_; }

  /// Who has to give way before keep(); kNoIndex: nobody.
  uint32_t before_keep(uint32_t check, unsigned direction, size_t bytes) const noexcept;
  /// Appends bytes to what is kept of a direction, kMostHelloBytes in all; nobody has to give way.
  void keep(uint32_t check, unsigned direction, std::span<const uint8_t> bytes) noexcept;
  /// Whether the side's bytes from `offset` on are these; all must be kept.
  bool same(const HelloCheck::Side& side, uint32_t offset, std::span<const uint8_t> bytes) const noexcept;

 private:
  struct Chunk {
    uint32_t next;
    uint8_t bytes[kChunkBytes];
  };
  struct Segment {
    IndexList<HelloCheck, &HelloCheck::in_segment> checks;  ///< by age
    uint32_t size = 0;
    uint32_t chunks = 0;
  };
  static uint32_t chunks_of(uint32_t bytes) { return (bytes + kChunkBytes - 1) / kChunkBytes; }
  void give_back(const HelloCheck::Side& side, Segment& segment) noexcept;

  std::vector<HelloCheck> checks_;
  std::vector<Chunk> chunks_;
  std::vector<Segment> segments_;                   ///< by tag: 65,536
  IndexList<HelloCheck, &HelloCheck::in_all> all_;  ///< by age
  uint32_t free_check_ = kNoIndex;                  ///< linked by in_all.after
  uint32_t free_chunk_ = kNoIndex;
  uint32_t free_chunks_ = 0, size_ = 0;
};

}  // namespace bulkhead
