#include "base/error.h"

#include <cerrno>
#include <cstring>

namespace bulkhead {

static ErrorCode code_of(int error_number) {
  switch (error_number) {
    case EACCES:
    case EPERM:
      return ErrorCode::kPermission;
    case ENOENT:
    case ENODEV:
    case ENOTDIR:
      return ErrorCode::kNotFound;
    case ELOOP:
    case ENAMETOOLONG:
    case ENXIO:
      return ErrorCode::kInvalid;
    case EEXIST:
    case EADDRINUSE:
      return ErrorCode::kExists;
    case ENOMEM:
    case ENOSPC:
    case EDQUOT:
      return ErrorCode::kExhausted;
    default:
      return ErrorCode::kSystem;
  }
}

std::unexpected<Error> fail_errno(int error_number, const std::string& what) {
  char buffer[128];
  return fail(code_of(error_number), what + ": " + strerror_r(error_number, buffer, sizeof buffer));
}

}  // namespace bulkhead
