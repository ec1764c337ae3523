#include "controlplane/observe/state.h"

#include <poll.h>

#include <algorithm>

namespace bulkhead {

/// The control loop takes messages in too, so the socket alone doesn't tell when the list has come.
static constexpr int kLookMs = 5;

Expected<FlowList> Attachment::list_flows(uint64_t limit, Nanoseconds patience) {
  std::lock_guard one_at_a_time(listing_);
  BootTime deadline{boot_now().ns + patience.count()};
  int fd = -1;
  auto done = with([&](DataplaneClient& client) {
    fd = client.fd();
    return client.ask_for_flows(limit);
  });
  while (done && boot_now() < deadline) {
    std::optional<FlowAnswer> answer;
    done = with_answers([&](DataplaneClient& client, const RuleHitCounts&) {
      auto heard = client.handle_readable();
      answer = client.next_flows();
      return heard;
    });
    wake_loop_();
    if (answer) return read_flows(*answer);
    pollfd watched{fd, POLLIN, 0};
    if (done) ::poll(&watched, 1, kLookMs);
  }
  if (!done) return std::unexpected(done.error());
  return fail(ErrorCode::kUnavailable, "the dataplane didn't list its flows in time; try again");
}

void EnforcementTimes::add(double seconds) {
  auto bound = std::lower_bound(kBounds.begin(), kBounds.end(), seconds);
  ++counts[static_cast<size_t>(bound - kBounds.begin())];
  sum_seconds += seconds;
  last_seconds = seconds;
}

}  // namespace bulkhead
