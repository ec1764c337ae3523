// The commands, as main() learns of them.
#pragma once

#include <functional>
#include <string>

#include "cli/console.h"

namespace CLI {
class App;
}

namespace bulkhead {

/// What the command line asks for; set by the sub-command that was named.
using Task = std::function<ExitCode()>;

/// Each adds its commands to the command line. When one is named, `chosen` becomes what carries it out.
void add_run(CLI::App& app, Task& chosen);
void add_check(CLI::App& app, Task& chosen);
void add_explain(CLI::App& app, Task& chosen);
void add_test(CLI::App& app, Task& chosen);
void add_replay(CLI::App& app, Task& chosen);
void add_live(CLI::App& app, Task& chosen);  ///< status, flows, drops, segments
void add_svid(CLI::App& app, Task& chosen);  ///< a group of commands
void add_completion(CLI::App& app, Task& chosen);

/// A sub-command with its one-line example in --help, and --json where it has an answer to print.
CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& what,
                      const std::string& example);

}  // namespace bulkhead
