#include "dataplane/fetcher/mailbox.h"

#include <poll.h>

#include <gtest/gtest.h>

namespace bulkhead {
namespace {

bool has_notice(const Mailbox& mailbox) {
  pollfd watched{mailbox.fd(), POLLIN, 0};
  return poll(&watched, 1, 0) == 1;
}

TEST(Mailbox, AtFirst_HasNothing) {
  auto mailbox = Mailbox::create().value();
  EXPECT_FALSE(has_notice(*mailbox));
  EXPECT_EQ(mailbox->latest().number, 0u);
}

TEST(Mailbox, KeepsTheLatestAlone) {
  auto mailbox = Mailbox::create().value();
  auto first = std::make_shared<const std::string>("first");
  mailbox->put(first);
  mailbox->put(std::make_shared<const std::string>("second"));
  EXPECT_EQ(first.use_count(), 1);
  EXPECT_TRUE(has_notice(*mailbox));
  mailbox->take_notice();
  EXPECT_FALSE(has_notice(*mailbox));
  EXPECT_EQ(mailbox->latest().number, 2u);
  EXPECT_EQ(*mailbox->latest().response, "second");
}

TEST(Mailbox, WithdrawalIsNewsToo) {
  auto mailbox = Mailbox::create().value();
  mailbox->put(nullptr);
  EXPECT_TRUE(has_notice(*mailbox));
  EXPECT_EQ(mailbox->latest().number, 1u);
  EXPECT_EQ(mailbox->latest().response, nullptr);
}

TEST(Mailbox, WithdrawalSaidAgain_IsNoNewsUntilSomethingElseWasSaid) {
  auto mailbox = Mailbox::create().value();
  mailbox->put(nullptr);
  mailbox->take_notice();
  mailbox->put(nullptr);
  EXPECT_FALSE(has_notice(*mailbox));
  EXPECT_EQ(mailbox->latest().number, 1u);
  mailbox->put(std::make_shared<const std::string>("granted"));
  mailbox->put(nullptr);
  EXPECT_EQ(mailbox->latest().number, 3u);
}

}  // namespace
}  // namespace bulkhead
