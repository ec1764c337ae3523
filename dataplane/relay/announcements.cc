#include "dataplane/relay/announcements.h"

#include <string_view>

namespace bulkhead {

size_t Announcements::Hash::operator()(const FlowEnds& ends) const noexcept {
  auto of = [](const IpAddress& address) {
    return std::hash<std::string_view>{}(
        {reinterpret_cast<const char*>(address.bytes.data()), address.bytes.size()});
  };
  size_t ports = size_t{ends.client_port} << 16 | ends.server_port;
  return of(ends.client) * 3 + of(ends.server) * 5 + ports * 0x9e3779b97f4a7c15;
}

void Announcements::add(const RelayAnnouncement& announcement, BootTime now) {
  forget_old(now);
  FlowEnds ends = ends_of(announcement);
  if (auto at = by_ends_.find(ends); at != by_ends_.end()) {
    by_age_.erase(at->second);
    by_ends_.erase(at);
  } else if (by_age_.size() == most_) {
    by_ends_.erase(ends_of(by_age_.front().announcement));
    by_age_.pop_front();
    ++expired_;
  }
  by_age_.push_back({announcement, now});
  by_ends_.emplace(ends, std::prev(by_age_.end()));
}

std::optional<RelayAnnouncement> Announcements::claim(const FlowEnds& ends, BootTime now) {
  forget_old(now);
  auto at = by_ends_.find(ends);
  if (at == by_ends_.end()) return std::nullopt;
  RelayAnnouncement announcement = at->second->announcement;
  by_age_.erase(at->second);
  by_ends_.erase(at);
  return announcement;
}

void Announcements::forget_old(BootTime now) {
  while (!by_age_.empty() && by_age_.front().since + kRelayAnnouncementLife < now) {
    by_ends_.erase(ends_of(by_age_.front().announcement));
    by_age_.pop_front();
    ++expired_;
  }
}

}  // namespace bulkhead
