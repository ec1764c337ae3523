// What libbpf has to say, kept for the error message that needs it instead of standard error.
#pragma once

#include <string>

#include "base/error.h"

namespace bulkhead {

/// Keeps what libbpf logs on this thread while it lives; other threads' goes where it went before. Where they
/// nest, the inner one keeps it.
class LibbpfLog {
 public:
  LibbpfLog();
  ~LibbpfLog();
  LibbpfLog(const LibbpfLog&) = delete;
  LibbpfLog& operator=(const LibbpfLog&) = delete;

  /// The error for libbpf's result `-errno`, with what libbpf logged, and with the capabilities needed where
  /// that is what's missing.
  std::unexpected<Error> fail(int negative_errno, const std::string& what) const;

 private:
  std::string text_;
  std::string* outer_;
};

}  // namespace bulkhead
