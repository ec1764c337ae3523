#include "cli/replay_output.h"

#include <cerrno>
#include <filesystem>

#include "cli/json.h"
#include "controlplane/compiler/explain.h"

namespace bulkhead {
namespace {

const char* verdict_name(Fate fate) {
  switch (fate) {
    case Fate::kForward:
      return "forward";
    case Fate::kRelay:
      return "relay";
    case Fate::kReject:
      return "reject";
    case Fate::kConsume:
      return "consume";
    case Fate::kHold:
    case Fate::kHandOff:
      return "hold";
    case Fate::kDrop:
      break;
  }
  return "drop";
}

const char* flow_name(FlowRelation relation) {
  switch (relation) {
    case FlowRelation::kNew:
      return "new";
    case FlowRelation::kEstablished:
      return "established";
    case FlowRelation::kRelated:
      return "related";
    case FlowRelation::kNone:
      break;
  }
  return "none";
}

/// `allowed`, `established` or `related` by the flow, `local` for the gateway itself, else the drop reason.
std::string reason_name(const PacketVerdict& verdict) {
  if (verdict.reason != DropReason::kNone) return std::string(name_of(verdict.reason));
  if (verdict.fate == Fate::kConsume) return "local";
  if (verdict.flow == FlowRelation::kEstablished || verdict.flow == FlowRelation::kRelated)
    return flow_name(verdict.flow);
  return "allowed";
}

Json segment_name(const ImageView* image, IdentityId identity) {
  return image == nullptr ? Json("unknown") : Json(image->segment_name(identity));
}

}  // namespace

std::string verdict_line(const ReplayVerdict& v, const DataplaneSettings& settings, const ImageView* image) {
  const PacketVerdict& p = v.verdict;
  std::string_view rule = image == nullptr ? std::string_view{} : image->rule_name(p.rule);
  bool goes_out = p.out.value < settings.ports.size();
  return json_line({{"packet", v.packet},
                    {"time_ns", v.time.ns},
                    {"port", settings.ports[v.port.value].name},
                    {"verdict", verdict_name(p.fate)},
                    {"out", goes_out ? Json(settings.ports[p.out.value].name) : Json(nullptr)},
                    {"reason", reason_name(p)},
                    {"rule", rule.empty() ? Json(nullptr) : Json(rule)},
                    {"tier", name_of(static_cast<Tier>(p.tier))},
                    {"src", segment_name(image, p.source)},
                    {"dst", segment_name(image, p.destination)},
                    {"src_source", name_of(static_cast<IdentitySource>(p.source_from))},
                    {"service", p.service == 0 ? Json(nullptr) : Json(to_string(ServiceKey{p.service}))},
                    {"flow", flow_name(p.flow)},
                    {"generation", image == nullptr ? 0 : 1}});
}

Expected<std::unique_ptr<ReplayOutput>> ReplayOutput::open(const DataplaneSettings& settings,
                                                           const ImageView* image,
                                                           const std::string& directory,
                                                           const std::string& verdicts) {
  std::unique_ptr<ReplayOutput> output(new ReplayOutput(settings, image));
  if (!directory.empty()) {
    std::error_code error;
    std::filesystem::create_directories(directory, error);
    if (error) return fail_errno(error.value(), directory);
    for (const PortSetting& port : settings.ports) {
      auto capture = PcapWriter::create(directory + "/" + port.name + ".pcap");
      if (!capture) return std::unexpected(capture.error());
      output->captures_.push_back(std::move(*capture));
    }
  }
  if (!verdicts.empty()) {
    output->lines_path_ = verdicts == "-" ? "standard output" : verdicts;
    output->lines_ = verdicts == "-" ? stdout : std::fopen(verdicts.c_str(), "we");
    if (output->lines_ == nullptr) return fail_errno(errno, verdicts);
  }
  return output;
}

ReplayOutput::~ReplayOutput() {
  if (lines_ != nullptr && lines_ != stdout) std::fclose(lines_);
}

void ReplayOutput::decided(const ReplayVerdict& verdict) {
  ++tally_[{verdict_name(verdict.verdict.fate), reason_name(verdict.verdict)}];
  if (lines_ == nullptr) return;
  std::string line = verdict_line(verdict, settings_, image_);
  std::fwrite(line.data(), 1, line.size(), lines_);
}

void ReplayOutput::transmitted(PortId port, BootTime time, std::span<const std::byte> frame) {
  if (!captures_.empty()) captures_[port.value].write(WallTime{time.ns}, frame);
}

Expected<void> ReplayOutput::close() {
  for (PcapWriter& capture : captures_)
    if (auto closed = capture.close(); !closed) return closed;
  if (lines_ == nullptr) return {};
  errno = 0;
  bool failed = std::fflush(lines_) != 0 || std::ferror(lines_);
  if (failed) return fail_errno(errno != 0 ? errno : EIO, lines_path_);
  return {};
}

}  // namespace bulkhead
