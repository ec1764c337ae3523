#include "dataplane/relay/identities.h"

namespace bulkhead {

namespace {

/// One end of a flow.
struct Side {
  SegmentTag segment;
  uint32_t workload;
};

Side source_of(const RelayAnnouncement& flow) {
  return {SegmentTag{flow.source_tag}, flow.source_workload};
}
Side destination_of(const RelayAnnouncement& flow) {
  return {SegmentTag{flow.destination_tag}, flow.destination_workload};
}
/// Whose TLS the relay speaks.
Side own_side(const RelayAnnouncement& flow) {
  return flow.role == RelayRole::kOriginate ? source_of(flow) : destination_of(flow);
}
/// Who speaks TLS with it.
Side peer_side(const RelayAnnouncement& flow) {
  return flow.role == RelayRole::kOriginate ? destination_of(flow) : source_of(flow);
}

Expected<> check_ids(const IdentitiesView& view) {
  for (const SegmentIdentities& segment : view.segments) {
    if (segment.relay_id.length == 0) continue;
    if (auto id = parse_workload_id(view.text(segment.relay_id)); !id)
      return with_context(id.error(), "segment " + std::string(view.text(segment.name)) + ": relay_id");
  }
  for (const WorkloadIdentity& workload : view.workloads)
    if (auto id = parse_workload_id(view.text(workload.id)); !id)
      return with_context(id.error(), "workload " + std::to_string(workload.number));
  return {};
}

}  // namespace

Expected<std::shared_ptr<const Identities>> Identities::read(std::vector<std::byte> bytes) {
  std::shared_ptr<Identities> identities(new Identities(std::move(bytes)));
  auto view = read_identities(identities->bytes_);
  if (!view) return std::unexpected(view.error());
  identities->view_ = *view;
  if (auto checked = check_ids(*view); !checked) return std::unexpected(checked.error());
  identities->patterns_.reserve(view->patterns.size());
  for (StringRef text : view->patterns) {
    auto pattern = parse_spiffe_pattern(view->text(text));
    if (!pattern) return std::unexpected(pattern.error());
    identities->patterns_.push_back(std::move(*pattern));
  }
  return identities;
}

std::vector<std::string_view> Identities::own_ids(const RelayAnnouncement& flow) const {
  Side own = own_side(flow);
  std::vector<std::string_view> ids;
  if (auto id = view_.workload_id(own.workload); !id.empty()) ids.push_back(id);
  const SegmentIdentities* segment = view_.segment(own.segment);
  if (segment && segment->relay_id.length != 0) ids.push_back(view_.text(segment->relay_id));
  return ids;
}

bool Identities::peer_may_be(const RelayAnnouncement& flow, const SpiffeId& id) const {
  Side peer = peer_side(flow);
  const SegmentIdentities* segment = view_.segment(peer.segment);
  if (!segment) return false;
  if (id.text() == view_.workload_id(peer.workload) || id.text() == view_.text(segment->relay_id))
    return true;
  auto patterns = std::span(patterns_).subspan(segment->pattern_first, segment->pattern_count);
  for (const SpiffePattern& pattern : patterns)
    if (pattern.matches(id)) return true;
  return false;
}

std::string_view Identities::peer_segment(const RelayAnnouncement& flow) const {
  const SegmentIdentities* segment = view_.segment(peer_side(flow).segment);
  return segment ? view_.text(segment->name) : std::string_view{};
}

}  // namespace bulkhead
