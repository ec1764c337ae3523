#include "cli/live_tables.h"

#include <algorithm>

#include <fmt/format.h>

#include "cli/table.h"
#include "cli/text.h"

namespace bulkhead {
namespace {

constexpr size_t kKeyWidth = 12;  ///< of status' left column

/// "3m 12s ago"; "-" for a time that isn't known.
std::string age(int64_t ns, WallTime now) {
  return ns == 0 ? "-" : duration_text(now.ns - ns);
}

/// ICMP has no ports; what stands for one is the echo's identifier.
std::string endpoint(const std::string& proto, const std::string& address, uint32_t port) {
  if (port == 0 || proto.starts_with("icmp")) return address;
  bool v6 = address.find(':') != std::string::npos;
  return fmt::format(fmt::runtime(v6 ? "[{}]:{}" : "{}:{}"), address, port);
}

/// What the mode that policy asks for comes to, and what was seen of it.
bool asks_for_tls(const v1::Flow& f) {
  return !f.mtls().empty() && f.mtls() != "none";
}
std::string tls_cell(const v1::Flow& f) {
  if (!asks_for_tls(f)) return "-";
  if (f.protection() == "local") return "local, in clear";
  return f.protection() +
         (f.verified_by().empty() ? ", not verified yet" : ", verified by " + f.verified_by());
}

std::string port_table(const v1::Status& status, const Screen& screen) {
  Table table({{"PORT", Align::kLeft, 8},
               {"DEVICE", Align::kLeft, 12, true, 2},
               {"LINK", Align::kLeft, 0, false, 1},
               {"STATE", Align::kLeft, 0, false},
               {"RX PACKETS", Align::kRight, 0, false},
               {"RX BYTES", Align::kRight, 0, false},
               {"TX PACKETS", Align::kRight, 0, false},
               {"TX BYTES", Align::kRight, 0, false},
               {"MISSED", Align::kRight, 0, false, 3}});
  for (const auto& port : status.ports())
    table.add({port.name(), port.device(), port.attached() ? "attached" : "uncontrolled",
               port.up() ? "up" : "down", count_text(port.rx_packets()), bytes_text(port.rx_bytes()),
               count_text(port.tx_packets()), bytes_text(port.tx_bytes()), count_text(port.missed())});
  return table.render(screen.width, screen.colour);
}

/// The three most frequent reasons.
std::string drops_line(const v1::Status& status) {
  constexpr int kShown = 3;
  std::string text = count_text(status.conservation().dropped());
  for (int i = 0; i < std::min(kShown, status.drops_size()); ++i)
    text += fmt::format("{} {} {}", i == 0 ? ":" : ",", printable(status.drops(i).reason()),
                        count_text(status.drops(i).packets()));
  return text + (status.drops_size() > kShown ? ", ..." : "") + "; `bulkhead drops` says more";
}

/// A line of at most the screen's width and those that it goes on in, its key dim.
std::string status_line(const Screen& screen, std::string_view key, const std::string& value) {
  std::string text = wrapped(fmt::format("{:<{}}{}", key, kKeyWidth, value), screen.width, kKeyWidth);
  return coloured(screen, "2", text.substr(0, kKeyWidth)) + text.substr(kKeyWidth) + "\n";
}

std::string workers_line(const v1::Status& status) {
  std::string text;
  for (const auto& worker : status.workers())
    text += fmt::format("{}{}: {:.1f} % busy", text.empty() ? "" : ", ", worker.number(),
                        100 * worker.busy_ratio());
  return text.empty() ? "none" : text;
}

/// The law of conservation, broken before its "=" where the screen is narrow.
std::string packets_line(const Screen& screen, const v1::Conservation& c) {
  std::string in =
      fmt::format("received {} + originated {}", count_text(c.received()), count_text(c.originated()));
  std::string out =
      fmt::format("= transmitted {} + consumed {} + held {} + dropped {}", count_text(c.transmitted()),
                  count_text(c.consumed()), count_text(c.held()), count_text(c.dropped()));
  bool fits = kKeyWidth + in.size() + 1 + out.size() <= screen.width;
  return status_line(screen, "packets", fits ? in + " " + out : in) +
         (fits ? "" : status_line(screen, "", out));
}

std::string policy_text(const v1::Feed& feed, WallTime now) {
  std::string text = printable(feed.source()) + ", ";
  if (feed.changed_ns() == 0) return text + printable(feed.state());
  std::string read = age(feed.changed_ns(), now) + " ago";
  return text + (feed.state() == "refused" ? "its last change was refused; what is in force was read " + read
                                           : printable(feed.state()) + ", read " + read);
}

std::string enforced_text(const v1::Status& s, const Screen& screen) {
  if (s.generation() > 0)
    return fmt::format("generation {} (image {}): {} segments, {} rules, {} endpoints", s.generation(),
                       s.image_generation(), count_text(s.segments()), count_text(s.rules()),
                       count_text(s.endpoints()));
  return s.dataplane_connected() ? coloured(screen, "1;31", "nothing yet: nothing is forwarded")
                                 : "not known without a dataplane";
}

}  // namespace

std::string status_text(const v1::Status& s, const Screen& screen, WallTime now) {
  std::string out;
  auto line = [&](const char* key, const std::string& value) {
    out += coloured(screen, "2", fmt::format("{:<{}}", key, kKeyWidth)) + value + "\n";
  };
  line("gateway", printable(s.gateway() + " (bulkhead " + s.version() + ")"));
  line("dataplane",
       s.dataplane_connected()
           ? coloured(screen, "32", "connected") + ", up " + age(s.started_ns(), now)
           : coloured(screen, "1;31", "not connected: if it runs, it enforces what it was last given"));
  line("policy", policy_text(s.policy_feed(), now));
  for (const std::string& error : s.policy_feed().errors()) out += status_line(screen, "", printable(error));
  line("enforced", enforced_text(s, screen));
  if (s.last_enforcement_seconds() > 0)
    line("last change",
         "enforced within " + duration_text(static_cast<int64_t>(s.last_enforcement_seconds() * 1e9)));
  line("flows", count_text(s.live_flows()) + " of " + count_text(s.max_flows()));
  line("workers", workers_line(s));
  if (s.events_lost() > 0) line("events lost", coloured(screen, "33", count_text(s.events_lost())));
  out += packets_line(screen, s.conservation());
  if (s.drops_size() > 0) out += status_line(screen, "dropped", drops_line(s));
  return out + "\n" + port_table(s, screen);
}

std::string flows_text(const v1::FlowList& list, const Screen& screen, WallTime now) {
  // Who speaks to whom under which rule is worth more room than how much.
  constexpr size_t kIpv4AndPort = 21;
  const bool shows_tls = std::ranges::any_of(list.flows(), asks_for_tls);
  std::vector<Column> columns{{"PROTO", Align::kLeft, 0, false},
                              {"FROM", Align::kLeft, kIpv4AndPort, true, 0, true},
                              {"SEGMENT", Align::kLeft, 7},
                              {"TO", Align::kLeft, kIpv4AndPort, true, 0, true},
                              {"SEGMENT", Align::kLeft, 7},
                              {"STATE", Align::kLeft, 0, false, 4},
                              {"RULE", Align::kLeft, 9, true, 0, false, 16},
                              {"PKTS OUT", Align::kRight, 0, false, 2},
                              {"BACK", Align::kRight, 0, false, 7},
                              {"BYTES", Align::kRight, 0, false, 3},
                              {"AGE", Align::kRight, 0, false, 8},
                              {"IDLE", Align::kRight, 0, false, 6},
                              {"ENDS IN", Align::kRight, 0, false, 5}};
  if (shows_tls) columns.insert(columns.begin() + 7, {"TLS", Align::kLeft, 0, false, 9});
  Table table(std::move(columns));
  for (const auto& f : list.flows()) {
    std::vector<std::string> cells{f.proto(),
                                   endpoint(f.proto(), f.source(), f.source_port()),
                                   f.source_segment(),
                                   endpoint(f.proto(), f.destination(), f.destination_port()),
                                   f.destination_segment(),
                                   f.state(),
                                   f.rule(),
                                   count_text(f.packets_out()),
                                   count_text(f.packets_back()),
                                   bytes_text(f.bytes_out() + f.bytes_back()),
                                   age(f.opened_ns(), now),
                                   age(f.last_ns(), now),
                                   f.until_ns() == 0 ? "-" : duration_text(f.until_ns() - now.ns)};
    if (shows_tls) cells.insert(cells.begin() + 7, tls_cell(f));
    table.add(std::move(cells));
  }
  std::string shown = fmt::format("{} of {} live flows\n", list.flows_size(), list.total());
  if (list.truncated())
    shown += "more may match: raise --limit; of all flows a gateway looks at 65,536 at a time\n";
  return list.flows_size() == 0 ? shown : table.render(screen.width, screen.colour) + shown;
}

std::string clear_rules_text(const v1::FlowList& list, const Screen& screen, WallTime now) {
  if (list.clear_rules_size() == 0) return "no rule in force lets anything pass in clear\n";
  Table table({{"IN CLEAR FROM", Align::kLeft, 13},
               {"TO", Align::kLeft, 7},
               {"SERVICES", Align::kLeft, 10, true, 1},
               {"RULE", Align::kLeft, 9, true, 0, false, 16},
               {"TIER", Align::kLeft, 0, false, 2},
               {"ENDS IN", Align::kRight, 0, false, 3}});
  for (const auto& rule : list.clear_rules())
    table.add({rule.from(), rule.to(), fmt::format("{}", fmt::join(rule.services(), ", ")), rule.rule(),
               rule.tier(), rule.until_ns() == 0 ? "-" : duration_text(rule.until_ns() - now.ns)});
  return "\n" + table.render(screen.width, screen.colour);
}

std::string drops_text(const v1::DropList& list, const Screen& screen, bool all) {
  Table reasons({{"REASON", Align::kLeft, 0, false},
                 {"PACKETS", Align::kRight, 0, false},
                 {"WHAT IT MEANS", Align::kLeft, 10}});
  for (const auto& drop : list.drops())
    if (all || drop.packets() > 0) reasons.add({drop.reason(), count_text(drop.packets()), drop.help()});
  Table guards({{"PORT"},
                {"KEPT FROM THE HOST", Align::kRight, 0, false},
                {"LEFT TO THE HOST", Align::kRight, 0, false},
                {"MISSED BY THE DEVICE", Align::kRight, 0, false}});
  for (const auto& guard : list.guards())
    if (all || guard.dropped() > 0 || guard.passed() > 0 || guard.missed() > 0)
      guards.add({guard.port(), count_text(guard.dropped()), count_text(guard.passed()),
                  count_text(guard.missed())});

  std::string out = reasons.rows() == 0 ? "no drops\n" : reasons.render(screen.width, screen.colour);
  if (guards.rows() > 0) out += "\n" + guards.render(screen.width, screen.colour);
  constexpr std::string_view kHint = "hint: ";
  for (int i = 0; i < list.hints_size(); ++i) {
    std::string text = wrapped(std::string(kHint) + printable(list.hints(i)), screen.width, kHint.size());
    out += (i == 0 ? "\n" : "") + coloured(screen, "33", text.substr(0, kHint.size())) +
           text.substr(kHint.size()) + "\n";
  }
  return out;
}

std::string segments_text(const v1::SegmentList& list, const Screen& screen) {
  if (list.segments_size() == 0) return "no segments: no policy is in force\n";
  Table table({{"SEGMENT", Align::kLeft, 10},
               {"TAG", Align::kRight, 0, false},
               {"MEMBERS", Align::kRight, 0, false},
               {"LABELS"}});
  for (const auto& segment : list.segments()) {
    std::map<std::string, std::string> sorted(segment.labels().begin(), segment.labels().end());
    std::string labels;
    for (const auto& [key, value] : sorted) labels += (labels.empty() ? "" : ", ") + key + ": " + value;
    table.add({segment.name(), std::to_string(segment.tag()), count_text(segment.members()), labels});
  }
  return table.render(screen.width, screen.colour);
}

}  // namespace bulkhead
