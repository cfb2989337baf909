// Which form of a page a row reads, against the words of the option; what a sequence holds at most,
// against lives cut into steps in every way.
#include "runtime/kv_layout.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "runtime/kv_budget.hpp"
#include "runtime/kv_table.hpp"
#include "tests/support/random.hpp"
#include "tests/support/throws.hpp"

namespace stepless::test {
namespace {

KvLayout layout_of(bool packs, std::int64_t start, std::int64_t window, std::int64_t max_size,
                   std::int64_t page_tokens = 16) {
  return {page_tokens, packs, start, window, max_size};
}

std::vector<KvLayout> many_layouts() {
  std::vector<KvLayout> all;
  for (const std::int64_t t : {4, 16, 64})
    for (const std::int64_t start : {std::int64_t{0}, std::int64_t{1}, t - 1, t, t + 1, 5 * t})
      for (const std::int64_t window : {std::int64_t{0}, std::int64_t{1}, t - 1, t, t + 1, 3 * t})
        for (const std::int64_t most :
             {std::int64_t{0}, std::int64_t{5}, std::max<std::int64_t>(t, 5), t + 5, 4 * t + 3}) {
          all.push_back(layout_of(true, start, window, most, t));
          if (start == 0 && window == 0) all.push_back(layout_of(false, 0, 0, most, t));
        }
  return all;
}

std::string text(const KvLayout& l) {
  return "pages of " + std::to_string(l.page_tokens) + (l.packs ? ", packs" : "") + ", start " +
         std::to_string(l.start) + ", window " + std::to_string(l.window) + ", most " +
         std::to_string(l.max_size);
}

TEST(KvLayout, APageIsReadPackedFromStartOnOnceItLiesWhollyOutsideTheWindow) {
  for (const KvLayout& l : many_layouts()) {
    SCOPED_TRACE(text(l));
    for (std::int64_t p = 0; p < 9 * l.page_tokens; ++p) {
      const kernels::SeqRow row = l.row(p, nullptr, nullptr);
      for (std::int64_t page = 0; page <= p / l.page_tokens; ++page) {
        const std::int64_t first = page * l.page_tokens, last = first + l.page_tokens - 1;
        const std::int64_t window = std::max<std::int64_t>(l.window, 1);
        const bool want = l.packs && first >= l.start && last < p - window + 1;
        ASSERT_EQ(page >= row.packed_begin && page < row.packed_end, want) << p << ", " << page;
        ASSERT_EQ(l.packed(p).holds(page), want);
      }
    }
  }
}

TEST(KvLayout, ARotatingRowReadsTheFirstFourAndTheNewest) {
  for (const KvLayout& l : many_layouts()) {
    SCOPED_TRACE(text(l));
    for (std::int64_t p = 0; p < 9 * l.page_tokens; ++p) {
      const kernels::SeqRow row = l.row(p, nullptr, nullptr);
      std::int64_t read = 0;
      for (std::int64_t at = 0; at <= p; ++at) {
        const bool left_out = row.kept > 0 && at >= row.kept && at < row.resume;
        const bool want = l.max_size == 0 || at < 4 || at >= p - l.max_size + 5;
        ASSERT_EQ(!left_out, want) << p << " reads " << at;
        read += want;
      }
      ASSERT_EQ(read, l.max_size > 0 ? std::min(p + 1, l.max_size) : p + 1);
    }
  }
}

TEST(KvLayout, EveryPageIsPackedByTheFirstRowThatReadsItSo) {
  for (const KvLayout& l : many_layouts()) {
    SCOPED_TRACE(text(l));
    std::set<std::int64_t> packed;
    for (std::int64_t p = 0; p < 9 * l.page_tokens; ++p) {
      const std::int64_t page = l.packs_at(p);
      if (page >= 0) {
        ASSERT_TRUE(packed.insert(page).second);
        ASSERT_GT(p, (page + 1) * l.page_tokens - 1) << "a page still being written";
      }
      const PageRange reads = l.packed(p), hidden = l.hidden(p);
      for (std::int64_t i = reads.begin; i < reads.end; ++i)
        ASSERT_TRUE(packed.contains(i) || hidden.holds(i)) << p << " reads page " << i;
    }
  }
}

/// Lives a sequence in steps of random length and looks at every row of every step.
KvPages most_held(const KvLayout& l, std::int64_t total, std::int64_t step_rows, Random& random) {
  const KvPages need = l.need(total, step_rows);
  KvPool plain(need.plain + 1), packed(need.packed + 1);
  KvTable table;
  table.open(l, total, plain.allocate(need.plain), packed.allocate(need.packed));
  KvPages most;
  const auto held = [](const std::vector<std::int32_t>& ids) {
    std::set<std::int32_t> distinct;
    for (const std::int32_t id : ids)
      EXPECT_TRUE(id == 0 || distinct.insert(id).second) << "a page in two places";
    return std::ssize(distinct);
  };
  for (std::int64_t computed = 0; computed < total;) {
    const std::int64_t count =
        std::min(1 + random.below(random.below(4) == 0 ? 1 : step_rows), total - computed);
    table.make_ready(l, computed, count);
    for (std::int64_t p = computed; p < computed + count; ++p) {
      const kernels::SeqRow row = table.row(l, p);
      if (row.pack >= 0) {
        EXPECT_NE(row.pages[row.pack], 0);
        EXPECT_NE(row.packed[row.pack], 0);
      }
      EXPECT_NE(row.pages[p / l.page_tokens], 0) << "written by " << p;
      for (std::int64_t page = 0; page <= p / l.page_tokens; ++page) {
        const PageRange hidden = l.hidden(p), reads = l.packed(p);
        if (hidden.holds(page)) continue;
        EXPECT_NE(reads.holds(page) ? row.packed[page] : row.pages[page], 0)
            << p << " reads page " << page;
      }
    }
    most.plain = std::max(most.plain, held(table.plain()));
    most.packed = std::max(most.packed, held(table.packed()));
    computed += count;
    table.retire(l, computed);
  }
  table.close(plain, packed);
  EXPECT_EQ(plain.free_pages(), need.plain);
  EXPECT_EQ(packed.free_pages(), need.packed);
  return most;
}

TEST(KvTable, WhatWasReservedIsEnoughHoweverAPromptIsCut) {
  Random random(5);
  for (const KvLayout& l : many_layouts())
    for (const std::int64_t step_rows : {std::int64_t{1}, l.page_tokens, 3 * l.page_tokens + 1}) {
      SCOPED_TRACE(text(l) + ", steps of " + std::to_string(step_rows));
      const std::int64_t total = 1 + random.below(12 * l.page_tokens);
      const KvPages most = most_held(l, total, step_rows, random);
      const KvPages need = l.need(total, step_rows);
      EXPECT_LE(most.plain, need.plain);
      EXPECT_LE(most.packed, need.packed);
      if (testing::Test::HasFailure()) return;
    }
}

TEST(KvLayout, LongPromptsNeedAWindowAChunkAndPackedPages) {
  const KvLayout l = layout_of(true, 0, 256, 0, 64);
  const KvPages need = l.need(100'000, 512);
  EXPECT_LE(need.plain, (256 + 512) / 64 + 2);
  EXPECT_LE(need.packed, 100'000 / 64);
  const KvPages rotating = layout_of(false, 0, 0, 1000, 64).need(100'000, 512);
  EXPECT_LE(rotating.plain, (1000 + 512) / 64 + 3);
  EXPECT_EQ(rotating.packed, 0);
  EXPECT_EQ(layout_of(false, 0, 0, 0, 64).need(1000, 512), (KvPages{16, 0}));
  EXPECT_EQ(layout_of(true, 5000, 0, 0, 64).need(1000, 512), (KvPages{16, 0}))
      << "shorter than start: as without";
}

TEST(KvTable, AShorterStepGivesPagesBack) {
  const KvLayout l = layout_of(true, 0, 0, 0, 16);
  const KvPages need = l.need(400, 160);
  KvPool plain(need.plain + 1), packed(need.packed + 1);
  KvTable table;
  table.open(l, 400, plain.allocate(need.plain), packed.allocate(need.packed));
  for (std::int64_t at = 0; at < 320; at += 160) {
    table.make_ready(l, at, 160);
    table.retire(l, at + 160);
  }
  EXPECT_EQ(plain.free_pages(), 0);
  table.shrink(l.need(400, 1), plain, packed);
  EXPECT_EQ(table.reserved(), l.need(400, 1));
  EXPECT_EQ(plain.free_pages(), need.plain - l.need(400, 1).plain);
  for (std::int64_t at = 320; at < 400; ++at) {
    table.make_ready(l, at, 1);
    EXPECT_NE(table.plain()[static_cast<std::size_t>(at / 16)], 0);
    table.retire(l, at + 1);
  }
  table.close(plain, packed);
  EXPECT_EQ(plain.free_pages(), plain.size());
  EXPECT_EQ(packed.free_pages(), packed.size());
}

KvShape shape_for(bool packs) {
  KvShape shape;
  shape.layers = {{2, 64, 64}, {2, 64, 64}};
  if (packs) shape.packing = QuantSpec{Mode::affine, 4, 64};
  return shape;
}

TEST(KvBudget, BytesOfBothForms) {
  const KvShape shape = shape_for(true);
  EXPECT_EQ(shape.token_bytes(), 2 * 2 * 128 * 2);
  EXPECT_EQ(shape.packed_token_bytes(), 2 * 2 * (128 / 2 + 2 * 2 * 2));
  EXPECT_EQ(shape_for(false).packed_page_bytes(), 0);
}

TEST(KvBudget, BytesAskedForBoundTheSum) {
  const KvShape shape = shape_for(true);
  for (const std::int64_t start : {0, 100, 5000})
    for (const std::int64_t pages : {3, 10, 30, 100, 1000}) {
      const KvLayout l = layout_of(true, start, 0, 0, 64);
      KvBudget budget{4000, 256, 2, pages * shape.page_bytes(), std::int64_t{1} << 40};
      const KvPages got = pages_within(shape, l, budget).pages;
      EXPECT_GE(got.plain, 2);
      EXPECT_GE(got.packed, 1);
      EXPECT_LE((got.plain - 1) * shape.page_bytes() + (got.packed - 1) * shape.packed_page_bytes(),
                budget.bytes);
    }
}

TEST(KvBudget, SequencesExpectedFit) {
  const KvShape shape = shape_for(true);
  for (const std::int64_t window : {0, 300})
    for (const std::int64_t sequences : {1, 3}) {
      const KvLayout l = layout_of(true, 0, window, 0, 64);
      const KvPages each = l.need(4000, 256);
      const KvPages got =
          pages_within(shape, l, {4000, 256, sequences, 0, std::int64_t{1} << 40}).pages;
      EXPECT_GE(got.plain - 1, sequences * each.plain);
      EXPECT_GE(got.packed - 1, sequences * each.packed);
    }
}

TEST(KvBudget, ADraftModelsPagesAreCountedIn) {
  const KvShape shape = shape_for(true);
  const std::int64_t draft_bytes = shape.page_bytes() / 8, most = std::int64_t{1} << 40;
  for (const KvLayout& l : {layout_of(false, 0, 0, 0, 64), layout_of(true, 0, 0, 0, 64),
                            layout_of(false, 0, 0, 500, 64)}) {
    SCOPED_TRACE(text(l));
    // Every position of a sequence is in the draft's cache.
    const KvAllotment all = pages_within(shape, l, {4000, 256, 3, 0, most, draft_bytes});
    EXPECT_GE(all.draft_pages - 1, 3 * 63);
    EXPECT_GE(all.pages.plain - 1, 3 * l.need(4000, 256).plain);
    const std::int64_t bytes = 30 * shape.page_bytes();
    const KvAllotment some = pages_within(shape, l, {4000, 256, 3, bytes, most, draft_bytes});
    EXPECT_GE(some.draft_pages, 2);
    EXPECT_LE((some.pages.plain - 1) * shape.page_bytes() +
                  std::max<std::int64_t>(some.pages.packed - 1, 0) * shape.packed_page_bytes() +
                  (some.draft_pages - 1) * draft_bytes,
              bytes);
  }
}

TEST(KvBudget, SaysWhatDoesNotFit) {
  const KvShape shape = shape_for(true);
  const KvLayout l = layout_of(true, 0, 0, 0, 64);
  expect_error(ErrorCode::exhausted, "KV cache: 1000000 bytes asked for; 1000 are free", [&] {
    pages_within(shape, l, {4000, 256, 1, 1'000'000, 1000});
  });
  expect_error(ErrorCode::exhausted, "one page of 64 positions takes", [&] {
    pages_within(shape, l, {4000, 256, 1, 100, std::int64_t{1} << 40});
  });
}

TEST(KvLayout, BytesThatARowReads) {
  const KvShape shape = shape_for(true);
  const auto plain = static_cast<double>(shape.token_bytes()),
             packed = static_cast<double>(shape.packed_token_bytes());
  EXPECT_EQ(KvLayout{}.read_bytes(shape, 999), 1000 * plain);
  EXPECT_EQ(layout_of(true, 64, 0, 0, 64).read_bytes(shape, 639), (64 + 64) * plain + 512 * packed);
  EXPECT_EQ(layout_of(false, 0, 0, 100, 64).read_bytes(shape, 999), 100 * plain);
}

}  // namespace
}  // namespace stepless::test
