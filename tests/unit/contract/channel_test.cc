#include "contract/channel.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <cstring>
#include <memory>

#include <gtest/gtest.h>

#include "contract/messages.h"

namespace bulkhead {
namespace {

struct Directory {
  Directory() { EXPECT_NE(mkdtemp(name), nullptr); }
  ~Directory() {
    unlink(socket().c_str());
    rmdir(name);
  }
  std::string socket() const { return std::string(name) + "/s"; }
  char name[32] = "/tmp/bulkhead-channel-XXXXXX";
};

struct Pair {
  Pair() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    a = std::make_unique<Channel>(Fd(ends[0]));
    b = std::make_unique<Channel>(Fd(ends[1]));
  }
  std::unique_ptr<Channel> a, b;
};

size_t open_descriptors() {
  size_t count = 0;
  DIR* directory = opendir("/proc/self/fd");
  while (readdir(directory)) ++count;
  closedir(directory);
  return count;
}

std::span<const std::byte> bytes(const char* text) {
  return std::as_bytes(std::span(text, std::strlen(text)));
}

TEST(ChannelTest, MessageArrivesWholeWithItsDescriptors) {
  Pair p;
  auto memfd = make_sealed("test", bytes("content"));
  int fds[] = {memfd->get(), STDIN_FILENO};
  ASSERT_TRUE(p.a->send(bytes("hello"), fds));
  auto packet = p.b->receive(0);
  ASSERT_TRUE(packet);
  EXPECT_EQ(packet->bytes.size(), 5u);
  ASSERT_EQ(packet->fds.size(), 2u);
  std::byte copy[7];
  EXPECT_TRUE(copy_sealed(packet->fds[0], copy));
  EXPECT_TRUE(fcntl(packet->fds[0].get(), F_GETFD) & FD_CLOEXEC);
}

TEST(ChannelTest, NothingComesInTime_IsAnEmptyPacket) {
  Pair p;
  for (int timeout_ms : {0, 5}) {
    auto packet = p.b->receive(timeout_ms);
    ASSERT_TRUE(packet);
    EXPECT_TRUE(packet->bytes.empty());
  }
}

TEST(ChannelTest, ClosedPeer_IsUnavailable) {
  Pair p;
  p.a.reset();
  auto packet = p.b->receive(100);
  ASSERT_FALSE(packet);
  EXPECT_EQ(packet.error().code, ErrorCode::kUnavailable);
  auto sent = p.b->send(bytes("x"));
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, ErrorCode::kUnavailable);
}

TEST(ChannelTest, WhatAPeerSaidBeforeItClosedIsStillRead) {
  Pair p;
  ASSERT_TRUE(p.b->send(bytes("unread")));
  ASSERT_TRUE(p.a->send(bytes("last words")));
  p.a.reset();
  auto packet = p.b->receive(100);
  ASSERT_TRUE(packet) << packet.error().message;
  EXPECT_EQ(packet->bytes.size(), 10u);
}

TEST(ChannelTest, TooLongMessage_IsInvalidAndItsDescriptorsAreClosed) {
  Pair p;
  std::vector<char> big(kMaxMessageBytes + 1, 'x');
  int fds[] = {STDIN_FILENO, STDIN_FILENO};
  iovec part{big.data(), big.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fds)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof fds);
  std::memcpy(CMSG_DATA(rights), fds, sizeof fds);
  ASSERT_EQ(sendmsg(p.a->fd(), &message, 0), static_cast<ssize_t>(big.size()));
  size_t before = open_descriptors();
  auto packet = p.b->receive(0);
  ASSERT_FALSE(packet);
  EXPECT_EQ(packet.error().message, "a message that is too long");
  EXPECT_EQ(open_descriptors(), before);
}

