#include "dataplane/guard/guard_maps.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>

#include <numeric>
#include <vector>

#include "dataplane/guard/bpf/guard_layout.h"
#include "dataplane/guard/libbpf_log.h"

namespace bulkhead {

static_assert(kGuardMaxHostAddresses == GUARD_MAX_HOST_ADDRESSES);
static_assert(sizeof(guard_address) == sizeof(IpAddress));
static_assert(sizeof(guard_mac_address) == sizeof(MacAddress));

Expected<GuardMaps> GuardMaps::of(const LoadedProgram& program) {
  GuardMaps maps;
  const std::pair<const char*, Fd*> wanted[] = {
      {GUARD_HOSTS_MAP, &maps.hosts_}, {GUARD_MAC_MAP, &maps.mac_}, {GUARD_COUNTS_MAP, &maps.counts_}};
  for (const auto& [name, fd] : wanted) {
    Expected<Fd> map = map_of(program, name);
    if (!map) return std::unexpected(map.error());
    *fd = std::move(*map);
  }
  return maps;
}

Expected<> GuardMaps::admit(std::span<const IpAddress> hosts, const MacAddress& mac) const {
  if (hosts.size() > GUARD_MAX_HOST_ADDRESSES)
    return fail(ErrorCode::kInvalid,
                fmt::format("{} host_addresses on one interface: at most {} are possible", hosts.size(),
                            GUARD_MAX_HOST_ADDRESSES));
  const LibbpfLog log;
  const uint32_t first = 0;
  if (const int error = bpf_map_update_elem(mac_.get(), &first, mac.bytes.data(), BPF_ANY); error != 0)
    return log.fail(error, "writing the interface's MAC address for the guard");
  const uint8_t listed = 1;
  for (const IpAddress& host : hosts)
    if (const int error = bpf_map_update_elem(hosts_.get(), host.bytes.data(), &listed, BPF_ANY); error != 0)
      return log.fail(error, "writing host address " + to_string(host) + " for the guard");
  return {};
}

static uint64_t sum_over_cpus(const Fd& counts, uint32_t which) {
  std::vector<uint64_t> frames(static_cast<size_t>(libbpf_num_possible_cpus()));
  if (bpf_map_lookup_elem(counts.get(), &which, frames.data()) != 0) return 0;
  return std::accumulate(frames.begin(), frames.end(), uint64_t{0});
}

GuardCounts GuardMaps::counts() const {
  return {.dropped = sum_over_cpus(counts_, GUARD_DROPPED), .passed = sum_over_cpus(counts_, GUARD_PASSED)};
}

}  // namespace bulkhead
