#include "dataplane/guard/libbpf_log.h"

#include <bpf/libbpf.h>

#include <atomic>
#include <cstdarg>
#include <cstdio>

namespace bulkhead {
namespace {

thread_local std::string* captured = nullptr;
/// Written once, before the callback that reads it is installed.
std::atomic<libbpf_print_fn_t> printed_before = nullptr;

int capture(libbpf_print_level level, const char* format, va_list arguments) {
  if (captured == nullptr) {
    const libbpf_print_fn_t print = printed_before.load(std::memory_order_acquire);
    return print == nullptr ? 0 : print(level, format, arguments);
  }
  if (level == LIBBPF_DEBUG) return 0;
  char line[1024];
  std::vsnprintf(line, sizeof line, format, arguments);
  *captured += line;
  return 0;
}

void install_once() {
  static const bool installed = [] {
    printed_before.store(libbpf_set_print(nullptr), std::memory_order_release);
    libbpf_set_print(capture);
    return true;
  }();
  static_cast<void>(installed);
}

}  // namespace

LibbpfLog::LibbpfLog() : outer_(captured) {
  install_once();
  captured = &text_;
}

LibbpfLog::~LibbpfLog() {
  captured = outer_;
}

std::unexpected<Error> LibbpfLog::fail(int negative_errno, const std::string& what) const {
  std::unexpected<Error> error = fail_errno(-negative_errno, what);
  if (error.error().code == ErrorCode::kPermission)
    error.error().message += " (needs root, or the capabilities CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN)";
  if (!text_.empty())
    error.error().message += "; libbpf says: " + text_.substr(0, text_.find_last_not_of('\n') + 1);
  return error;
}

}  // namespace bulkhead
