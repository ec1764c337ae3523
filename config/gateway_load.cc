#include <pwd.h>

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "config/gateway_reader.h"
#include "config/policy.h"
#include "config/read_file.h"
#include "svid/spiffe_id.h"

namespace bulkhead {
namespace {

using std::chrono::milliseconds;

/// A duration longer than nothing and at most 30 days.
std::optional<milliseconds> read_timeout(const yaml::Node& node, Source& source) {
  auto duration = parsed(parse_duration)(node, source);
  if (!duration) return std::nullopt;
  auto time = std::chrono::duration_cast<milliseconds>(*duration);
  if (time > milliseconds{0} && time <= std::chrono::hours{720}) return time;
  source.error(node.mark, in_quotes(node.text) + " isn't a usable timeout; write one from 1ms to 720h");
  return std::nullopt;
}

/// How long fragments wait for each other.
std::optional<milliseconds> read_fragment_timeout(const yaml::Node& node, Source& source) {
  auto time = read_timeout(node, source);
  if (!time || *time <= kLongestFragmentTimeout) return time;
  source.error(node.mark, in_quotes(node.text) + " is longer than fragments may wait; write at most 60s");
  return std::nullopt;
}

std::optional<std::string> read_trust_domain(const yaml::Node& node, Source& source) {
  auto text = read_text(node, source);
  if (!text) return std::nullopt;
  auto domain = parse_trust_domain(*text);
  if (domain) return domain->name();
  source.error(node.mark, domain.error().message);
  return std::nullopt;
}

/// A user's or group's name.
std::optional<std::string> read_account(const yaml::Node& node, Source& source) {
  auto text = read_text(node, source);
  auto is_part = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  };
  if (!text || (text->size() <= 32 && std::ranges::all_of(*text, is_part) && text->front() != '-'))
    return text;
  source.error(node.mark, in_quotes(*text) +
                              " isn't the name of a user or group; write letters, digits, '.', '_' and '-'");
  return std::nullopt;
}

/// Of a user of this host.
std::optional<uid_t> uid_of(const std::string& name) {
  const passwd* entry = ::getpwnam(name.c_str());
  return entry != nullptr ? std::optional(entry->pw_uid) : std::nullopt;
}

/// A path, resolved against the file that names it.
std::optional<std::string> read_path(const yaml::Node& node, Source& source) {
  auto text = read_text(node, source);
  if (text) text = resolve(source.file(), *text);
  return text;
}

std::optional<std::string> read_socket(const yaml::Node& node, Source& source) {
  constexpr size_t kMost =
      107 - std::string_view(".dataplane").size();  // sockaddr_un, and contract_socket() and relay_socket()
  auto path = read_path(node, source);
  if (!path || path->size() <= kMost) return path;
  source.error(node.mark, "this socket's path has " + std::to_string(path->size()) + " bytes; at most " +
                              std::to_string(kMost) + " are possible");
  return std::nullopt;
}

/// Where an agent of the SPIFFE Workload API listens, as its standard writes it (SPIFFE Workload Endpoint
/// §4). Output: "unix:/PATH".
std::optional<std::string> read_agent(const yaml::Node& node, Source& source) {
  constexpr std::string_view kScheme = "unix:", kAuthority = "//";
  constexpr size_t kMost = 107;  // sockaddr_un
  auto text = read_text(node, source);
  if (!text) return std::nullopt;
  std::string_view path = *text;
  bool is_unix = path.starts_with(kScheme);
  if (is_unix) path.remove_prefix(kScheme.size());
  if (is_unix && path.starts_with(kAuthority)) path.remove_prefix(kAuthority.size());
  if (is_unix && path.starts_with('/') && !path.starts_with(kAuthority) && path.size() <= kMost)
    return std::string(kScheme) + std::string(path);
  source.error(node.mark, in_quotes(*text) +
                              " isn't a Unix socket; write \"unix:/PATH\", with a path of at most " +
                              std::to_string(kMost) + " bytes");
  return std::nullopt;
}

/// A whole gateway's file, section by section.
class GatewayReader {
 public:
  GatewayReader(Source& source, bool for_replay) : source_(source), for_replay_(for_replay) {}

  GatewayConfig read(const yaml::Node& root) {
    config_.file = source_.file();
    Fields fields(root, source_, "the gateway's file");
    section(fields, "gateway", true, [this](Fields& gateway) { read_gateway(gateway); });
    section(fields, "dataplane", true, [this](Fields& dataplane) { read_dataplane(dataplane); });
    read_policy(fields);
    fields.unavailable("feeds");
    section(fields, "svid", false, [this](Fields& svid) { read_svid(svid); });
    section(fields, "controlplane", false, [this](Fields& controlplane) { read_controlplane(controlplane); });
    fields.done();
    if (config_.svid.is_there()) add_relay_port(root), check_users(root);
    return std::move(config_);
  }

 private:
  /// Reads a mapping within a mapping.
  template <class ReadKeys>
  void section(Fields& fields, std::string_view key, bool is_required, ReadKeys&& read_keys) {
    if (is_required && !fields.has(key)) fields.missing(key);
    const yaml::Node* node = fields.find(key);
    if (node == nullptr) return;
    Fields inner(*node, source_, in_quotes(key));
    read_keys(inner);
    inner.done();
  }

