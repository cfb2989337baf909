// Page ids at their boundaries: none twice, page 0 never, all or nothing.
#include "runtime/kv_pool.hpp"

#include <gtest/gtest.h>

#include <set>

#include "tests/support/random.hpp"

namespace stepless::test {
namespace {

TEST(KvPool, PageZeroIsNobodys) {
  for (const std::int64_t pages : {0, 1}) {
    KvPool pool(pages);
    EXPECT_EQ(pool.size(), 0);
    EXPECT_EQ(pool.free_pages(), 0);
    EXPECT_TRUE(pool.allocate(1).empty());
  }
  KvPool two(2);
  EXPECT_EQ(two.size(), 1);
  EXPECT_EQ(two.allocate(1), std::vector<std::int32_t>{1});
}

TEST(KvPool, GivesAllOrNothing) {
  KvPool pool(5);
  EXPECT_TRUE(pool.allocate(5).empty());
  EXPECT_EQ(pool.free_pages(), 4);
  EXPECT_TRUE(pool.allocate(0).empty());
  EXPECT_EQ(pool.free_pages(), 4);
  const std::vector<std::int32_t> all = pool.allocate(4);
  EXPECT_EQ(std::set<std::int32_t>(all.begin(), all.end()), (std::set<std::int32_t>{1, 2, 3, 4}));
  EXPECT_EQ(pool.free_pages(), 0);
  EXPECT_TRUE(pool.allocate(1).empty());
  pool.release(all);
  EXPECT_EQ(pool.free_pages(), 4);
  EXPECT_EQ(pool.allocate(4).size(), 4u);
}

TEST(KvPool, RandomUseNeverGivesAPageTwice) {
  Random random(1);
  KvPool pool(33);
  std::vector<std::vector<std::int32_t>> held;
  std::set<std::int32_t> taken;
  for (int i = 0; i < 5000; ++i) {
    if (random.below(2) == 0 && !held.empty()) {
      const auto which = held.begin() + random.below(static_cast<std::int64_t>(held.size()));
      for (const std::int32_t page : *which) taken.erase(page);
      pool.release(*which);
      held.erase(which);
    } else {
      const std::int64_t count = random.below(9), free = pool.free_pages();
      const std::vector<std::int32_t> pages = pool.allocate(count);
      ASSERT_EQ(static_cast<std::int64_t>(pages.size()), count <= free ? count : 0);
      for (const std::int32_t page : pages) {
        ASSERT_TRUE(page >= 1 && page <= 32) << page;
        ASSERT_TRUE(taken.insert(page).second) << page << " given twice";
      }
      held.push_back(pages);
    }
    ASSERT_EQ(pool.free_pages() + static_cast<std::int64_t>(taken.size()), pool.size());
  }
}

}  // namespace
}  // namespace stepless::test
