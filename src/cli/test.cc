// `bulkhead test`: the policy's own tests.
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/command.h"
#include "cli/explain_view.h"
#include "cli/policy_source.h"
#include "controlplane/compiler/policy_test.h"

namespace bulkhead {
namespace {

struct Options {
  std::string directory;
  bool json = false;
};

Json to_json(const TestFailure& failure) {
  const PolicyTest& test = failure.test;
  return {{"file", test.where.file},
          {"line", test.where.line},
          {"from", test.from},
          {"to", test.to},
          {"service", to_string(test.service)},
          {"expect", name_of(test.expect)},
          {"message", failure.message},
          {"explanation", failure.judged ? bulkhead::to_json(view_of(failure.explanation)) : Json(nullptr)}};
}

Json to_json(size_t count, const std::vector<TestFailure>& failures) {
  Json array = Json::array();
  for (const TestFailure& failure : failures) array.push_back(to_json(failure));
  return {{"tests", count},
          {"passed", count - failures.size()},
          {"failed", failures.size()},
          {"failures", std::move(array)}};
}

std::string to_text(size_t count, const std::vector<TestFailure>& failures, const Screen& screen) {
  std::string out;
  for (const TestFailure& failure : failures) {
    out += to_string(diagnostic_of(failure)) + "\n";
    if (failure.judged) out += bulkhead::to_text(view_of(failure.explanation), screen, 2);
  }
  std::string total = fmt::format("{} of {} tests passed", count - failures.size(), count);
  return out + coloured(screen, failures.empty() ? "32" : "31", total) + "\n";
}

ExitCode test(const Options& options) {
  auto policy = read_policy(options.directory);
  if (!policy) return complain("test", policy.error());
  size_t count = (*policy)->policy.tests.size();
  std::vector<TestFailure> failures = failing_policy_tests(**policy, wall_now());
  print(options.json ? json_line(to_json(count, failures)) : to_text(count, failures, standard_output()));
  return failures.empty() ? ExitCode::kSuccess : ExitCode::kNo;
}

}  // namespace

void add_test(CLI::App& app, Task& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      add_command(app, "test", "Run the policy's own tests", "bulkhead test /etc/bulkhead/policy");
  command->add_option("directory", options->directory, "The policy: a directory, or one file")
      ->required()
      ->type_name("DIR");
  command->add_flag("--json", options->json, "Print a JSON object");
  command->callback([options, &chosen] { chosen = [options] { return test(*options); }; });
}

}  // namespace bulkhead
