#include "contract/relay_flow.h"

#include <algorithm>
#include <cstring>

namespace bulkhead {

namespace {

template <class Datagram>
Datagram make() noexcept {
  Datagram datagram{};
  datagram.version = kRelayFlowVersion;
  datagram.bytes = sizeof(Datagram);
  return datagram;
}

template <class Datagram>
std::optional<Datagram> read_datagram(std::span<const std::byte> payload) noexcept {
  Datagram datagram;
  if (payload.size() != sizeof datagram) return std::nullopt;
  std::memcpy(&datagram, payload.data(), sizeof datagram);
  if (datagram.version != kRelayFlowVersion || datagram.bytes != sizeof datagram) return std::nullopt;
  if (std::ranges::any_of(datagram.reserved, [](uint8_t byte) { return byte != 0; })) return std::nullopt;
  return datagram;
}

}  // namespace

RelayAnnouncement make_relay_announcement() noexcept {
  return make<RelayAnnouncement>();
}

RelayHeartbeat make_relay_heartbeat() noexcept {
  return make<RelayHeartbeat>();
}

std::optional<RelayAnnouncement> read_relay_announcement(std::span<const std::byte> payload) noexcept {
  auto a = read_datagram<RelayAnnouncement>(payload);
  if (!a) return a;
  bool possible = (a->role == RelayRole::kOriginate || a->role == RelayRole::kTerminate) &&
                  a->client.family() == a->server.family() && a->client_port != 0 && a->server_port != 0;
  return possible ? a : std::nullopt;
}

std::optional<RelayHeartbeat> read_relay_heartbeat(std::span<const std::byte> payload) noexcept {
  auto h = read_datagram<RelayHeartbeat>(payload);
  bool possible = h && h->state >= RelayState::kStarting && h->state <= RelayState::kDraining;
  return possible ? h : std::nullopt;
}

}  // namespace bulkhead