  void read_policy(Fields& fields) {
    if (fields.has("policy")) {
      fields.optional("policy", config_.policy, read_path);
      return;
    }
    std::string usual = resolve(source_.file(), "policy/");
    std::error_code error;
    if (std::filesystem::is_directory(usual, error)) config_.policy = std::move(usual);
  }

  void read_gateway(Fields& fields) {
    if (fields.required("name", config_.dataplane.name, read_name))
      config_.dataplane.file_prefix = config_.dataplane.name;
    fields.optional("trust_domain", config_.trust_domain, read_trust_domain);
  }

  void read_svid(Fields& fields) {
    fields.optional("directory", config_.svid.directory, read_path);
    fields.optional("workload_api", config_.svid.workload_api, read_agent);
    const yaml::Node& node = fields.node();
    if (node.kind == yaml::Kind::kMapping && fields.has("directory") == fields.has("workload_api"))
      source_.error(node.mark,
                    fields.has("directory")
                        ? "SVIDs come from 'directory' or from 'workload_api'; remove one of the two"
                        : "'svid' needs the key 'directory' or the key 'workload_api'; add one of them");
    fields.optional("user", config_.svid.user, read_account);
  }

  /// Who holds workloads' keys and who holds policy are two users: either may end and inspect its own
  /// processes.
  void check_users(const yaml::Node& root) {
    const std::string &relay = config_.svid.user, &other = config_.controlplane.user;
    auto number = uid_of(relay);
    if (relay != other && (!number || number != uid_of(other))) return;
    const yaml::Node& svid = *root.find("svid");
    const yaml::Node* user = svid.find("user");
    source_.error(
        user != nullptr ? user->mark : svid.mark,
        "the mTLS relay would run as " + in_quotes(relay) + ", which is the user of the control plane, " +
            in_quotes(other) +
            ": whoever takes over the one then has the other and workloads' keys; name a user of its own "
            "as svid.user (`useradd --system --no-create-home bulkhead-relay`)");
  }

  /// The port that leads to the mTLS relay: the last one.
  void add_relay_port(const yaml::Node& root) {
    DataplaneSettings& settings = config_.dataplane;
    Mark mark = root.find("svid")->mark;
    if (settings.ports.size() >= kMaxPorts)
      return source_.error(mark,
                           "the mTLS relay takes one of a gateway's 32 ports; remove one of the others");
    if (std::ranges::find(settings.ports, kRelayPortName, &PortSetting::name) != settings.ports.end())
      return source_.error(mark, "the mTLS relay's port is called 'relay'; give the other port another name");
    PortSetting relay{.name = kRelayPortName, .device = "tap:" + relay_interface(settings.file_prefix)};
    relay.relay = relay.any_source = true;
    for (const PortSetting& port : settings.ports)
      relay.mtu =
          std::min(relay.mtu, static_cast<uint16_t>(port.mtu - link_overhead(port) - (port.vxlan ? 4 : 0)));
    settings.ports.push_back(std::move(relay));
  }

  void read_dataplane(Fields& fields) {
    DataplaneSettings& settings = config_.dataplane;
    read_resources(fields);
    bool mode_known =
        fields.required("mode", settings.mode, Choice<Mode>{{"wire", Mode::kWire}, {"route", Mode::kRoute}});
    PortsReader ports(settings, for_replay_);
    if (!fields.has("ports")) fields.missing("ports");
    if (const yaml::Node* node = fields.find("ports")) ports.read(*node, source_);
    const yaml::Node* wires = fields.find("wires");
    const yaml::Node* routes = fields.find("routes");
    if (mode_known) read_topology(fields, wires, routes, ports.places());
    read_behaviour(fields);
  }

  void read_resources(Fields& fields) {
    DataplaneSettings& settings = config_.dataplane;
    if (fields.optional("cores", settings.cores, list_of(integer(0u, 1023u)))) check_cores(fields);
    fields.optional("memory_mib", settings.memory_mib, integer(64u, 1u << 20));
    fields.optional("buffers", settings.buffers, integer(1u, 1u << 26));
    fields.optional("max_flows", settings.max_flows, integer(1024u, 1u << 28));
    settings.max_flows_per_identity = settings.max_flows - settings.max_flows / 4;
    fields.optional("max_flows_per_identity", settings.max_flows_per_identity, integer(1u, 1u << 28));
    fields.optional("file_prefix", settings.file_prefix, read_name);
  }

  void check_cores(Fields& fields) {
    const yaml::Node& cores = *fields.node().find("cores");
    report_repeated(cores, "CPU ", source_);
    if (cores.items.size() > kMaxCores)
      source_.error(cores.items[kMaxCores].mark, "a gateway has at most 64 workers; list fewer CPUs");
  }

