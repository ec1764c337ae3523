// The system calls that a process which holds private keys may still make.
#pragma once

#include <seccomp.h>

#include <initializer_list>
#include <memory>

#include "base/error.h"

namespace bulkhead {

/// The argument of that number is `value`.
inline scmp_arg_cmp is(unsigned argument, scmp_datum_t value) {
  return {argument, SCMP_CMP_EQ, value, 0};
}
/// Of its bits that `mask` has, exactly those of `value` are set.
inline scmp_arg_cmp has(unsigned argument, scmp_datum_t mask, scmp_datum_t value) {
  return {argument, SCMP_CMP_MASKED_EQ, mask, value};
}

/// A list of what is allowed; all else fails with EPERM. Thread: the one that makes it.
class SystemCallFilter {
 public:
  /// Begins with what every such process needs: sockets that are open, events and time, memory of its heap,
  /// threads, its own signals and limits, its end. Nothing of it opens, connects, starts or reaches anything.
  SystemCallFilter();

  void allow(int call);
  /// Only where all of these hold.
  void allow(int call, std::initializer_list<scmp_arg_cmp> when);

  /// Puts it in force, for this thread and those that it starts from now on. Errors: the first of all calls.
  Expected<> load();

 private:
  std::unique_ptr<void, decltype(&seccomp_release)> filter_;
  int failed_ = 0;  ///< an error number below 0
};

}  // namespace bulkhead
