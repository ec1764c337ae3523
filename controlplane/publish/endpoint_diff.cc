#include "controlplane/publish/endpoint_diff.h"

#include <cstring>
#include <tuple>

namespace bulkhead {

namespace {

auto key_of(const Endpoint& endpoint) {
  return std::tie(endpoint.address, endpoint.bits);
}

bool same(const Endpoint& a, const Endpoint& b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

EndpointChange change(ChangeKind kind, const Endpoint& endpoint) {
  return {endpoint, kind, {}};
}

}  // namespace

std::vector<EndpointChange> endpoint_diff(std::span<const Endpoint> before, std::span<const Endpoint> after) {
  std::vector<EndpointChange> changes;
  size_t b = 0, a = 0;
  while (b < before.size() || a < after.size()) {
    bool gone = a == after.size() || (b < before.size() && key_of(before[b]) < key_of(after[a]));
    if (gone) {
      changes.push_back(change(ChangeKind::kRemove, before[b++]));
      continue;
    }
    bool is_new = b == before.size() || key_of(after[a]) < key_of(before[b]);
    if (is_new || !same(before[b], after[a])) changes.push_back(change(ChangeKind::kPut, after[a]));
    if (!is_new) ++b;
    ++a;
  }
  return changes;
}

std::vector<EndpointChange> endpoint_puts(std::span<const Endpoint> endpoints) {
  std::vector<EndpointChange> changes;
  changes.reserve(endpoints.size());
  for (const Endpoint& endpoint : endpoints) changes.push_back(change(ChangeKind::kPut, endpoint));
  return changes;
}

}  // namespace bulkhead
