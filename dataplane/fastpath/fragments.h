// The stage for fragments: held until their datagram is complete, then judged once, as one (virtual
// reassembly). Nothing is merged: all fragments leave as they came, in order of offset, or none does.
#pragma once

#include <vector>

#include "contract/settings.h"
#include "dataplane/fastpath/datagram.h"
#include "dataplane/fastpath/fragment_table.h"
#include "dataplane/fastpath/pipeline_state.h"

namespace bulkhead {

/// The most fragments that one worker holds at a time: room for two of each datagram, and for a whole one.
uint32_t most_fragments_of_worker(const DataplaneSettings& settings, unsigned workers) noexcept;
/// The most buffers that fragments of the whole gateway take at a time.
uint32_t fragment_buffers(const DataplaneSettings& settings, unsigned workers) noexcept;
/// The most packets of complete datagrams that are on their way from worker to worker at a time.
inline constexpr uint32_t kMostInRings = 2048;

/// What a judged datagram waits for: room for all of it in its port's TxQueue.
struct LeavingDatagram {
  rte_mbuf* datagram;
  PortId out;
};

/// One worker's fragments. Thread: that worker.
struct Fragments {
  Fragments(const PipelineParts& parts);
  ~Fragments();  ///< frees what is held
  Fragments(const Fragments&) = delete;
  Fragments& operator=(const Fragments&) = delete;

  /// Whether another fragment may be held: those of datagrams that leave count too.
  bool has_room(uint32_t packets) const noexcept {
    return table.fragments() + leaving_packets + packets <= most;
  }

  HashSeed seed;
  uint32_t most;  ///< fragments
  FragmentTable table;
  std::vector<uint8_t> whole;            ///< a datagram put together, to be read
  std::vector<LeavingDatagram> leaving;  ///< a ring
  uint32_t leaving_first = 0, leaving_count = 0, leaving_packets = 0;
};

/// Counts a packet that came out of a ring, where it is a datagram, as no more in it.
void take_over(PipelineState& s, const rte_mbuf* packet) noexcept;

/// A fragment that parse found good, or a datagram that another worker put together. Takes the packet.
void step_fragment(PipelineState& s, const PacketRef& p, const Moment& m) noexcept;

/// Judges a complete datagram; its fragments leave, wait, or are dropped under one reason. Takes it.
/// `p`: the packet of the burst that it came with, which has the verdict for the burst: the fragment that
/// completed it, or the datagram itself, `handed_over` by the worker that had checked it.
void step_datagram(PipelineState& s, rte_mbuf* datagram, const PacketRef& p, bool handed_over,
                   const Moment& m) noexcept;

/// A datagram that was forwarded: it stands in its port's TxQueue as one packet, the last. The fragments take
/// its place, in order, where there is room for all of them; else it waits for that. Output: the verdict;
/// kForward, kHold or kDrop.
PacketVerdict part_datagram(PipelineState& s, PacketVerdict verdict) noexcept;

/// Fragments whose datagram never was completed, and datagrams that wait to leave: a bounded piece of each.
/// True: there is more to do soon.
bool maintain_fragments(PipelineState& s, const Moment& m) noexcept;
/// When that has something to do next.
BootTime next_fragment_timer(const PipelineState& s) noexcept;

/// The names of a datagram's fragments, or of a packet, for verdicts when they are gone. Empty where nobody
/// asks, and of the gateway's own.
class FragmentNames {
 public:
  FragmentNames(const PipelineState& s, const rte_mbuf* datagram) noexcept {
    if (!s.parts.keep_verdicts || is_originated(datagram)) return;
    for (; datagram != nullptr; datagram = datagram->next) names_[count_++] = datagram;
  }
  const rte_mbuf* const* begin() const noexcept { return names_; }
  const rte_mbuf* const* end() const noexcept { return names_ + count_; }

 private:
  const rte_mbuf* names_[FragmentTable::kMostOfDatagram];
  size_t count_ = 0;
};

}  // namespace bulkhead
