// The plan of a step as tables, and whole runs of random sequences with the commit a toy.
#include "runtime/scheduler.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "tests/support/random.hpp"

namespace stepless {

std::ostream& operator<<(std::ostream& out, const StepItem& item) {
  return out << "{sequence " << item.sequence << ", " << item.first << " + " << item.count
             << (item.samples ? ", samples" : "") << ", " << item.drafts << " drafts}";
}

namespace test {
namespace {

using Items = std::vector<StepItem>;
using Indices = std::vector<std::size_t>;

SequenceView decoding(std::int64_t computed, std::int64_t last_turn) {
  return {Phase::decode, computed, computed + 1, 1, last_turn};
}
SequenceView prefilling(std::int64_t computed, std::int64_t known) {
  return {Phase::prefill, computed, known, 1, 0};
}
SequenceView waiting(std::int64_t known, std::int64_t pages) {
  return {Phase::waiting, 0, known, pages, 0};
}

/// Decoding, with guesses that it would like to have checked.
SequenceView guessing(std::int64_t computed, std::int64_t last_turn, std::int64_t drafts) {
  return {Phase::decode, computed, computed + 1, 1, last_turn, 0, drafts};
}

constexpr StepLimits kRoomy{256, 64, 256, 1000};

TEST(Scheduler, NothingToDoIsAnEmptyPlan) {
  const StepPlan plan = plan_step({}, kRoomy);
  EXPECT_TRUE(plan.items.empty());
  EXPECT_TRUE(plan.admitted.empty());
  EXPECT_EQ(plan.rows, 0);
}

TEST(Scheduler, DecodeRowsComeBeforePromptsWhateverArrivedFirst) {
  const std::vector<SequenceView> views = {prefilling(4, 10), decoding(7, 3), waiting(5, 1),
                                           decoding(20, 2)};
  const StepPlan plan = plan_step(views, kRoomy);
  EXPECT_EQ(plan.items,
            (Items{{3, 20, 1, true}, {1, 7, 1, true}, {0, 4, 6, true}, {2, 0, 5, true}}));
  EXPECT_EQ(plan.admitted, (Indices{2}));
  EXPECT_EQ(plan.rows, 13);
  EXPECT_EQ(plan.prompt_rows, 11);
  EXPECT_EQ(plan.sampled, 4);
}

TEST(Scheduler, DecodeRowsServedLongestAgoComeFirst) {
  const std::vector<SequenceView> views = {decoding(1, 9), decoding(2, 4), decoding(3, 4),
                                           decoding(4, 8)};
  const StepLimits narrow{3, 64, 3, 0};
  EXPECT_EQ(plan_step(views, narrow).items,
            (Items{{1, 2, 1, true}, {2, 3, 1, true}, {3, 4, 1, true}}));
  const StepLimits few_samples{256, 2, 256, 0};
  EXPECT_EQ(plan_step(views, few_samples).items, (Items{{1, 2, 1, true}, {2, 3, 1, true}}));
}

TEST(Scheduler, PromptsAreCutAtTheRowsThatAreLeft) {
  struct Case {
    StepLimits limits;
    Items items;
  };
  const std::vector<SequenceView> views = {decoding(30, 1), prefilling(10, 20), waiting(50, 1)};
  const Case cases[] = {
      {{1, 64, 256, 9}, {{0, 30, 1, true}}},
      {{2, 64, 256, 9}, {{0, 30, 1, true}, {1, 10, 1, false}}},
      {{11, 64, 256, 9}, {{0, 30, 1, true}, {1, 10, 10, true}}},
      {{12, 64, 256, 9}, {{0, 30, 1, true}, {1, 10, 10, true}, {2, 0, 1, false}}},
      {{256, 64, 10, 9}, {{0, 30, 1, true}, {1, 10, 10, true}}},
      {{256, 64, 12, 9}, {{0, 30, 1, true}, {1, 10, 10, true}, {2, 0, 2, false}}},
      {{256, 64, 59, 9}, {{0, 30, 1, true}, {1, 10, 10, true}, {2, 0, 49, false}}},
      {{256, 64, 60, 9}, {{0, 30, 1, true}, {1, 10, 10, true}, {2, 0, 50, true}}},
  };
  for (const Case& c : cases)
    EXPECT_EQ(plan_step(views, c.limits).items, c.items)
        << c.limits.rows << " rows, " << c.limits.prefill_rows << " of prompts";
}

TEST(Scheduler, TheLastRowOfAPromptWaitsForAPlaceAmongTheSampled) {
  const std::vector<SequenceView> views = {decoding(30, 1), prefilling(10, 20), prefilling(3, 4),
                                           prefilling(0, 6)};
  const StepLimits one_sample{256, 1, 256, 0};
  EXPECT_EQ(plan_step(views, one_sample).items,
            (Items{{0, 30, 1, true}, {1, 10, 9, false}, {3, 0, 5, false}}));
  const StepLimits two{256, 2, 256, 0};
  EXPECT_EQ(plan_step(views, two).items,
            (Items{{0, 30, 1, true}, {1, 10, 10, true}, {3, 0, 5, false}}));
}

TEST(Scheduler, WaitingSequencesStartInOrderWhenTheirPagesAreFree) {
  struct Case {
    std::int64_t free;
    Indices admitted;
  };
  const std::vector<SequenceView> views = {waiting(2, 3), waiting(2, 4), waiting(2, 1)};
  const Case cases[] = {{0, {}},     {2, {}},        {3, {0}},       {6, {0}},
                        {7, {0, 1}}, {8, {0, 1, 2}}, {99, {0, 1, 2}}};
  for (const Case& c : cases)
    EXPECT_EQ(plan_step(views, {256, 64, 256, c.free}).admitted, c.admitted) << c.free << " pages";
}

TEST(Scheduler, PagesOfOneHeldBackArePutAsideAndOthersMayStart) {
  struct Case {
    std::int64_t free;
    Indices admitted;
  };
  std::vector<SequenceView> views = {prefilling(0, 8), waiting(2, 3), waiting(2, 4), waiting(2, 1)};
  views[1].held_back = true;
  const Case cases[] = {{0, {}}, {2, {}}, {3, {}}, {6, {}}, {7, {2}}, {8, {2, 3}}};
  for (const Case& c : cases)
    EXPECT_EQ(plan_step(views, {256, 64, 256, c.free}).admitted, c.admitted) << c.free << " pages";
  EXPECT_TRUE(plan_step(views, {8, 64, 256, 9}).admitted.empty()) << "no row is left";
}

TEST(Scheduler, ASequenceThatStartsLateComesBeforeLaterPrompts) {
  // Held back until now, with 64 positions found: rows go by arrival, not by start.
  std::vector<SequenceView> views = {waiting(70, 1), prefilling(0, 40)};
  views[0].computed = 64;
  const StepPlan plan = plan_step(views, {16, 64, 16, 9});
  EXPECT_EQ(plan.items, (Items{{0, 64, 6, true}, {1, 0, 10, false}}));
  EXPECT_EQ(plan.admitted, (Indices{0}));
}

TEST(Scheduler, PromptsThatRunGoOnBehindOneThatCannotStart) {
  const std::vector<SequenceView> views = {waiting(2, 9), prefilling(3, 8), waiting(2, 1)};
  const StepPlan plan = plan_step(views, {256, 64, 256, 8});
  EXPECT_EQ(plan.items, (Items{{1, 3, 5, true}}));
  EXPECT_TRUE(plan.admitted.empty());
}

TEST(Scheduler, NoneStartsWithoutARowToCompute) {
  const std::vector<SequenceView> views = {prefilling(0, 8), waiting(2, 1), waiting(2, 1)};
  EXPECT_TRUE(plan_step(views, {8, 64, 256, 9}).admitted.empty());
  EXPECT_TRUE(plan_step(views, {256, 64, 8, 9}).admitted.empty());
  EXPECT_EQ(plan_step(views, {256, 64, 10, 9}).admitted, (Indices{1}));
}

void check_plan(const StepPlan& plan, const std::vector<SequenceView>& views,
                const StepLimits& limits);

TEST(Scheduler, DraftsTakeTheRowsThatAreLeftOneToEachInTurn) {
  struct Case {
    StepLimits limits;
    Items items;
  };
  const std::vector<SequenceView> views = {guessing(10, 1, 3), guessing(20, 2, 0),
                                           guessing(30, 3, 16)};
  const Case cases[] = {
      {{2, 64, 256, 0}, {{0, 10, 1, true, 0}, {1, 20, 1, true, 0}}},
      {{3, 64, 256, 0}, {{0, 10, 1, true, 0}, {1, 20, 1, true, 0}, {2, 30, 1, true, 0}}},
      {{4, 64, 256, 0}, {{0, 10, 2, true, 1}, {1, 20, 1, true, 0}, {2, 30, 1, true, 0}}},
      {{5, 64, 256, 0}, {{0, 10, 2, true, 1}, {1, 20, 1, true, 0}, {2, 30, 2, true, 1}}},
      {{256, 5, 256, 0}, {{0, 10, 2, true, 1}, {1, 20, 1, true, 0}, {2, 30, 2, true, 1}}},
      {{11, 64, 256, 0}, {{0, 10, 4, true, 3}, {1, 20, 1, true, 0}, {2, 30, 6, true, 5}}},
      {kRoomy, {{0, 10, 4, true, 3}, {1, 20, 1, true, 0}, {2, 30, 17, true, 16}}},
  };
  for (const Case& c : cases) {
    const StepPlan plan = plan_step(views, c.limits);
    EXPECT_EQ(plan.items, c.items) << c.limits.rows << " rows, " << c.limits.sampled << " sampled";
    check_plan(plan, views, c.limits);
  }
}

TEST(Scheduler, DraftsShrinkBeforeASequenceWaits) {
  // A prompt of 6 fits only if the drafts leave it its rows; its last row needs a place to draw.
  const std::vector<SequenceView> views = {guessing(10, 1, 3), prefilling(0, 6), waiting(2, 1)};
  EXPECT_EQ(plan_step(views, {7, 64, 256, 9}).items,
            (Items{{0, 10, 1, true, 0}, {1, 0, 6, true, 0}}));
  EXPECT_EQ(plan_step(views, {10, 64, 256, 9}).items,
            (Items{{0, 10, 2, true, 1}, {1, 0, 6, true, 0}, {2, 0, 2, true, 0}}));
  EXPECT_EQ(plan_step(views, {256, 2, 256, 9}).items,
            (Items{{0, 10, 1, true, 0}, {1, 0, 6, true, 0}, {2, 0, 1, false, 0}}));
  EXPECT_EQ(plan_step(views, {256, 4, 256, 9}).items,
            (Items{{0, 10, 2, true, 1}, {1, 0, 6, true, 0}, {2, 0, 2, true, 0}}));
  // Prompts that may not use the rows leave them to drafts.
  EXPECT_EQ(plan_step(views, {256, 64, 2, 9}).items,
            (Items{{0, 10, 4, true, 3}, {1, 0, 2, false, 0}}));
}

/// What a run has done with one sequence.
struct Toy {
  SequenceView view;
  std::int64_t prompt = 0, wanted = 0, drawn = 0, admissions = 0;
  std::int64_t pages_held = 0, most_drafts = 0;
  bool done = false;
};

/// Checks one plan against the limits and the state it was made from.
void check_plan(const StepPlan& plan, const std::vector<SequenceView>& views,
                const StepLimits& limits) {
  std::int64_t rows = 0, prompt_rows = 0, sampled = 0, pages = 0;
  std::vector<int> planned(views.size(), 0);
  for (const std::size_t i : plan.admitted) {
    ASSERT_EQ(views[i].phase, Phase::waiting);
    pages += views[i].pages;
  }
  EXPECT_LE(pages, limits.free_pages);
  EXPECT_TRUE(std::is_sorted(plan.admitted.begin(), plan.admitted.end()));
  for (const StepItem& item : plan.items) {
    const SequenceView& view = views[item.sequence];
    EXPECT_EQ(++planned[item.sequence], 1) << "planned twice";
    EXPECT_EQ(item.first, view.computed);
    EXPECT_GE(item.count, 1);
    EXPECT_EQ(item.samples, item.first + item.count - item.drafts == view.known);
    EXPECT_GE(item.drafts, 0);
    EXPECT_LE(item.drafts, view.phase == Phase::decode ? view.drafts : 0);
    if (view.phase == Phase::waiting) {
      EXPECT_EQ(std::count(plan.admitted.begin(), plan.admitted.end(), item.sequence), 1);
    }
    rows += item.count;
    prompt_rows += view.phase == Phase::decode ? 0 : item.count;
    sampled += item.samples + item.drafts;
  }
  EXPECT_EQ(rows, plan.rows);
  EXPECT_EQ(prompt_rows, plan.prompt_rows);
  EXPECT_EQ(sampled, plan.sampled);
  EXPECT_LE(rows, limits.rows);
  EXPECT_LE(prompt_rows, limits.prefill_rows);
  EXPECT_LE(sampled, limits.sampled);
}

/// Plans and commits until every sequence has what it wanted; the order of the first admissions.
Indices run_to_the_end(std::vector<Toy>& toys, StepLimits limits, Random& random) {
  Indices started;
  for (std::int64_t step = 0; step < 20000; ++step) {
    std::vector<SequenceView> views;
    Indices index;
    for (std::size_t i = 0; i < toys.size(); ++i) {
      if (toys[i].done) continue;
      views.push_back(toys[i].view);
      index.push_back(i);
    }
    if (views.empty()) return started;
    const StepPlan plan = plan_step(views, limits);
    check_plan(plan, views, limits);
    EXPECT_FALSE(plan.items.empty()) << "nothing moves";
    if (plan.items.empty() || testing::Test::HasFailure()) return started;
    for (const std::size_t i : plan.admitted) {
      Toy& toy = toys[index[i]];
      EXPECT_EQ(++toy.admissions, 1);
      started.push_back(index[i]);
      toy.view.phase = Phase::prefill;
      toy.pages_held = toy.view.pages;
      limits.free_pages -= toy.view.pages;
    }
    for (const StepItem& item : plan.items) {
      Toy& toy = toys[index[item.sequence]];
      const std::int64_t right = item.drafts > 0 ? random.below(item.drafts + 1) : 0;
      toy.view.computed += item.count - item.drafts + right;
      toy.view.last_turn = step;
      if (!item.samples) continue;
      toy.view.phase = Phase::decode;
      toy.drawn += 1 + right, toy.view.known += 1 + right;
      toy.view.drafts = std::min(toy.most_drafts, toy.wanted - toy.drawn - 1);
      if (toy.drawn < toy.wanted && random.below(50) != 0) continue;
      toy.wanted = toy.drawn;
      toy.done = true;
      limits.free_pages += toy.pages_held;
    }
  }
  ADD_FAILURE() << "not done after 20000 steps";
  return started;
}

TEST(Scheduler, RandomRunsServeEverySequenceOnceAndInOrder) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    const StepLimits limits{1 + random.below(20), 1 + random.below(6), 1 + random.below(20),
                            4 + random.below(12)};
    std::vector<Toy> toys(static_cast<std::size_t>(1 + random.below(20)));
    for (Toy& toy : toys) {
      toy.prompt = 1 + random.below(40);
      toy.wanted = 1 + random.below(15);
      toy.view = waiting(toy.prompt, 1 + random.below(4));
      toy.most_drafts = seed % 2 == 0 ? 0 : random.below(5);
    }
    const Indices started = run_to_the_end(toys, limits, random);
    ASSERT_FALSE(HasFailure());
    Indices arrival(toys.size());
    std::iota(arrival.begin(), arrival.end(), 0u);
    EXPECT_EQ(started, arrival) << "one overtook another";
    for (const Toy& toy : toys) {
      EXPECT_EQ(toy.drawn, toy.wanted);
      EXPECT_EQ(toy.view.computed, toy.prompt + toy.drawn - 1) << "a position lost or done twice";
    }
  }
}

TEST(Scheduler, AWaitingSequenceNeedsItsSlotsOfStateToo) {
  SequenceView wants_two = waiting(2, 1);
  wants_two.slots = 2;
  const std::vector<SequenceView> views = {wants_two, wants_two, waiting(2, 1)};
  StepLimits limits = kRoomy;
  limits.free_slots = 3;
  EXPECT_EQ(plan_step(views, limits).admitted, (Indices{0}));  // and the third does not overtake
  limits.free_slots = 4;
  EXPECT_EQ(plan_step(views, limits).admitted, (Indices{0, 1, 2}));
}

TEST(Scheduler, DecodeIsFairWhenTheStepIsTooNarrow) {
  std::vector<SequenceView> views(10);
  for (SequenceView& view : views) view = decoding(5, 0);
  std::vector<int> served(views.size(), 0);
  std::int64_t turns = 0;
  for (int step = 0; step < 100; ++step)
    for (const StepItem& item : plan_step(views, {3, 64, 3, 0}).items) {
      ++served[item.sequence];
      views[item.sequence].last_turn = ++turns;
    }
  for (const int count : served) EXPECT_EQ(count, 30);
}

}  // namespace
}  // namespace test
}  // namespace stepless
