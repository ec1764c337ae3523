#include "dataplane/fastpath/neighbour_table.h"

#include <algorithm>

namespace bulkhead {
namespace {

// Flags of Entry::bits.
constexpr uint64_t kInUse = 1, kFixed = 2;
constexpr uint64_t kKnown = 4;        ///< there is a MAC
constexpr uint64_t kAnswered = 8;     ///< it answered a question of ours
constexpr uint64_t kDoubted = 16;     ///< somebody else claimed the address
constexpr uint64_t kAsked = 32;       ///< a question is open
constexpr uint64_t kOwnerAsked = 64;  ///< it went to the known MAC alone

constexpr uint64_t kOwnerQuestions = 3;  ///< RFC 4861 §10 MAX_UNICAST_SOLICIT
constexpr Millis kNewRound = 10'000;     ///< without a question: the owner is asked first again
constexpr Millis kRefreshEvery =
    1'000;  ///< a neighbour that talks to us all the time isn't written each time
constexpr Millis kNeverAsked = UINT64_MAX;

void words_of(const IpAddress& address, uint64_t (&words)[2]) noexcept {
  std::memcpy(words, address.bytes.data(), 16);
}

uint64_t pack(const MacAddress& mac, uint64_t questions, uint64_t flags) noexcept {
  uint64_t bits = 0;
  for (uint8_t byte : mac.bytes) bits = bits << 8 | byte;
  return bits << 16 | std::min<uint64_t>(questions, 255) << 8 | flags;
}
MacAddress mac_of(uint64_t bits) noexcept {
  MacAddress mac;
  for (int i = 0; i < 6; ++i) mac.bytes[i] = static_cast<uint8_t>(bits >> (56 - 8 * i));
  return mac;
}
uint64_t questions_of(uint64_t bits) noexcept {
  return bits >> 8 & 0xff;
}

bool asked_within(Millis asked, Millis time, Millis now) noexcept {
  return asked != kNeverAsked && age_of(asked, now) < time;
}
bool is_known(uint64_t bits, Millis confirmed, Millis now) noexcept {
  bool young = age_of(confirmed, now) < NeighbourTable::kForgotten;
  return (bits & kKnown) != 0 && ((bits & kFixed) != 0 || young);
}

}  // namespace

NeighbourTable::NeighbourTable(size_t ports, const HashSeed& seed)
    : seed_(seed), places_(std::make_unique<Place[]>(ports * kPlaces)) {}

size_t NeighbourTable::home_of(PortId port, const IpAddress& address) const noexcept {
  return neighbour_hash(port, address, seed_) % kPlaces;
}

/// False: it is being written.
bool NeighbourTable::read(const Place& place, Entry& entry, uint32_t& sequence) noexcept {
  sequence = place.sequence.load(std::memory_order_acquire);
  entry.address[0] = place.address[0].load(std::memory_order_acquire);
  entry.address[1] = place.address[1].load(std::memory_order_acquire);
  entry.bits = place.bits.load(std::memory_order_acquire);
  entry.confirmed = place.confirmed.load(std::memory_order_acquire);
  entry.asked = place.asked.load(std::memory_order_acquire);
  // Acquire loads keep the second look at the sequence behind them.
  return (sequence & 1) == 0 && place.sequence.load(std::memory_order_relaxed) == sequence;
}

/// False: another worker wrote there since; what it knows serves as well, or the next answer will.
bool NeighbourTable::write(const Found& found, const Entry& entry) noexcept {
  Place& place = *found.place;
  uint32_t before = found.sequence;
  if (!place.sequence.compare_exchange_strong(before, before + 1, std::memory_order_acquire)) return false;
  // Release stores keep the odd sequence before them.
  place.address[0].store(entry.address[0], std::memory_order_release);
  place.address[1].store(entry.address[1], std::memory_order_release);
  place.bits.store(entry.bits, std::memory_order_release);
  place.confirmed.store(entry.confirmed, std::memory_order_release);
  place.asked.store(entry.asked, std::memory_order_release);
  uint32_t after = before + 2;
  place.sequence.store(after == 0 ? 2 : after, std::memory_order_release);  // 0: never written
  return true;
}

NeighbourTable::Rank NeighbourTable::rank_of(const Entry& entry, Millis now) noexcept {
  if ((entry.bits & kFixed) != 0) return Rank::kFixed;
  if ((entry.bits & kInUse) == 0) return Rank::kFree;
  if (!is_known(entry.bits, entry.confirmed, now))
    return asked_within(entry.asked, kAnswerTime, now) ? Rank::kWaiting : Rank::kFree;
  if ((entry.bits & kAnswered) == 0) return Rank::kVolunteered;
  return age_of(entry.confirmed, now) >= kReachable ? Rank::kAged : Rank::kAnswered;
}

std::optional<Neighbour> NeighbourTable::find(PortId port, const IpAddress& address,
                                              Millis now) const noexcept {
  uint64_t words[2];
  words_of(address, words);
  size_t home = home_of(port, address);
  for (size_t i = 0; i < kProbes; ++i) {
    Entry e;
    uint32_t sequence;
    bool whole = read(place_at(port, home + i), e, sequence);
    if (sequence == 0) return std::nullopt;  // never written: nor is anything behind it
    if (!whole || e.address[0] != words[0] || e.address[1] != words[1] || (e.bits & kInUse) == 0)
      continue;  // a torn read is a miss: the packet waits
    if (!is_known(e.bits, e.confirmed, now)) return std::nullopt;
    bool fixed = (e.bits & kFixed) != 0;
    bool doubtful = (e.bits & kDoubted) != 0 || age_of(e.confirmed, now) >= kReachable;
    return Neighbour{mac_of(e.bits), e.confirmed, fixed,
                     !fixed && doubtful && !asked_within(e.asked, kAskEvery, now)};
  }
  return std::nullopt;
}

NeighbourTable::Found NeighbourTable::look(PortId port, const IpAddress& address, Rank most,
                                           Millis now) noexcept {
  uint64_t words[2];
  words_of(address, words);
  size_t home = home_of(port, address);
  Found best;
  Rank least = Rank::kFixed;
  for (size_t i = 0; i < kProbes; ++i) {
    Found f{&place_at(port, home + i), 0, false, {}};
    bool whole = read(*f.place, f.entry, f.sequence);
    Entry& e = f.entry;
    f.same = e.address[0] == words[0] && e.address[1] == words[1] && (e.bits & kInUse) != 0;
    if (whole && f.same) return f;
    Rank rank = rank_of(e, now);
    bool better = best.place == nullptr || rank < least ||
                  (rank == least && rank != Rank::kFree && e.confirmed < best.entry.confirmed);
    if (whole && rank <= most && better) best = f, least = rank;
    if (f.sequence == 0) break;
  }
  best.same = false;
  best.entry = {{words[0], words[1]}, 0, now, kNeverAsked};
  return best;
}

Question NeighbourTable::ask(PortId port, const IpAddress& address, Millis now) noexcept {
  Found f = look(port, address, Rank::kAged, now);
  Entry e = f.entry;
  if (f.place == nullptr || (e.bits & kFixed) != 0 || asked_within(e.asked, kAskEvery, now)) return {};
  uint64_t before = asked_within(e.asked, kNewRound, now) ? questions_of(e.bits) : 0;
  bool known = is_known(e.bits, e.confirmed, now);
  bool owner = known && before < kOwnerQuestions;
  uint64_t kept = known ? e.bits & (kKnown | kAnswered | kDoubted) : 0;
  e.bits = pack(mac_of(e.bits), before + 1, kept | kInUse | kAsked | (owner ? kOwnerAsked : 0));
  e.asked = now;
  if (!write(f, e)) return {};
  return {owner ? Question::To::kOwner : Question::To::kAll, mac_of(e.bits)};
}

bool NeighbourTable::answer(PortId port, const IpAddress& address, const MacAddress& mac,
                            Millis now) noexcept {
  Found f = look(port, address, Rank::kFree, now);
  Entry e = f.entry;
  if (!f.same) return false;
  if ((e.bits & kFixed) != 0) return mac == mac_of(e.bits);
  bool other = is_known(e.bits, e.confirmed, now) && mac != mac_of(e.bits);
  bool open = (e.bits & kAsked) != 0 && asked_within(e.asked, kAnswerTime, now);
  if (!open || (other && (e.bits & kOwnerAsked) != 0)) {
    e.bits |= kDoubted;
    if (other && (f.entry.bits & kDoubted) == 0) write(f, e);
    return false;
  }
  e.bits = pack(mac, 0, kInUse | kKnown | kAnswered);
  e.confirmed = now;
  return write(f, e);
}

bool NeighbourTable::volunteer(PortId port, const IpAddress& address, const MacAddress& mac,
                               Millis now) noexcept {
  Found f = look(port, address, Rank::kVolunteered, now);
  Entry e = f.entry;
  if (f.place == nullptr) return false;
  if ((e.bits & kFixed) != 0) return mac == mac_of(e.bits);
  if (is_known(e.bits, e.confirmed, now)) {
    bool other = mac != mac_of(e.bits);
    if (other)
      e.bits |= kDoubted;
    else if (age_of(e.confirmed, now) >= kRefreshEvery)
      e.confirmed = now;
    if (e.bits != f.entry.bits || e.confirmed != f.entry.confirmed) write(f, e);
    return !other;
  }
  // While its answer is waited for, its own question tells as much.
  bool wanted = rank_of(e, now) == Rank::kWaiting;
  e.bits = pack(mac, 0, kInUse | kKnown | (wanted ? kAnswered : 0));
  e.confirmed = now;
  return write(f, e);
}

bool NeighbourTable::fix(PortId port, const IpAddress& address, const MacAddress& mac) noexcept {
  Found f = look(port, address, Rank::kAnswered, 0);
  if (f.place == nullptr) return false;
  f.entry.bits = pack(mac, 0, kInUse | kKnown | kFixed);
  return write(f, f.entry);
}

}  // namespace bulkhead
