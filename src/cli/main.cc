// The operator's command: parses the command line, and nothing else.
#include <array>
#include <string_view>

#include <CLI/CLI.hpp>

#include "cli/command.h"

using namespace bulkhead;

/// Promised for later versions: named, so that nobody takes them for typing errors.
static constexpr std::array<std::string_view, 10> kLater{"plan",    "reach", "top",    "trace", "quarantine",
                                                         "release", "grant", "revoke", "svid",  "bench"};

static bool is_later(std::string_view name) {
  for (std::string_view later : kLater)
    if (name == later) return true;
  return false;
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
  add_completion(app, chosen);

  if (argc > 1 && is_later(argv[1]))
    return static_cast<int>(
        complain("", std::string(argv[1]) + " is not available in this version", ExitCode::kUsage));
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked_for_text) {
    return app.exit(asked_for_text);
  } catch (const CLI::ParseError& error) {
    std::string where = app.get_subcommands().empty() ? "" : app.get_subcommands()[0]->get_name();
    return static_cast<int>(complain(
        where, std::string(error.what()) + "\nTry: bulkhead" + (where.empty() ? "" : " " + where) + " --help",
        ExitCode::kUsage));
  }
  return static_cast<int>(chosen());
}
