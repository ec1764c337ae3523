#include "cli/replay_input.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "cli/direction.h"
#include "wire/ethernet.h"

namespace bulkhead {
namespace {

Expected<PortId> port_named(std::string_view name, const DataplaneSettings& settings) {
  std::string known;
  for (size_t i = 0; i < settings.ports.size(); ++i) {
    if (settings.ports[i].name == name) return PortId{static_cast<uint8_t>(i)};
    known += (i ? ", " : "") + settings.ports[i].name;
  }
  return fail(ErrorCode::kInvalid,
              "no port '" + std::string(name) + "' in the configuration; it has " + known);
}

/// What was odd about one capture, told once at its end.
struct Oddities {
  uint64_t cut_short = 0, guessed = 0, backwards = 0;
  uint64_t cut_off = 0;  ///< the packet that the file ends in; 0: none

  void tell(const std::string& path, std::vector<std::string>& warnings) const {
    auto packets = [](uint64_t n) { return std::to_string(n) + (n == 1 ? " packet" : " packets"); };
    if (cut_short)
      warnings.push_back(path + ": " + packets(cut_short) +
                         " cut short by the capture's snap length, judged as they are; capture with -s 0");
    if (cut_off)
      warnings.push_back(path + ": the file ends inside packet " + std::to_string(cut_off) +
                         "; what stands before it is replayed");
    if (guessed)
      warnings.push_back(path + ": nothing tells on which port " + packets(guessed) +
                         " came in; taken as the first one's");
    if (backwards)
      warnings.push_back(path + ": " + packets(backwards) + " earlier than the one before; sorted by time");
  }
};

Expected<void> read_capture(const CaptureArgument& argument, const DataplaneSettings& settings,
                            DirectionFinder& finder, ReplayInput& input) {
  auto reader = PcapReader::open(argument.path);
  if (!reader) return std::unexpected(reader.error());
  Oddities odd;
  WallTime before{INT64_MIN};
  CapturedFrame frame;
  while (true) {
    auto more = reader->next(frame);
    if (!more) return std::unexpected(more.error());
    if (!*more) break;
    if (frame.bytes.size() > kLongestFrame)
      return fail(ErrorCode::kInvalid, argument.path + ": packet " + std::to_string(reader->count()) +
                                           " has " + std::to_string(frame.bytes.size()) +
                                           " bytes, and replay takes " + std::to_string(kLongestFrame) +
                                           " at most; leave it out with editcap");
    DirectionFinder::Found found{argument.ports[0]};
    if (argument.ports.size() > 1) found = finder.find(frame.bytes, argument.ports);
    const MacAddress& mac = settings.ports[found.port.value].mac;
    if (frame.made_header && frame.bytes.size() >= sizeof(EthernetHeader))
      std::memcpy(frame.bytes.data(), &mac, sizeof mac);
    odd.cut_short += frame.cut_short;
    odd.guessed += found.guessed;
    odd.backwards += frame.time < before;
    before = frame.time;
    input.longest_frame = std::max(input.longest_frame, frame.bytes.size());
    input.packets.push_back({frame.time, input.packets.size(), found.port, std::move(frame.bytes)});
  }
  if (reader->cut_off()) odd.cut_off = reader->count();
  odd.tell(argument.path, input.warnings);
  return {};
}

}  // namespace

Expected<CaptureArgument> parse_capture_argument(const std::string& text, const DataplaneSettings& settings) {
  size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size())
    return fail(ErrorCode::kInvalid, "'" + text + "' is not PORT=FILE or PORT+PORT=FILE");
  CaptureArgument argument{{}, text.substr(equals + 1)};
  std::string_view names(text.data(), equals);
  while (true) {
    size_t plus = names.find('+');
    auto port = port_named(names.substr(0, plus), settings);
    if (!port) return std::unexpected(port.error());
    if (std::ranges::count(argument.ports, *port))
      return fail(ErrorCode::kInvalid, "'" + text + "' names a port twice");
    argument.ports.push_back(*port);
    if (plus == std::string_view::npos) break;
    names.remove_prefix(plus + 1);
  }
  if (argument.ports.size() > 2) return fail(ErrorCode::kInvalid, "'" + text + "' names more than two ports");
  return argument;
}

Expected<ReplayInput> read_captures(const std::vector<CaptureArgument>& arguments,
                                    const DataplaneSettings& settings, const EndpointTable* endpoints) {
  ReplayInput input;
  DirectionFinder finder(settings, endpoints);
  for (const CaptureArgument& argument : arguments)
    if (auto read = read_capture(argument, settings, finder, input); !read)
      return std::unexpected(read.error());
  std::ranges::sort(input.packets, {}, [](const InputPacket& p) { return std::pair(p.time, p.place); });
  return input;
}

}  // namespace bulkhead
