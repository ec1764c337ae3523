#include "dataplane/relay/intrusive_list.h"

#include <memory>
#include <vector>

#include <gtest/gtest.h>

namespace bulkhead {
namespace {

struct Item {
  explicit Item(int n) : number(n) {}
  int number;
  OwnedHook<Item> hook{this};
};

std::vector<int> numbers(const IntrusiveList<Item>& list) {
  std::vector<int> out;
  for (Item* item = list.empty() ? nullptr : list.front(); item; item = list.next(item->hook))
    out.push_back(item->number);
  return out;
}

TEST(IntrusiveList, KeepsTheOrder_AndForgetsWhatGoes) {
  IntrusiveList<Item> list;
  EXPECT_TRUE(list.empty());
  Item one(1), three(3);
  auto two = std::make_unique<Item>(2);
  for (Item* item : {&one, two.get(), &three}) list.push_back(item->hook);
  EXPECT_EQ(numbers(list), (std::vector{1, 2, 3}));
  two.reset();
  EXPECT_EQ(numbers(list), (std::vector{1, 3}));
  list.push_back(one.hook);
  EXPECT_EQ(numbers(list), (std::vector{3, 1}));
  one.hook.unlink();
  three.hook.unlink();
  EXPECT_TRUE(list.empty());
  EXPECT_FALSE(one.hook.linked());
}
TEST(IntrusiveList, AnElementIsInOneListAtATime) {
  IntrusiveList<Item> a, b;
  Item item(1);
  a.push_back(item.hook);
  b.push_back(item.hook);
  EXPECT_TRUE(a.empty());
  EXPECT_EQ(numbers(b), (std::vector{1}));
}

}  // namespace
}  // namespace bulkhead
