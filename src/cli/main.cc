// The operator's command: parses the command line, and nothing else.
#include <algorithm>
#include <array>
#include <new>
#include <string_view>

#include <CLI/CLI.hpp>

#include "cli/command.h"

using namespace bulkhead;

/// Promised for later versions: named, so that nobody takes them for typing errors.
static constexpr std::array<std::string_view, 9> kLater{"plan",    "reach", "top",    "trace", "quarantine",
                                                        "release", "grant", "revoke", "bench"};

/// What is wrong with the first word of the command line; empty for nothing.
static std::string wrong_command(const CLI::App& app, const std::string& word) {
  if (std::ranges::find(kLater, word) != kLater.end()) return word + " is not available in this version";
  auto has_name = [&](const CLI::App* command) { return command->get_name() == word; };
  if (word.starts_with('-') || !app.get_subcommands(has_name).empty()) return {};
  return (word.empty() ? "name a command" : "there is no command '" + word + "'") + "\nTry: bulkhead --help";
}

/// The command that the line names, with its group's name before it; as far as it got.
static std::string named_command(const CLI::App& app) {
  auto named = app.get_subcommands();
  if (named.empty()) return "";
  std::string within = named_command(*named[0]);
  return named[0]->get_name() + (within.empty() ? "" : " " + within);
}

int main(int argc, char** argv) {
  CLI::App app{"Bulkhead, a zero-trust microsegmentation gateway.", "bulkhead"};
  app.set_version_flag("--version", "bulkhead " BULKHEAD_VERSION);
  app.footer(
      "Exit codes: 0 success, 1 the answer is no, 2 wrong usage, 3 the gateway can't be reached.\n"
      "Help on a command: bulkhead COMMAND --help");
  app.require_subcommand(1);

  Task chosen;
  add_run(app, chosen);
  add_check(app, chosen);
  add_explain(app, chosen);
  add_test(app, chosen);
  add_replay(app, chosen);
  add_live(app, chosen);
  add_svid(app, chosen);
  add_completion(app, chosen);

  if (std::string wrong = wrong_command(app, argc > 1 ? argv[1] : ""); !wrong.empty())
    return static_cast<int>(complain("", wrong, ExitCode::kUsage));
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked_for_text) {
    return app.exit(asked_for_text);
  } catch (const CLI::ParseError& error) {
    std::string where = named_command(app);
    return static_cast<int>(complain(
        where, std::string(error.what()) + "\nTry: bulkhead" + (where.empty() ? "" : " " + where) + " --help",
        ExitCode::kUsage));
  }
  try {
    return static_cast<int>(chosen());
  } catch (const std::bad_alloc&) {
    return static_cast<int>(complain("", "memory ran out", ExitCode::kNo));
  }
}
