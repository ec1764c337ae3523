// What the guard refuses, and what it does without the right to.
#include <linux/capability.h>
#include <sys/syscall.h>

#include "tests/netns/guard/guard_fixture.h"

namespace bulkhead {
namespace {

using namespace test;
using testing::HasSubstr;

TEST_F(GuardTest, AMissingInterface_IsNotFound) {
  for (const auto& open : {Guard::before_af_xdp, Guard::for_af_packet}) {
    const Expected<Guard> guard = open({.interface = "nosuch"});
    ASSERT_FALSE(guard);
    EXPECT_EQ(guard.error().code, ErrorCode::kNotFound);
    EXPECT_THAT(guard.error().message, HasSubstr("'nosuch'"));
  }
}

TEST_F(GuardTest, AnInterfaceThatIsntEthernet_IsInvalid) {
  const Expected<Guard> guard = Guard::for_af_packet({.interface = "lo"});
  ASSERT_FALSE(guard);
  EXPECT_EQ(guard.error().code, ErrorCode::kInvalid);
}

TEST_F(GuardTest, TooManyHostAddresses_IsInvalidAndAttachesNothing) {
  GuardSetting setting{.interface = "ga", .host_addresses = {}};
  for (uint32_t i = 0; i < 257; ++i) setting.host_addresses.push_back(IpAddress::v4(0x0a010000 + i));
  const Expected<Guard> guard = Guard::for_af_packet(setting);
  ASSERT_FALSE(guard);
  EXPECT_EQ(guard.error().code, ErrorCode::kInvalid);
  EXPECT_EQ(output_of("tc filter show dev ga ingress"), "");
  setting.host_addresses.pop_back();
  EXPECT_TRUE(Guard::for_af_packet(setting));
}

TEST_F(GuardTest, TwiceTheSameInterface_IsAnError) {
  const Expected<Guard> first = Guard::for_af_packet({.interface = "ga"});
  ASSERT_TRUE(first);
  const Expected<Guard> second = Guard::for_af_packet({.interface = "ga"});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kExists);
}

TEST_F(GuardTest, RemoveAfterTheInterfaceIsGone_IsNoError) {
  XdpPort port = open_xdp_port();
  run("ip link del ga");
  const Expected<> removed = port.guard.remove();
  EXPECT_TRUE(removed) << removed.error().message;
}

/// Runs `check` in a process that has given up root; it succeeds where `check` is true.
template <class Check>
bool without_privileges(Check check) {
  const pid_t child = fork();
  if (child == 0) _exit(setresuid(65534, 65534, 65534) == 0 && check() ? 0 : 1);
  int status = 1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST_F(GuardTest, WithoutPrivileges_IsPermissionAndNamesTheCapabilities) {
  EXPECT_TRUE(without_privileges([] {
    const Expected<Guard> guard = Guard::for_af_packet({.interface = "ga"});
    return !guard && guard.error().code == ErrorCode::kPermission &&
           guard.error().message.find("CAP_BPF") != std::string::npos;
  }));
}

/// Gives up every capability but one, as the dataplane does once it runs.
bool keep_only(int capability) {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct kept[2]{};
  kept[0].effective = kept[0].permitted = 1u << capability;
  return syscall(SYS_capset, &header, kept) == 0;
}

TEST_F(GuardTest, Remove_NeedsOnlyNetAdmin) {
  XdpPort port = open_xdp_port();
  const pid_t child = fork();
  if (child == 0) _exit(keep_only(CAP_NET_ADMIN) && port.guard.remove() ? 0 : 1);
  int status = 1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(output_of("tc filter show dev ga ingress"), "");
  expect_kernel_forwards();
}

TEST_F(GuardTest, Counts_AreReadWithoutPrivileges) {
  const XdpPort port = open_xdp_port();
  expect_kernel_forwards_nothing();
  EXPECT_TRUE(without_privileges([&port] { return port.guard.counts().dropped == 10; }));
}

}  // namespace
}  // namespace bulkhead
