// `bulkhead completion`: shell completion, made from the command line's own description, so that it is never
// out of date.
#include <memory>
#include <set>

#include <CLI/CLI.hpp>

#include "cli/command.h"

namespace bulkhead {
namespace {

/// What a shell can offer for a value.
struct Value {
  enum class Kind : uint8_t { kFlag, kWords, kFiles, kDirectories, kOther } kind = Kind::kFlag;
  std::string words;  ///< kWords: with blanks between
  std::string name;   ///< as --help has it
};

/// One option or, without `name`, what stands where the command itself takes a value.
struct Argument {
  std::string name, what;
  Value value;
  bool repeats = false;
};

std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* command) { return !command->get_name().empty(); });
}

Value value_of(const CLI::Option& option) {
  std::string type = option.get_type_name();
  if (option.get_items_expected_max() == 0) return {};
  size_t open = type.find('{'), close = type.find('}');
  if (open != std::string::npos && close != std::string::npos) {
    std::string words = type.substr(open + 1, close - open - 1);
    for (char& c : words) c = c == ',' ? ' ' : c;
    return {Value::Kind::kWords, words, "word"};
  }
  static const std::set<std::string> kFiles{"FILE", "FILE|DIR", "PATH", "PORT=PCAP"};
  bool files = kFiles.contains(type);
  return {files           ? Value::Kind::kFiles
          : type == "DIR" ? Value::Kind::kDirectories
                          : Value::Kind::kOther,
          {},
          type};
}

std::vector<Argument> arguments_of(const CLI::App& command) {
  std::vector<Argument> arguments;
  for (const CLI::Option* option : command.get_options()) {
    Value value = value_of(*option);
    bool repeats = option->get_items_expected_max() > 1;
    for (const std::string& name : option->get_lnames())
      arguments.push_back({"--" + name, option->get_description(), value, repeats});
    if (option->get_positional()) arguments.push_back({"", option->get_description(), value, repeats});
  }
  return arguments;
}

std::string option_names(const std::vector<Argument>& arguments) {
  std::string text;
  for (const Argument& argument : arguments)
    if (!argument.name.empty()) text += (text.empty() ? "" : " ") + argument.name;
  return text;
}

/// A shell command that offers what may stand here.
std::string bash_offer(const Value& value) {
  switch (value.kind) {
    case Value::Kind::kWords:
      return "_bulkhead_offer -W '" + value.words + "'";
    case Value::Kind::kFiles:
      return "_bulkhead_offer -f";
    case Value::Kind::kDirectories:
      return "_bulkhead_offer -d";
    case Value::Kind::kFlag:
    case Value::Kind::kOther:
      break;
  }
  return ":";
}

/// The cases of one command, `name` with its group's before it: after an option that takes a value, then
/// anywhere else.
std::string bash_cases(const CLI::App& command, const std::string& name) {
  std::vector<Argument> arguments = arguments_of(command);
  std::string cases, here = "_bulkhead_offer -W '" + option_names(arguments) + "'";
  for (const Argument& argument : arguments) {
    if (argument.name.empty()) {
      here = "if [[ $word == -* ]]; then " + here + "; else " + bash_offer(argument.value) + "; fi";
    } else if (argument.value.kind != Value::Kind::kFlag) {
      cases += "    '" + name + " " + argument.name + "') " + bash_offer(argument.value) + " ;;\n";
    }
  }
  return cases + "    '" + name + " '*) " + here + " ;;\n";
}

std::string command_names(const CLI::App& app) {
  std::string names;
  for (const CLI::App* command : commands_of(app)) names += (names.empty() ? "" : " ") + command->get_name();
  return names;
}

