#include "dataplane/relay/admission.h"

#include <string_view>

namespace bulkhead {

size_t Admission::Hash::operator()(const IpAddress& address) const noexcept {
  return std::hash<std::string_view>{}(
      {reinterpret_cast<const char*>(address.bytes.data()), address.bytes.size()});
}

std::optional<RelayEnd> Admission::open(const IpAddress& source) {
  std::lock_guard lock(mutex_);
  auto at = by_source_.find(source);
  Count own = at == by_source_.end() ? Count{} : at->second;
  if (all_.live >= limits_.connections || own.live >= limits_.connections_per_source)
    return RelayEnd::k_too_many_connections;
  if (all_.opening >= limits_.opening || own.opening >= limits_.opening_per_source)
    return RelayEnd::k_too_many_handshakes;
  Count& counted = by_source_[source];
  ++counted.live, ++counted.opening;
  ++all_.live, ++all_.opening;
  return std::nullopt;
}

void Admission::established(const IpAddress& source) {
  std::lock_guard lock(mutex_);
  --by_source_[source].opening;
  --all_.opening;
}

void Admission::close(const IpAddress& source, bool was_established) {
  std::lock_guard lock(mutex_);
  auto at = by_source_.find(source);
  --at->second.live, --all_.live;
  if (!was_established) --at->second.opening, --all_.opening;
  if (at->second.live == 0) by_source_.erase(at);
}

uint64_t Admission::live() const {
  std::lock_guard lock(mutex_);
  return all_.live;
}

uint64_t Admission::opening() const {
  std::lock_guard lock(mutex_);
  return all_.opening;
}

}  // namespace bulkhead