TEST(ChannelTest, MoreDescriptorsThanCanBeOpened_IsInvalidAndAllAreClosed) {
  Pair p;
  int fds[20];
  std::fill(std::begin(fds), std::end(fds), STDIN_FILENO);
  ASSERT_TRUE(p.a->send(bytes("x"), fds));
  size_t before = open_descriptors();
  rlimit old{};
  getrlimit(RLIMIT_NOFILE, &old);
  int highest = dup(STDIN_FILENO);
  close(highest);
  rlimit low{static_cast<rlim_t>(highest) + 5, old.rlim_max};
  setrlimit(RLIMIT_NOFILE, &low);
  auto packet = p.b->receive(0);
  setrlimit(RLIMIT_NOFILE, &old);
  ASSERT_FALSE(packet);
  EXPECT_EQ(packet.error().message, "a message with more descriptors than can be taken");
  EXPECT_EQ(open_descriptors(), before);
}

TEST(ChannelTest, EmptyMessageEndsTheConnection) {
  Pair p;
  ASSERT_EQ(send(p.a->fd(), "", 0, 0), 0);
  auto packet = p.b->receive(0);
  ASSERT_FALSE(packet);
  EXPECT_EQ(packet.error().code, ErrorCode::kUnavailable);
}

TEST(ChannelTest, PeerThatDoesNotRead_IsUnavailableAfterTheTimeout) {
  Pair p;
  Expected<void> sent;
  std::vector<std::byte> message(kMaxMessageBytes);
  for (int i = 0; i < 10'000 && sent; ++i) sent = p.a->send(message, {}, 10);
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, ErrorCode::kUnavailable);
}

TEST(ChannelTest, PeerCredentialsAreOurs) {
  Pair p;
  auto peer = p.a->peer();
  ASSERT_TRUE(peer);
  EXPECT_EQ(peer->pid, getpid());
  EXPECT_EQ(peer->uid, geteuid());
}

TEST(Listen, OnlyTheOwnerMayConnect) {
  Directory d;
  auto listener = listen_at(d.socket());
  ASSERT_TRUE(listener) << listener.error().message;
  struct stat status;
  ASSERT_EQ(stat(d.socket().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST(Listen, LiveSocketIsNotTakenOver) {
  Directory d;
  auto listener = listen_at(d.socket());
  ASSERT_TRUE(listener);
  auto second = listen_at(d.socket());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kExists);
  auto probe = accept_from(*listener);  // the look of the second one
  EXPECT_TRUE(probe && *probe);
  EXPECT_TRUE(connect_to(d.socket()));
}

TEST(Listen, SocketFileOfADeadOneIsReplaced) {
  Directory d;
  {
    auto listener = listen_at(d.socket());
    ASSERT_TRUE(listener);
  }
  ASSERT_EQ(access(d.socket().c_str(), F_OK), 0);
  auto listener = listen_at(d.socket());
  ASSERT_TRUE(listener) << listener.error().message;
  EXPECT_TRUE(connect_to(d.socket()));
}

TEST(Listen, FileThatIsNoSocketIsLeftAlone) {
  Directory d;
  close(open(d.socket().c_str(), O_CREAT | O_WRONLY, 0600));
  auto listener = listen_at(d.socket());
  ASSERT_FALSE(listener);
  EXPECT_EQ(listener.error().message, d.socket() + ": is not a socket; remove it, or configure another path");
  EXPECT_EQ(access(d.socket().c_str(), F_OK), 0);
}

TEST(Listen, PathThatIsTooLongIsInvalid) {
  auto listener = listen_at("/tmp/" + std::string(200, 'x'));
  ASSERT_FALSE(listener);
  EXPECT_EQ(listener.error().code, ErrorCode::kInvalid);
}

TEST(Connect, NobodyThere_IsUnavailable) {
  Directory d;
  auto none = connect_to(d.socket());
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::kUnavailable);
  {
    auto listener = listen_at(d.socket());
  }
  auto dead = connect_to(d.socket());
  ASSERT_FALSE(dead);
  EXPECT_EQ(dead.error().code, ErrorCode::kUnavailable);
}

TEST(Accept, NobodyWaits_IsNoDescriptor) {
  Directory d;
  auto listener = listen_at(d.socket());
  ASSERT_TRUE(listener);
  auto none = accept_from(*listener);
  ASSERT_TRUE(none);
  EXPECT_FALSE(*none);
}

}  // namespace
}  // namespace bulkhead
