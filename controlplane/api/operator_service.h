// Answers to the operator: what runs, what is enforced, and why.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bulkhead.grpc.pb.h"
#include "contract/settings.h"
#include "controlplane/observe/names.h"
#include "controlplane/observe/readings.h"
#include "controlplane/observe/relay_board.h"
#include "controlplane/observe/state.h"

namespace bulkhead {

/// What the answers are made of; references outlive the service.
struct OperatorSources {
  const StateBoard& board;
  const BusyMeter& busy;
  const NameHistory& names;
  const DataplaneSettings& settings;
  std::string version;
  const RelayBoard* relay = nullptr;  ///< nullptr: the gateway has none
};

/// The service behind controlplane/api/bulkhead.proto. Thread: any; nothing here waits for the control loop.
class OperatorService final : public v1::Operator::Service {
 public:
  static constexpr uint32_t kDefaultFlows = 1000;
  static constexpr uint32_t kMostFlows = 100'000;  ///< in one answer: some 30 MiB

  explicit OperatorService(OperatorSources sources) : sources_(std::move(sources)) {}

  grpc::Status GetStatus(grpc::ServerContext*, const v1::StatusRequest*, v1::Status* answer) override;
  grpc::Status ListFlows(grpc::ServerContext*, const v1::FlowsRequest* request,
                         v1::FlowList* answer) override;
  grpc::Status ListDrops(grpc::ServerContext*, const v1::DropsRequest*, v1::DropList* answer) override;
  grpc::Status ListSegments(grpc::ServerContext*, const v1::SegmentsRequest*,
                            v1::SegmentList* answer) override;
  grpc::Status Explain(grpc::ServerContext*, const v1::ExplainRequest* request,
                       v1::Explanation* answer) override;

 private:
  OperatorSources sources_;
};

}  // namespace bulkhead
