#include "dataplane/fetcher/destinations.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "contract/channel.h"
#include "tests/unit/engine/temporary_directory.h"

namespace bulkhead {
namespace {

TEST(Destinations, LieLowAndCantBeWritten) {
  const Destinations& to = *fix_destinations("/run/agent", "/run/relay").value();
  EXPECT_STREQ(to.agent.sun_path, "/run/agent");
  EXPECT_STREQ(to.relay.sun_path, "/run/relay");
  EXPECT_LE(reinterpret_cast<uintptr_t>(&to), uintptr_t{1} << 24);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Fd reading(ends[0]), writing(ends[1]);
  ASSERT_EQ(write(writing.get(), "x", 1), 1);
  EXPECT_EQ(read(reading.get(), const_cast<char*>(to.relay.sun_path), 1), -1);
  EXPECT_EQ(errno, EFAULT);
}

TEST(Destinations, APathThatNoSocketCanHave_IsAnError) {
  std::string longest = "/" + std::string(106, 'x');
  EXPECT_TRUE(fix_destinations(longest, "/relay"));
  for (const std::string& wrong : {longest + "x", std::string()}) {
    auto fixed = fix_destinations("/agent", wrong);
    ASSERT_FALSE(fixed);
    EXPECT_EQ(fixed.error().message, wrong + ": a socket's path has 1 to 107 bytes");
  }
}

TEST(Destinations, AreConnectedTo) {
  test::TemporaryDirectory directory;
  std::string relay = directory.path("relay");
  const Destinations& to = *fix_destinations(directory.path("agent"), relay).value();
  auto away = connect_to(to.relay, SOCK_SEQPACKET);
  ASSERT_FALSE(away);
  EXPECT_NE(away.error().message.find(relay), std::string::npos);
  Fd listener = listen_at(relay).value();
  EXPECT_TRUE(connect_to(to.relay, SOCK_SEQPACKET));
  EXPECT_FALSE(connect_to(to.relay, SOCK_STREAM));
}

}  // namespace
}  // namespace bulkhead
