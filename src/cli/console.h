// How commands speak and end: standard output, standard error, exit codes.
#pragma once

#include <cstddef>
#include <string>

#include "base/error.h"
#include "config/diagnostic.h"

namespace bulkhead {

/// The promise to scripts: docs/cli.md.
enum class ExitCode : int {
  kSuccess = 0,
  kNo = 1,           ///< the answer is no: a failed test, errors found, another verdict than expected
  kUsage = 2,        ///< wrong usage
  kUnreachable = 3,  ///< the gateway can't be reached
};

/// Standard output as a place to print tables: COLUMNS, else the terminal's width, else 120. Colour on a
/// terminal without NO_COLOR.
struct Screen {
  size_t width = 120;
  bool colour = false;
};
Screen standard_output();

/// `text` in a colour, where the screen has them. SGR codes: "1" bold, "31" red, "32" green, "33" yellow, "2"
/// dim.
std::string coloured(const Screen& screen, const char* sgr, const std::string& text);

/// Writes "bulkhead COMMAND: message" to standard error and returns `code`.
ExitCode complain(const std::string& command, const std::string& message, ExitCode code);
/// The same for an Error: kUnavailable is kUnreachable, all else kNo.
ExitCode complain(const std::string& command, const Error& error);

/// Writes to standard output. A full disk or a closed pipe ends the command with kNo and a message.
void print(const std::string& text);
/// Each diagnostic on a line of its own on standard error.
void print_diagnostics(const Diagnostics& diagnostics);

}  // namespace bulkhead
