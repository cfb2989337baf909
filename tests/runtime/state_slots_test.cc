// Slots of recurrent state: what each row reads is what the row before it left, whatever was
// accepted, and nobody reads a rejected draft's.
#include "runtime/state_slots.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "tests/support/random.hpp"

namespace stepless::test {
namespace {

struct InOut {
  std::int32_t in, out;
  friend bool operator==(const InOut&, const InOut&) = default;
};

std::vector<InOut> bound(const StateSlots& slots, std::int64_t first, std::int64_t count,
                         RowsAre rows) {
  std::vector<InOut> all;
  for (std::int64_t j = 0; j < count; ++j) {
    kernels::SeqRow row{nullptr, first + j};
    slots.bind(row, first, j, rows);
    all.push_back({row.state_in, row.state_out});
  }
  return all;
}

TEST(StateSlots, AModelWithoutStateHasNone) {
  StateSlots none;
  EXPECT_EQ(bound(none, 0, 2, RowsAre::certain), (std::vector<InOut>{{0, 0}, {0, 0}}));
  none.keep(1);
  EXPECT_TRUE(none.ids().empty());
}

TEST(StateSlots, CertainRowsShareOneSlotAndTheFirstReadsZeros) {
  const StateSlots slots({7});
  EXPECT_EQ(bound(slots, 0, 3, RowsAre::certain), (std::vector<InOut>{{0, 7}, {7, 7}, {7, 7}}));
  EXPECT_EQ(bound(slots, 3, 2, RowsAre::certain), (std::vector<InOut>{{7, 7}, {7, 7}}));
}

TEST(StateSlots, DraftsLeaveTheirStatesApart) {
  StateSlots slots({4, 9, 2});
  EXPECT_EQ(bound(slots, 5, 3, RowsAre::drafts), (std::vector<InOut>{{4, 4}, {4, 9}, {9, 2}}));
  slots.keep(2);  // one draft accepted, one rejected
  EXPECT_EQ(bound(slots, 7, 3, RowsAre::drafts), (std::vector<InOut>{{9, 9}, {9, 4}, {4, 2}}));
  slots.keep(3);
  EXPECT_EQ(bound(slots, 10, 1, RowsAre::certain), (std::vector<InOut>{{2, 2}}));
  slots.keep(1);
  EXPECT_EQ(bound(slots, 11, 1, RowsAre::certain), (std::vector<InOut>{{2, 2}}));
}

// A slot holds the list of tokens that led to it; after any history it must be the accepted ones.
TEST(StateSlots, RandomHistoriesEndInTheAcceptedTokens) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Random random(seed);
    const std::int64_t most_drafts = random.below(5);
    std::vector<std::int32_t> ids;
    for (std::int64_t i = 0; i <= most_drafts; ++i)
      ids.push_back(static_cast<std::int32_t>(3 * i + 1));
    StateSlots slots(ids);
    std::map<std::int32_t, std::vector<std::int64_t>> held;
    for (const std::int32_t id : ids) held[id] = {-1, -1};  // of a sequence that is gone
    std::vector<std::int64_t> accepted;
    std::int64_t token = 0;
    while (accepted.size() < 40) {
      const auto first = static_cast<std::int64_t>(accepted.size());
      const bool drafts = first > 0 && random.below(2) == 0;
      const std::int64_t count = 1 + random.below(drafts ? most_drafts + 1 : 6);
      const std::int64_t kept = drafts ? 1 + random.below(count) : count;
      for (std::int64_t j = 0; j < count; ++j) {
        kernels::SeqRow row{nullptr, first + j};
        slots.bind(row, first, j, drafts ? RowsAre::drafts : RowsAre::certain);
        std::vector<std::int64_t> state;
        if (row.state_in != 0) state = held[row.state_in];
        state.push_back(++token);
        if (j < kept) accepted.push_back(token);
        held[row.state_out] = state;
      }
      if (drafts) slots.keep(kept);
      kernels::SeqRow next{nullptr, first + kept};
      slots.bind(next, first + kept, 0, RowsAre::certain);
      ASSERT_EQ(held[next.state_in], accepted);
    }
    std::vector<std::int32_t> still(slots.ids().begin(), slots.ids().end());
    std::sort(still.begin(), still.end());
    EXPECT_EQ(still, ids);  // what is given back is what was taken
  }
}

}  // namespace
}  // namespace stepless::test
