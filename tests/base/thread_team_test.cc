#include "base/thread_team.hpp"

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <ctime>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/throws.hpp"

namespace stepless {
namespace {

using test::expect_error;

class Team : public ::testing::TestWithParam<int> {};

/// A row of regions of the sizes given; every part adds one to a plain integer of its own, so that
/// tsan watches, and every region looks at those of the one before.
class Row final : public Regions {
 public:
  explicit Row(std::vector<std::int64_t> sizes) : sizes_(std::move(sizes)) {}
  std::int64_t open() override {
    late += std::ranges::count(done_, 1) != std::ssize(done_);
    if (opened == sizes_.size()) return 0;
    done_.assign(static_cast<std::size_t>(sizes_[opened]), 0);
    return sizes_[opened++];
  }
  void run(std::int64_t part) override { ++done_[static_cast<std::size_t>(part)]; }
  std::size_t opened = 0;
  int late = 0;

 private:
  std::vector<std::int64_t> sizes_;
  std::vector<int> done_;
};

TEST_P(Team, RunsEveryPartOnce) {
  ThreadTeam team(GetParam());
  EXPECT_EQ(team.size(), GetParam());
  for (const std::int64_t parts : {std::int64_t{0}, std::int64_t{1}, std::int64_t{2},
                                   std::int64_t{7}, std::int64_t{100}, team.most_parts()})
    for (int round = 0; round < 20; ++round) {
      std::vector<int> seen(static_cast<std::size_t>(parts), 0);
      team.run(parts, [&](std::int64_t part) { ++seen[static_cast<std::size_t>(part)]; });
      EXPECT_EQ(std::ranges::count(seen, 1), parts);
    }
}

TEST_P(Team, ARegionBeginsWhenTheOneBeforeIsDone) {
  ThreadTeam team(GetParam());
  std::vector<std::int64_t> sizes;
  for (int i = 0; i < 3000; ++i) sizes.push_back(1 + i * i % 29 * (i % 3));
  for (int round = 0; round < 5; ++round) {
    Row row(sizes);
    team.walk(row);
    EXPECT_EQ(row.opened, sizes.size());
    EXPECT_EQ(row.late, 0);
  }
}

TEST_P(Team, AnExceptionInAnyPartReachesTheCaller) {
  ThreadTeam team(GetParam());
  constexpr std::int64_t kParts = 9;
  for (std::int64_t failing = 0; failing < kParts; ++failing) {
    std::atomic<int> begun{0};
    expect_error(ErrorCode::internal, "part " + std::to_string(failing), [&] {
      team.run(kParts, [&](std::int64_t part) {
        ++begun;
        if (part == failing) throw Error(ErrorCode::internal, "part " + std::to_string(part));
      });
    });
    EXPECT_LE(begun.load(), kParts);
    // The team is as good as new.
    std::atomic<std::int64_t> sum{0};
    team.run(kParts, [&](std::int64_t part) { sum += part + 1; });
    EXPECT_EQ(sum.load(), kParts * (kParts + 1) / 2);
  }
}

TEST_P(Team, AnExceptionEndsTheWalk) {
  ThreadTeam team(GetParam());
  class Failing final : public Regions {
   public:
    Failing(int at, std::int64_t parts) : at_(at), parts_(parts) {}
    std::int64_t open() override {
      if (++opened == 5 && at_ == 0) throw std::runtime_error("open");
      return parts_;
    }
    void run(std::int64_t) override {
      if (opened == 5) throw std::runtime_error("part");
    }
    std::atomic<int> opened{0};

   private:
    int at_;
    std::int64_t parts_;
  };
  for (const int at : {0, 1})
    for (const std::int64_t parts : {1, 2, 20}) {
      Failing regions(at, parts);
      EXPECT_THROW(team.walk(regions), std::runtime_error);
      EXPECT_EQ(regions.opened, 5);
    }
  Row row({3, 1, 5});
  team.walk(row);
  EXPECT_EQ(row.late, 0);
}

TEST_P(Team, WhenAllThrowOneIsSeen) {
  ThreadTeam team(GetParam());
  EXPECT_THROW(
      team.run(20, [](std::int64_t part) { throw std::runtime_error(std::to_string(part)); }),
      std::runtime_error);
  EXPECT_THROW(team.run(20, [](std::int64_t) { throw 7; }), int);
  EXPECT_NO_THROW(team.run(20, [](std::int64_t) {}));
}

TEST_P(Team, WakesAfterASleep) {
  ThreadTeam team(GetParam());
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));  // beyond the spin: all sleep
    std::atomic<std::int64_t> count{0};
    const std::int64_t parts = team.size();
    team.run(parts, [&](std::int64_t part) {
      if (part % 2 == round % 2) std::this_thread::sleep_for(std::chrono::milliseconds(2));
      ++count;
    });
    EXPECT_EQ(count.load(), parts);
  }
}

