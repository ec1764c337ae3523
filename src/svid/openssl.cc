#include "svid/openssl.h"

#include <ctime>
#include <new>

#include <openssl/err.h>

namespace bulkhead {

X509Ptr share(X509* certificate) {
  if (certificate != nullptr) X509_up_ref(certificate);
  return X509Ptr(certificate);
}

X509Stack stack_of(const X509Ptr* begin, const X509Ptr* end) {
  X509Stack stack(sk_X509_new_null());
  if (!stack) throw std::bad_alloc();
  for (; begin != end; ++begin)
    if (X509_add_cert(stack.get(), begin->get(), X509_ADD_FLAG_UP_REF) != 1) throw std::bad_alloc();
  return stack;
}

std::unexpected<Error> fail_openssl(ErrorCode code, const std::string& what) {
  std::string message = what;
  const char* separator = ": ";
  while (unsigned long error = ERR_get_error()) {
    if (ERR_GET_REASON(error) == ERR_R_MALLOC_FAILURE) code = ErrorCode::kExhausted;
    const char* reason = ERR_reason_error_string(error);
    message += separator + std::string(reason != nullptr ? reason : "error " + std::to_string(error));
    separator = ", ";
  }
  return fail(code, std::move(message));
}

ErrorMark::ErrorMark() {
  ERR_set_mark();
}

ErrorMark::~ErrorMark() {
  ERR_pop_to_mark();
}

time_t to_time_t(WallTime time, int64_t by_seconds) {
  return static_cast<time_t>(time.ns / 1'000'000'000 + by_seconds);
}

std::optional<WallTime> wall_time_of(const ASN1_TIME* time) {
  std::tm parts{};
  if (time == nullptr || ASN1_TIME_to_tm(time, &parts) != 1) return std::nullopt;
  int64_t seconds = timegm(&parts), ns = 0;
  if (__builtin_mul_overflow(seconds, int64_t{1'000'000'000}, &ns))
    return WallTime{seconds < 0 ? INT64_MIN : INT64_MAX};
  return WallTime{ns};
}

}  // namespace bulkhead
