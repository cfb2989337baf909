// Page ids at their boundaries: none twice, page 0 never, all or nothing; a page is free when its
// last holder leaves, not before.
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

TEST(KvPool, TheLastHolderFreesAPage) {
  KvPool pool(4);
  const std::vector<std::int32_t> pages = pool.allocate(3);
  for (const std::int32_t page : pages) EXPECT_EQ(pool.holders(page), 1);
  pool.retain({pages.data(), 2});
  pool.retain({pages.data(), 1});
  EXPECT_EQ(pool.holders(pages[0]), 3);
  pool.release(pages);
  EXPECT_EQ(pool.free_pages(), 1);
  EXPECT_EQ(pool.holders(pages[2]), 0);
  EXPECT_EQ(pool.allocate(1), std::vector<std::int32_t>{pages[2]}) << "the others are held";
  pool.release({pages.data(), 2});
  EXPECT_EQ(pool.free_pages(), 1);
  EXPECT_EQ(pool.holders(pages[0]), 1);
  pool.release({pages.data(), 1});
  EXPECT_EQ(pool.free_pages(), 2);
  EXPECT_EQ(pool.holders(pages[0]), 0);
}

TEST(KvPool, PageZeroInAListIsPassedOver) {
  KvPool pool(4);
  std::vector<std::int32_t> pages = pool.allocate(3);
  pool.release({pages.data(), 1});
  pages[0] = 0;  // given back early
  pool.retain(pages);
  pool.release(pages);
  EXPECT_EQ(pool.free_pages(), 1);
  pool.release(pages);
  EXPECT_EQ(pool.free_pages(), 3);
  EXPECT_EQ(pool.holders(0), 0);
}

TEST(KvPool, RandomHoldersAgreeWithACount) {
  Random random(2);
  KvPool pool(17);
  std::vector<std::vector<std::int32_t>> held;
  std::vector<std::int32_t> count(17);
  for (int i = 0; i < 5000; ++i) {
    const std::int64_t what = random.below(3);
    if (what == 0 || held.empty()) {
      held.push_back(pool.allocate(random.below(5)));
      for (const std::int32_t page : held.back()) {
        ASSERT_EQ(count[static_cast<std::size_t>(page)], 0) << page << " was still held";
        count[static_cast<std::size_t>(page)] = 1;
      }
    } else {
      const auto which = held.begin() + random.below(static_cast<std::int64_t>(held.size()));
      const std::vector<std::int32_t> pages = *which;
      for (const std::int32_t page : pages)
        count[static_cast<std::size_t>(page)] += what == 1 ? 1 : -1;
      if (what == 1) {
        pool.retain(pages);
        held.push_back(pages);
      } else {
        pool.release(pages);
        held.erase(which);
      }
    }
    std::int64_t free = 0;
    for (std::int32_t page = 1; page < 17; ++page) {
      ASSERT_EQ(pool.holders(page), count[static_cast<std::size_t>(page)]);
      free += pool.holders(page) == 0;
    }
    ASSERT_EQ(pool.free_pages(), free);
  }
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
