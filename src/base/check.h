// Assertions, in two tiers. Neither is for input: untrusted input gets an Error or a drop reason.
#pragma once

#include <cstdio>
#include <cstdlib>

/// A broken invariant: says where and aborts, in every build.
#define BULKHEAD_CHECK(condition)                                                            \
  do {                                                                                       \
    if (!(condition)) [[unlikely]] {                                                         \
      std::fprintf(stderr, "%s:%d: broken invariant: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                          \
    }                                                                                        \
  } while (false)

/// The same in debug and sanitizer builds only: for the hot path.
#ifdef NDEBUG
#define BULKHEAD_DCHECK(condition) static_cast<void>(sizeof(!(condition)))
#else
#define BULKHEAD_DCHECK(condition) BULKHEAD_CHECK(condition)
#endif
