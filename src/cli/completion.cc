// `bulkhead completion`: shell completion, made from the command line's own description, so that it is never
// out of date.
#include <memory>

#include <CLI/CLI.hpp>

#include "cli/command.h"

namespace bulkhead {
namespace {

struct Named {
  std::string name, what;
};

std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* command) { return !command->get_name().empty(); });
}

std::vector<Named> options_of(const CLI::App& command) {
  std::vector<Named> options;
  for (const CLI::Option* option : command.get_options())
    for (const std::string& name : option->get_lnames())
      options.push_back({"--" + name, option->get_description()});
  return options;
}

std::string joined(const std::vector<Named>& names) {
  std::string text;
  for (const Named& named : names) text += (text.empty() ? "" : " ") + named.name;
  return text;
}

/// Words after the command's name: its options after a dash, else files.
std::string bash_completion(const CLI::App& app) {
  std::string names, cases;
  for (const CLI::App* command : commands_of(app)) {
    names += (names.empty() ? "" : " ") + command->get_name();
    cases += "    " + command->get_name() + ") options='" + joined(options_of(*command)) + "' ;;\n";
  }
  return "_bulkhead() {\n"
         "  local word=\"${COMP_WORDS[COMP_CWORD]}\" options=''\n"
         "  COMPREPLY=()\n"
         "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
         "    COMPREPLY=($(compgen -W '" +
         names + " " + joined(options_of(app)) +
         "' -- \"$word\"))\n"
         "    return\n"
         "  fi\n"
         "  case \"${COMP_WORDS[1]}\" in\n" +
         cases +
         "  esac\n"
         "  case \"$word\" in\n"
         "    -*) COMPREPLY=($(compgen -W \"$options\" -- \"$word\")) ;;\n"
         "    *) COMPREPLY=($(compgen -f -- \"$word\")) ;;\n"
         "  esac\n"
         "}\n"
         "complete -o filenames -F _bulkhead bulkhead\n";
}

/// Text inside of a zsh '...:...' word.
std::string zsh_quoted(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      if (c == ':' || c == '[' || c == ']' || c == '\\') out += '\\';
      out += c;
    }
  }
  return out;
}

std::string zsh_completion(const CLI::App& app) {
  std::string names, cases;
  for (const CLI::App* command : commands_of(app)) {
    names += "    '" + command->get_name() + ":" + zsh_quoted(command->get_description()) + "'\n";
    cases += "    " + command->get_name() + ")\n      options=(\n";
    for (const Named& option : options_of(*command))
      cases += "        '" + option.name + ":" + zsh_quoted(option.what) + "'\n";
    cases += "      ) ;;\n";
  }
  return "#compdef bulkhead\n"
         "_bulkhead() {\n"
         "  local -a commands options\n"
         "  commands=(\n" +
         names +
         "  )\n"
         "  if (( CURRENT == 2 )); then\n"
         "    _describe command commands\n"
         "    return\n"
         "  fi\n"
         "  case \"$words[2]\" in\n" +
         cases +
         "  esac\n"
         "  if [[ \"$words[CURRENT]\" == -* ]]; then\n"
         "    _describe option options\n"
         "  else\n"
         "    _files\n"
         "  fi\n"
         "}\n"
         "if [[ \"$funcstack[1]\" == _bulkhead ]]; then _bulkhead \"$@\"; else compdef _bulkhead bulkhead; "
         "fi\n";
}

}  // namespace

void add_completion(CLI::App& app, Task& chosen) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command = add_command(app, "completion", "Print the completion script of a shell",
                                  "source <(bulkhead completion bash)");
  command->add_option("shell", *shell, "bash or zsh")->required()->check(CLI::IsMember({"bash", "zsh"}));
  command->callback([shell, &app, &chosen] {
    chosen = [shell, &app] {
      print(*shell == "bash" ? bash_completion(app) : zsh_completion(app));
      return ExitCode::kSuccess;
    };
  });
}

}  // namespace bulkhead
