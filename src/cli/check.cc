// `bulkhead check`: everything that can be known wrong before anything runs.
#include <algorithm>
#include <filesystem>
#include <memory>
#include <set>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/command.h"
#include "cli/json.h"
#include "config/gateway.h"
#include "config/policy_on_gateway.h"
#include "config/read_file.h"
#include "config/yaml_subset.h"
#include "controlplane/compiler/compile.h"

namespace bulkhead {
namespace {

namespace fs = std::filesystem;

/// What was looked at and what was found, over all arguments.
struct Findings {
  Diagnostics diagnostics;
  size_t gateways = 0, policies = 0;
  size_t segments = 0, rules = 0, tests = 0;

  /// Adds each once: two gateways may name the same policy directory.
  void add(const Diagnostics& more) {
    for (const Diagnostic& d : more)
      if (seen_.insert(to_string(d)).second) diagnostics.push_back(d);
  }
  void add(Severity severity, Location where, std::string message) {
    add({Diagnostic{severity, std::move(where), std::move(message)}});
  }
  size_t count(Severity severity) const {
    return static_cast<size_t>(std::ranges::count(diagnostics, severity, &Diagnostic::severity));
  }

 private:
  std::set<std::string> seen_;
};

/// What only the compiler finds: requirements that contradict each other, limits of the format.
void check_compiles(const Policy& policy, const CompileTarget& target, const std::string& path,
                    Findings& findings) {
  if (auto compiled = compile(policy, target, wall_as_boot); !compiled)
    findings.add(Severity::kError, {path, 0, 0}, compiled.error().message);
}

/// `loaded` is from `path`, for a gateway of `settings` or, without ports, for any.
void check_policy(LoadedPolicy loaded, const std::string& path, const DataplaneSettings& settings,
                  Findings& findings) {
  check_on_gateway(loaded, settings);
  findings.add(loaded.diagnostics);
  ++findings.policies;
  if (!loaded.policy) return;
  findings.segments += loaded.policy->segments.size();
  findings.rules += loaded.policy->rules.size();
  findings.tests += loaded.policy->tests.size();
  check_compiles(*loaded.policy, target_of(settings), path, findings);
}

void check_gateway(const std::string& file, Findings& findings) {
  LoadedGateway loaded = load_gateway(file);
  findings.add(loaded.diagnostics);
  ++findings.gateways;
  if (!loaded.config) return;
  if (loaded.config->policy.empty())
    return findings.add(
        Severity::kWarning, {file, 0, 0},
        "there is no 'policy' and no directory policy/ beside this file, so this gateway would "
        "forward nothing; name the policy's directory");
  const std::string& directory = loaded.config->policy;
  check_policy(load_policy(directory, wall_now()), directory, loaded.config->dataplane, findings);
}

std::vector<std::string> yaml_files(const std::string& directory, Findings& findings) {
  std::vector<std::string> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error))
    if (entry.path().extension() == ".yaml" && !entry.is_directory()) files.push_back(entry.path().string());
  if (error) findings.add(Severity::kError, {directory, 0, 0}, "can't be read: " + error.message());
  std::ranges::sort(files);
  return files;
}

/// Files that aren't a gateway's, taken together as one policy.
void check_policy_files(const std::vector<std::string>& files, Findings& findings) {
  if (files.empty()) return;
  if (files.size() == 1) return check_policy(load_policy(files[0], wall_now()), files[0], {}, findings);
  std::vector<std::pair<std::string, std::string>> texts;
  for (const std::string& file : files) {
    auto text = read_file(file, yaml::kMaxFileBytes);
    if (!text) return findings.add(Severity::kError, {file, 0, 0}, text.error().message);
    texts.emplace_back(file, std::move(*text));
  }
  check_policy(load_policy_text(texts, wall_now()), files[0], {}, findings);
}

/// A directory is a policy, unless gateways' files stand in it too.
void check_directory(const std::string& directory, Findings& findings) {
  std::vector<std::string> gateways, others;
  for (const std::string& file : yaml_files(directory, findings))
    (is_gateway_file(file) ? gateways : others).push_back(file);
  if (gateways.empty()) return check_policy(load_policy(directory, wall_now()), directory, {}, findings);
  for (const std::string& file : gateways) check_gateway(file, findings);
  check_policy_files(others, findings);
}

Findings check_paths(const std::vector<std::string>& paths) {
  Findings findings;
  std::vector<std::string> policy_files;
  for (const std::string& path : paths) {
    std::error_code error;
    fs::file_status status = fs::status(path, error);
    if (!fs::exists(status)) {
      findings.add(Severity::kError, {path, 0, 0},
                   error ? "can't be read: " + error.message() : "does not exist");
    } else if (fs::is_directory(status)) {
      check_directory(path, findings);
    } else if (is_gateway_file(path)) {
      check_gateway(path, findings);
    } else {
      policy_files.push_back(path);
    }
  }
  check_policy_files(policy_files, findings);
  return findings;
}

Json to_json(const Diagnostics& diagnostics) {
  Json array = Json::array();
  for (const Diagnostic& d : diagnostics)
    array.push_back({{"file", d.where.file},
                     {"line", d.where.line},
                     {"column", d.where.column},
                     {"severity", d.severity == Severity::kError ? "error" : "warning"},
                     {"message", d.message}});
  return array;
}

std::string plural(size_t count, const std::string& one, const std::string& many) {
  return std::to_string(count) + " " + (count == 1 ? one : many);
}

/// What was looked at; what is in it is told where all of it could be read.
std::string summary(const Findings& f) {
  std::string seen = f.gateways > 0 ? plural(f.gateways, "gateway", "gateways") + ", " : "";
  seen += plural(f.policies, "policy", "policies");
  if (!has_errors(f.diagnostics))
    seen += fmt::format(" ({}, {}, {})", plural(f.segments, "segment", "segments"),
                        plural(f.rules, "rule", "rules"), plural(f.tests, "test", "tests"));
  return fmt::format("{}: {}, {}\n", seen, plural(f.count(Severity::kError), "error", "errors"),
                     plural(f.count(Severity::kWarning), "warning", "warnings"));
}

struct Options {
  std::vector<std::string> paths;
  bool json = false;
};

ExitCode check(const Options& options) {
  Findings findings = check_paths(options.paths);
  if (options.json) {
    print(json_line(to_json(findings.diagnostics)));
  } else {
    print_diagnostics(findings.diagnostics);
    print(summary(findings));
  }
  return has_errors(findings.diagnostics) ? ExitCode::kNo : ExitCode::kSuccess;
}

}  // namespace

void add_check(CLI::App& app, Task& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(app, "check", "Validate configuration and policy, nothing else",
                                  "bulkhead check /etc/bulkhead/gateway.yaml");
  command->add_option("path", options->paths, "Gateway files, policy files, policy directories")
      ->required()
      ->type_name("FILE|DIR");
  command->add_flag("--json", options->json, "Print the diagnostics as a JSON array");
  command->callback([options, &chosen] { chosen = [options] { return check(*options); }; });
}

}  // namespace bulkhead
