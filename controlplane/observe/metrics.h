// All metrics of the gateway, at one moment.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "controlplane/observe/metrics_text.h"
#include "controlplane/observe/readings.h"
#include "controlplane/observe/relay_board.h"
#include "controlplane/observe/rule_hits.h"
#include "controlplane/observe/state.h"

namespace bulkhead {

/// What one reading of the metrics is made of.
struct MetricsInput {
  ControlState state;
  std::optional<Readings> readings;     ///< nothing while no dataplane is attached
  std::vector<double> busy_ratios;      ///< by worker
  RuleHitCounts rule_hits;              ///< of the image of `state.policy`, by RuleIndex; retired ones added
  std::vector<std::string> port_names;  ///< by PortId
  uint64_t flow_log_lost = 0;
  std::optional<RelayCounters> relay;  ///< nothing where the gateway has no mTLS relay
  bool relay_attached = false;
  RelayBoard::Dropped relay_dropped;
  std::string version;
  BootTime now;
};

/// With more rules than this, those that never decided anything are left out.
inline constexpr size_t kMaxZeroRules = 1000;

/// The whole text. Names of workloads and addresses are never labels.
std::string metrics_text(const MetricsInput& input, MetricsFormat format);

/// Where the input comes from while the gateway runs; all outlive it. Thread: any.
struct MetricsSources {
  const StateBoard& board;
  const BusyMeter& busy;
  const RetiredHits& retired;
  std::function<uint64_t()> flow_log_lost;
  std::vector<std::string> port_names;
  std::string version;
  const RelayBoard* relay = nullptr;  ///< nullptr: the gateway has none
};
MetricsInput read_metrics(const MetricsSources& sources, BootTime now);

}  // namespace bulkhead