TEST_P(Team, StartsAndStopsManyTimes) {
  for (int round = 0; round < 50; ++round) {
    ThreadTeam team(GetParam());
    std::atomic<int> count{0};
    if (round % 2 == 0) team.run(5, [&](std::int64_t) { ++count; });
    EXPECT_EQ(count.load(), round % 2 == 0 ? 5 : 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, Team, ::testing::Values(1, 2, 3, 8),
                         ::testing::PrintToStringParamName());

TEST(ThreadTeam, OthersTakeThePartsOfAThreadThatStalls) {
  ThreadTeam team(3);
  constexpr std::int64_t kParts = 30;
  std::atomic<int> done{0};
  // One part ends only when all others are done, so that they cannot be waiting for its thread.
  team.run(kParts, [&](std::int64_t part) {
    while (part == 4 && done < kParts - 1) std::this_thread::yield();
    ++done;
  });
  EXPECT_EQ(done.load(), kParts);
}

TEST(ThreadTeam, AllThreadsTakeParts) {
  ThreadTeam team(4);
  std::atomic<int> waiting{0};
  std::vector<std::thread::id> ids(4);
  team.run(4, [&](std::int64_t part) {
    ids[static_cast<std::size_t>(part)] = std::this_thread::get_id();
    ++waiting;
    while (waiting < 4) std::this_thread::yield();
  });
  EXPECT_EQ(std::set(ids.begin(), ids.end()).size(), 4u);
  EXPECT_EQ(std::ranges::count(ids, std::this_thread::get_id()), 1);
}

TEST(ThreadTeam, BodiesMayBeConstAndMoveOnly) {
  ThreadTeam team(2);
  std::atomic<int> calls{0};
  const auto body = [&calls](std::int64_t) { ++calls; };
  team.run(2, body);
  team.run(2, [&calls, owned = std::make_unique<int>(3)](std::int64_t) { calls += *owned; });
  EXPECT_EQ(calls.load(), 2 + 6);
}

TEST(ThreadTeam, RefusesBadSizes) {
  for (const int n : {0, -1, ThreadTeam::kMostThreads + 1})
    expect_error(ErrorCode::invalid_argument, "threads: " + std::to_string(n),
                 [n] { ThreadTeam team(n); });
}

TEST(ThreadTeam, RefusesARegionInsideARegion) {
  ThreadTeam team(2);
  expect_error(ErrorCode::internal, "region inside a region",
               [&] { team.run(2, [&](std::int64_t) { team.run(2, [](std::int64_t) {}); }); });
  EXPECT_NO_THROW(team.run(2, [](std::int64_t) {}));
}

TEST(ThreadTeam, AnIdleTeamUsesNoCpu) {
  ThreadTeam team(4);
  team.run(4, [](std::int64_t) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const std::clock_t before = std::clock();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  const double seconds = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
  EXPECT_LT(seconds, 0.1);  // one spinning thread alone would take 0.2
}

TEST(ThreadTeam, WorkersLeaveSignalsToTheProgramButTakeFaults) {
  ThreadTeam team(2);
  sigset_t mask;
  std::atomic<int> waiting{0};
  const std::thread::id caller = std::this_thread::get_id();
  team.run(2, [&](std::int64_t) {
    if (std::this_thread::get_id() != caller) ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    ++waiting;
    while (waiting < 2) std::this_thread::yield();
  });
  for (const int each : {SIGINT, SIGTERM, SIGCHLD}) EXPECT_EQ(::sigismember(&mask, each), 1);
  for (const int each : {SIGBUS, SIGSEGV, SIGFPE, SIGILL}) EXPECT_EQ(::sigismember(&mask, each), 0);
  sigset_t own;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &own);
  EXPECT_EQ(::sigismember(&own, SIGINT), 0);
}

TEST(PartOf, CoversEverythingOnceAtMultiplesOfTheStep) {
  for (const std::int64_t count : {0, 1, 7, 16, 17, 100, 1000})
    for (const std::int64_t step : {1, 4, 16})
      for (const int threads : {1, 2, 3, 7, 16}) {
        std::int64_t at = 0, most = 0, least = INT64_MAX;
        for (int t = 0; t < threads; ++t) {
          const Part part = part_of(count, step, t, threads);
          ASSERT_EQ(part.begin, at);
          ASSERT_LE(part.begin, part.end);
          ASSERT_TRUE(part.begin % step == 0 || part.begin == count);
          at = part.end;
          const std::int64_t steps = (part.end - part.begin + step - 1) / step;
          most = std::max(most, steps);
          least = std::min(least, steps);
        }
        ASSERT_EQ(at, count);
        ASSERT_LE(most - least, 1);
      }
}

}  // namespace
}  // namespace stepless