std::string bash_completion(const CLI::App& app) {
  std::string cases, groups;
  for (const CLI::App* command : commands_of(app)) {
    std::string name = command->get_name();
    if (commands_of(*command).empty())
      cases += bash_cases(*command, name);
    else
      groups += "    " + name + ") inner='" + command_names(*command) + "' ;;\n";
    for (const CLI::App* inner : commands_of(*command))
      cases += bash_cases(*inner, name + " " + inner->get_name());
  }
  return "_bulkhead_offer() { mapfile -t COMPREPLY < <(compgen \"$@\" -- \"$word\"); }\n"
         "_bulkhead() {\n"
         "  local word=\"${COMP_WORDS[COMP_CWORD]}\" before=\"${COMP_WORDS[COMP_CWORD-1]}\"\n"
         "  COMPREPLY=()\n"
         "  if (( COMP_CWORD == 1 )); then\n"
         "    _bulkhead_offer -W '" +
         command_names(app) + " " + option_names(arguments_of(app)) +
         "'\n"
         "    return\n"
         "  fi\n"
         "  local command=\"${COMP_WORDS[1]}\" inner=''\n"
         "  case \"$command\" in\n" +
         groups +
         "  esac\n"
         "  if [[ $inner ]]; then\n"
         "    if (( COMP_CWORD == 2 )); then _bulkhead_offer -W \"$inner\"; return; fi\n"
         "    command+=\" ${COMP_WORDS[2]}\"\n"
         "  fi\n"
         "  # bash takes `--option=value` and `port=file` apart at the '='.\n"
         "  local after_equals=''\n"
         "  if [[ $word == = ]]; then\n"
         "    after_equals=1 word=''\n"
         "  elif [[ $before == = ]]; then\n"
         "    after_equals=1 before=\"${COMP_WORDS[COMP_CWORD-2]}\"\n"
         "  fi\n"
         "  if [[ $after_equals && $before != --* ]]; then _bulkhead_offer -f; return; fi\n"
         "  case \"$command $before\" in\n" +
         cases +
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

/// ":NAME:WHAT TO OFFER", as _arguments wants it.
std::string zsh_value(const Value& value) {
  std::string name = ":" + zsh_quoted(value.name) + ":";
  switch (value.kind) {
    case Value::Kind::kFlag:
      return "";
    case Value::Kind::kWords:
      return name + "(" + value.words + ")";
    case Value::Kind::kFiles:
      return name + "_files";
    case Value::Kind::kDirectories:
      return name + "_files -/";
    case Value::Kind::kOther:
      return name + " ";
  }
  return "";
}

std::string zsh_arguments(const CLI::App& command) {
  std::string text;
  for (const Argument& argument : arguments_of(command)) {
    bool positional = argument.name.empty();
    text += " \\\n          '";
    text += argument.repeats ? "*" : positional ? "1" : "";
    if (!positional) text += argument.name + "[" + zsh_quoted(argument.what) + "]";
    text += zsh_value(argument.value) + "'";
  }
  return text;
}

/// The function `name`, which completes a command of `app` and what follows it.
std::string zsh_commands(const CLI::App& app, const std::string& name, const std::string& options) {
  std::string names, cases;
  for (const CLI::App* command : commands_of(app)) {
    names += "        '" + command->get_name() + ":" + zsh_quoted(command->get_description()) + "'\n";
    std::string call = commands_of(*command).empty() ? "_arguments" + zsh_arguments(*command)
                                                     : name + "_" + command->get_name();
    cases += "        " + command->get_name() + ") " + call + " ;;\n";
  }
  return name +
         "() {\n"
         "  local context state line\n"
         "  typeset -A opt_args\n"
         "  _arguments -C " +
         options +
         " '1:command:->command' '*::argument:->rest'\n"
         "  case \"$state\" in\n"
         "    command)\n"
         "      local -a commands\n"
         "      commands=(\n" +
         names +
         "      )\n"
         "      _describe command commands ;;\n"
         "    rest)\n"
         "      case \"$line[1]\" in\n" +
         cases +
         "      esac ;;\n"
         "  esac\n"
         "}\n";
}

std::string zsh_completion(const CLI::App& app) {
  std::string functions;
  for (const CLI::App* command : commands_of(app))
    if (!commands_of(*command).empty())
      functions += zsh_commands(*command, "_bulkhead_" + command->get_name(), "'--help[Print help]'");
  return "#compdef bulkhead\n" + functions +
         zsh_commands(app, "_bulkhead", "'--help[Print help]' '--version[Print the version]'") +
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
