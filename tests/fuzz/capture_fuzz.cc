// Hostile captures: replay reads or refuses each within bounds, and accounts for every packet that it read.
#include <cstdio>

#include "tests/unit/cli/capture_replay.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace bulkhead::test;
  static CaptureReplay wire(false), route(true);
  if (size == 0) return 0;
  CaptureReplay& replay = (bytes[0] & 1) != 0 ? route : wire;
  Replayed end = replay.run({reinterpret_cast<const char*>(bytes + 1), size - 1});
  if (!end.broken.empty()) std::fprintf(stderr, "%s\n", end.broken.c_str());
  BULKHEAD_CHECK(end.broken.empty());
  BULKHEAD_CHECK(end.verdicts == end.packets);
  return 0;
}
