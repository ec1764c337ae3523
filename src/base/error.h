// Errors off the hot path: a code that programs test, a message that people read.
#pragma once

#include <expected>
#include <string>
#include <utility>

namespace bulkhead {

/// What kind of failure it is; decides exit codes and whether to try again.
enum class ErrorCode {
  kInvalid,      ///< the input is wrong
  kNotFound,     ///< something named doesn't exist
  kExists,       ///< somebody else already has it
  kPermission,   ///< not allowed to
  kUnavailable,  ///< the other side can't be reached now
  kExhausted,    ///< memory, disk, hugepages or a limit
  kSystem,       ///< the operating system said no
};

/// Whether the machine may be what failed, short of something for now: the same may succeed later.
constexpr bool is_shortage(ErrorCode code) {
  return code == ErrorCode::kExhausted || code == ErrorCode::kSystem;
}

/// A failure: what is wrong, where, and what to do about it, in one message for a person.
struct Error {
  ErrorCode code;
  std::string message;
};

template <class T = void>
using Expected = std::expected<T, Error>;

/// An error value for `return`.
inline std::unexpected<Error> fail(ErrorCode code, std::string message) {
  return std::unexpected(Error{code, std::move(message)});
}

/// The same error, told where it happened: "context: message".
inline std::unexpected<Error> with_context(Error error, const std::string& context) {
  error.message = context + ": " + error.message;
  return std::unexpected(std::move(error));
}

/// "what: strerror(errno)" as an error; maps EACCES, EPERM, ENOENT, ENODEV, ENOTDIR, EEXIST, EADDRINUSE,
/// ENOMEM, ENOSPC, EDQUOT, ELOOP, ENAMETOOLONG and ENXIO to their codes.
std::unexpected<Error> fail_errno(int error_number, const std::string& what);

}  // namespace bulkhead
