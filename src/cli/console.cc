#include "cli/console.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cli/text.h"

namespace bulkhead {

static size_t screen_width() {
  if (const char* text = std::getenv("COLUMNS")) {
    size_t columns = 0;
    auto [end, error] = std::from_chars(text, text + std::strlen(text), columns);
    if (error == std::errc{} && *end == '\0' && columns > 0) return columns;
  }
  winsize size{};
  if (isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    return size.ws_col;
  return 120;
}

Screen standard_output() {
  const char* no_color = std::getenv("NO_COLOR");
  return {screen_width(), isatty(STDOUT_FILENO) != 0 && (no_color == nullptr || *no_color == '\0')};
}

std::string coloured(const Screen& screen, const char* sgr, const std::string& text) {
  return screen.colour ? std::string("\033[") + sgr + "m" + text + "\033[0m" : text;
}

/// Messages hold line breaks of ours only between lines, so each line is made printable by itself.
static std::string printable_lines(std::string_view text) {
  std::string out;
  while (true) {
    size_t end = text.find('\n');
    out += printable(text.substr(0, end));
    if (end == std::string_view::npos) return out;
    out += '\n';
    text.remove_prefix(end + 1);
  }
}

ExitCode complain(const std::string& command, const std::string& message, ExitCode code) {
  std::string line =
      (command.empty() ? "bulkhead: " : "bulkhead " + command + ": ") + printable_lines(message) + "\n";
  std::fputs(line.c_str(), stderr);
  return code;
}

ExitCode complain(const std::string& command, const Error& error) {
  return complain(command, error.message,
                  error.code == ErrorCode::kUnavailable ? ExitCode::kUnreachable : ExitCode::kNo);
}

void print(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) return;
  complain("", std::string("writing to standard output: ") + std::strerror(errno), ExitCode::kNo);
  std::_Exit(static_cast<int>(ExitCode::kNo));
}

void print_diagnostics(const Diagnostics& diagnostics) {
  for (const Diagnostic& d : diagnostics) std::fprintf(stderr, "%s\n", to_string(d).c_str());
}

}  // namespace bulkhead
