// Pages found by exactly their tokens: tables, eviction, and random use against a map from tokens
// to pages.
#include "runtime/prefix_index.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "tests/support/random.hpp"

namespace stepless::test {
namespace {

using Ids = std::vector<std::int32_t>;

bool all_idle(std::int32_t) { return true; }
bool none_idle(std::int32_t) { return false; }

/// Pages of three tokens: 111 222 333 on pages 1 2 3, 111 222 444 on 1 2 4, 555 on 5.
PrefixIndex example() {
  PrefixIndex index(3);
  EXPECT_EQ(index.insert(Ids{1, 1, 1, 2, 2, 2, 3, 3, 3}, Ids{1, 2, 3}), (Ids{1, 2, 3}));
  EXPECT_EQ(index.insert(Ids{1, 1, 1, 2, 2, 2, 4, 4, 4}, Ids{1, 2, 4}), (Ids{4}));
  EXPECT_EQ(index.insert(Ids{5, 5, 5}, Ids{5}), (Ids{5}));
  return index;
}

TEST(PrefixIndex, FindsTheLongestRunOfWholePages) {
  const PrefixIndex index = example();
  struct Case {
    Ids tokens, pages;
  };
  const Case cases[] = {{{}, {}},
                        {{1, 1}, {}},
                        {{1, 1, 1}, {1}},
                        {{1, 1, 2}, {}},
                        {{2, 1, 1}, {}},
                        {{1, 2, 1}, {}},
                        {{2, 2, 2}, {}},  // known, but not at the beginning
                        {{1, 1, 1, 2, 2}, {1}},
                        {{1, 1, 1, 2, 2, 2}, {1, 2}},
                        {{1, 1, 1, 2, 2, 9, 3, 3, 3}, {1}},
                        {{1, 1, 1, 3, 3, 3}, {1}},  // its page is there, behind other tokens
                        {{1, 1, 1, 2, 2, 2, 3, 3, 3}, {1, 2, 3}},
                        {{1, 1, 1, 2, 2, 2, 4, 4, 4, 9, 9, 9}, {1, 2, 4}},
                        {{5, 5, 5, 2, 2, 2}, {5}}};
  for (const Case& c : cases) EXPECT_EQ(index.find(c.tokens), c.pages);
}

TEST(PrefixIndex, InsertTakesOnlyWhatIsNew) {
  PrefixIndex index = example();
  EXPECT_TRUE(index.insert(Ids{1, 1, 1, 2, 2, 2}, Ids{8, 9}).empty()) << "the known pages stay";
  EXPECT_EQ(index.find(Ids{1, 1, 1, 2, 2, 2}), (Ids{1, 2}));
  EXPECT_TRUE(index.insert(Ids{7, 7}, Ids{8}).empty()) << "not a whole page";
  EXPECT_EQ(index.insert(Ids{1, 1, 1, 7, 7, 7}, Ids{8, 9}), (Ids{9}));
  EXPECT_EQ(index.find(Ids{1, 1, 1, 7, 7, 7}), (Ids{1, 9}));
  EXPECT_EQ(index.size(), 6);
}

TEST(PrefixIndex, InsertEndsAtAPageThatWasGivenBack) {
  PrefixIndex index(2);
  EXPECT_TRUE(index.insert(Ids{1, 1, 2, 2}, Ids{0, 3}).empty());
  EXPECT_EQ(index.insert(Ids{1, 1}, Ids{4}), (Ids{4}));
  EXPECT_EQ(index.insert(Ids{1, 1, 2, 2, 3, 3}, Ids{0, 5, 0}), (Ids{5})) << "known is enough";
  EXPECT_EQ(index.find(Ids{1, 1, 2, 2, 3, 3}), (Ids{4, 5}));
}

TEST(PrefixIndex, EvictionTakesTheEndsOfRunsUsedLongestAgo) {
  PrefixIndex index = example();
  index.touch(Ids{1, 1, 1, 2, 2, 2, 3, 3, 3});
  EXPECT_EQ(index.evictable(all_idle), 5);
  EXPECT_EQ(index.evict(1, all_idle), (Ids{4}));
  EXPECT_EQ(index.evict(2, all_idle), (Ids{5, 3})) << "1 and 2 come after what follows them";
  EXPECT_EQ(index.find(Ids{1, 1, 1, 2, 2, 2, 3, 3, 3}), (Ids{1, 2}));
  EXPECT_TRUE(index.find(Ids{5, 5, 5}).empty());
  EXPECT_EQ(index.evict(9, all_idle), (Ids{2, 1}));
  EXPECT_EQ(index.size(), 0);
  EXPECT_TRUE(index.evict(9, all_idle).empty());
}

TEST(PrefixIndex, PagesInUseAndThoseBeforeThemStay) {
  PrefixIndex index = example();
  EXPECT_EQ(index.evictable(none_idle), 0);
  EXPECT_TRUE(index.evict(9, none_idle).empty());
  const auto three_is_used = [](std::int32_t page) { return page != 3; };
  EXPECT_EQ(index.evictable(three_is_used), 2);
  EXPECT_EQ(index.idle_pages(three_is_used), 4);
  EXPECT_EQ(index.evict(9, three_is_used), (Ids{4, 5}));
  EXPECT_EQ(index.find(Ids{1, 1, 1, 2, 2, 2, 3, 3, 3}), (Ids{1, 2, 3}));
  EXPECT_TRUE(index.evict(0, all_idle).empty());
  EXPECT_TRUE(index.evict(-1, all_idle).empty());
}

/// Tokens from a small alphabet, so that runs share beginnings and the same page stands behind
/// different ones.
TEST(PrefixIndex, RandomUseAgreesWithAMapOfTokens) {
  Random random(5);
  PrefixIndex index(2);
  std::map<Ids, std::int32_t> known;  // by the tokens up to a page's end
  std::set<std::int32_t> used;
  std::int32_t next = 1;
  const auto idle = [&](std::int32_t page) { return !used.contains(page); };
  for (int i = 0; i < 4000; ++i) {
    Ids tokens(static_cast<std::size_t>(random.below(11)));
    for (std::int32_t& token : tokens) token = static_cast<std::int32_t>(random.below(2));
    const std::size_t whole = tokens.size() / 2;
    Ids want;
    for (std::size_t p = 1; p <= whole; ++p) {
      const auto at = known.find(Ids(tokens.begin(), tokens.begin() + static_cast<int>(2 * p)));
      if (at == known.end()) break;
      want.push_back(at->second);
    }
    ASSERT_EQ(index.find(tokens), want);
    if (random.below(4) != 0) {
      Ids pages(whole);
      for (std::int32_t& page : pages) page = next++;
      Ids new_pages(pages.begin() + static_cast<int>(want.size()), pages.end());
      ASSERT_EQ(index.insert(tokens, pages), new_pages);
      for (std::size_t p = want.size() + 1; p <= whole; ++p) {
        known[Ids(tokens.begin(), tokens.begin() + static_cast<int>(2 * p))] = pages[p - 1];
        if (random.below(8) == 0) used.insert(pages[p - 1]);
      }
      continue;
    }
    if (random.below(20) == 0) used.clear();
    const std::int64_t could = index.evictable(idle), count = random.below(6);
    const Ids gone = index.evict(count, idle);
    ASSERT_EQ(static_cast<std::int64_t>(gone.size()), std::min(count, could));
    for (const std::int32_t page : gone) {
      ASSERT_TRUE(idle(page));
      const auto at = std::ranges::find_if(known, [&](const auto& k) { return k.second == page; });
      ASSERT_NE(at, known.end());
      // Nothing known may stand behind a forgotten page.
      const Ids path = at->first;
      known.erase(at);
      const auto behind = known.lower_bound(path);
      ASSERT_FALSE(behind != known.end() && behind->first.size() > path.size() &&
                   std::equal(path.begin(), path.end(), behind->first.begin()));
    }
    ASSERT_EQ(index.size(), static_cast<std::int64_t>(known.size()));
  }
}

}  // namespace
}  // namespace stepless::test
