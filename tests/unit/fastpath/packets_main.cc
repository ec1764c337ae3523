// The flow table lives in DPDK's memory: started once, without root, hugepages or devices.
#include <cstdio>

#include <gtest/gtest.h>

#include "dataplane/fastpath/replay.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (auto started = bulkhead::start_replay_memory(128); !started) {
    std::fprintf(stderr, "%s\n", started.error().message.c_str());
    return 1;
  }
  return RUN_ALL_TESTS();
}
