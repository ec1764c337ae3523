#include "cli/command.h"

#include <CLI/CLI.hpp>

namespace bulkhead {

CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& what,
                      const std::string& example) {
  CLI::App* command = app.add_subcommand(name, what);
  command->footer("Example: " + example);
  return command;
}

}  // namespace bulkhead
