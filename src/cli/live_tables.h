// The running gateway's answers as tables and as JSON. Times that the tables show are ages, seen from `now`.
#pragma once

#include <string>

#include "base/clock.h"
#include "bulkhead.pb.h"
#include "cli/console.h"
#include "cli/json.h"

namespace bulkhead {

std::string status_text(const v1::Status& status, const Screen& screen, WallTime now);
std::string flows_text(const v1::FlowList& list, const Screen& screen, WallTime now);
/// The rules under which flows may pass in clear.
std::string clear_rules_text(const v1::FlowList& list, const Screen& screen, WallTime now);
/// Reasons with packets, then ports where the guard or the device did something, or `all` of both; then the
/// hints.
std::string drops_text(const v1::DropList& list, const Screen& screen, bool all);
std::string segments_text(const v1::SegmentList& list, const Screen& screen);

Json status_json(const v1::Status& status);
Json flows_json(const v1::FlowList& list);
Json clear_rules_json(const v1::FlowList& list);
Json drops_json(const v1::DropList& list);
Json segments_json(const v1::SegmentList& list);

}  // namespace bulkhead