  void read_topology(Fields& fields, const yaml::Node* wires, const yaml::Node* routes,
                     const std::vector<PortPlace>& places) {
    DataplaneSettings& settings = config_.dataplane;
    if (settings.mode == Mode::kWire) {
      if (routes != nullptr)
        source_.error(routes->mark, "routes have a meaning only in mode route; remove them");
      if (wires == nullptr) return fields.has("wires") ? void() : fields.missing("wires");
      read_wires(*wires, places, source_, settings);
    } else {
      if (wires != nullptr) source_.error(wires->mark, "wires have a meaning only in mode wire; remove them");
      check_subnets(settings, places, source_);
      if (routes != nullptr) read_routes(*routes, source_, settings);
    }
  }

  void read_behaviour(Fields& fields) {
    DataplaneSettings& settings = config_.dataplane;
    fields.optional("tcp", settings.tcp,
                    Choice<TcpMode>{{"strict", TcpMode::kStrict}, {"liberal", TcpMode::kLiberal}});
    section(fields, "timeouts", false, [&](Fields& timeouts) {
      timeouts.optional("syn", settings.timeouts.syn, read_timeout);
      timeouts.optional("established", settings.timeouts.established, read_timeout);
      timeouts.optional("closing", settings.timeouts.closing, read_timeout);
      timeouts.optional("udp", settings.timeouts.udp, read_timeout);
      timeouts.optional("icmp", settings.timeouts.icmp, read_timeout);
      timeouts.optional("other", settings.timeouts.other, read_timeout);
    });
    section(fields, "half_open", false, [&](Fields& limits) {
      limits.optional("per_identity", settings.half_open_per_identity, integer(1u, 1u << 28));
      limits.optional("total", settings.half_open_total, integer(1u, 1u << 28));
    });
    section(fields, "reject_rate", false, [&](Fields& rates) {
      rates.optional("per_identity", settings.reject_per_identity, integer(0u, 1'000'000u));
      rates.optional("total", settings.reject_total, integer(0u, 1'000'000u));
    });
    fields.optional("on_implicit_deny", settings.reject_implicit_deny,
                    Choice<bool>{{"drop", false}, {"reject", true}});
    fields.optional("on_revoke", settings.reset_on_revoke, Choice<bool>{{"drop", false}, {"reset", true}});
    section(fields, "fragments", false, [&](Fields& limits) {
      limits.optional("datagrams", settings.fragments.datagrams, integer(1u, kMostFragmentDatagrams));
      limits.optional("per_source", settings.fragments.per_source, integer(1u, kMostFragmentDatagrams));
      limits.optional("timeout", settings.fragments.timeout, read_fragment_timeout);
    });
    fields.unavailable("hold");
  }

  void read_controlplane(Fields& fields) {
    ControlplaneConfig& controlplane = config_.controlplane;
    fields.optional("user", controlplane.user, read_account);
    fields.optional("socket", controlplane.socket, read_socket);
    fields.optional("socket_group", controlplane.socket_group, read_account);
    fields.optional("metrics", controlplane.metrics, parsed(parse_listener));
    section(fields, "flow_log", false, [&](Fields& log) {
      log.required("path", controlplane.flow_log.path, read_path);
      log.optional("rotate_mib", controlplane.flow_log.rotate_mib, integer(1u, 1u << 20));
      log.optional("keep", controlplane.flow_log.keep, integer(1u, 1000u));
    });
    fields.optional("state", controlplane.state, read_path);
  }

  Source& source_;
  bool for_replay_;
  GatewayConfig config_;
};

}  // namespace

LoadedGateway load_gateway_text(const std::string& file, const std::string& text, bool for_replay) {
  Report report;
  Source source(report, file);
  LoadedGateway loaded;
  yaml::Document document = yaml::parse(text);
  for (yaml::Problem& problem : document.problems) source.error(problem.mark, std::move(problem.message));
  if (document.root.kind != yaml::Kind::kNull) {
    GatewayConfig config = GatewayReader(source, for_replay).read(document.root);
    if (!report.has_errors()) loaded.config = std::move(config);
  } else if (document.problems.empty()) {
    source.error({}, "the file is empty; a gateway's needs 'gateway' and 'dataplane' at least");
  }
  loaded.diagnostics = report.finish();
  return loaded;
}

LoadedGateway load_gateway(const std::string& path, bool for_replay) {
  auto text = read_file(path, yaml::kMaxFileBytes);
  if (text) return load_gateway_text(path, *text, for_replay);
  return {std::nullopt, {{Severity::kError, {path, 0, 0}, text.error().message}}};
}

bool is_gateway_file(const std::string& path) {
  auto text = read_file(path, yaml::kMaxFileBytes);
  if (!text) return false;
  // A broken file is judged by its lines, so that its errors are told as what it is meant to be.
  std::string lines = "\n" + yaml::normalised(*text);
  for (std::string_view start : {"\ngateway:", "\n\"gateway\":", "\n'gateway':"})
    if (lines.find(start) != std::string::npos) return true;
  size_t first = lines.find_first_not_of(" \n");
  bool one_flow = first != std::string::npos && lines[first] == '{';
  return one_flow && yaml::parse(*text).root.find("gateway") != nullptr;
}

}  // namespace bulkhead
