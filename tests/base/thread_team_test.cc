#include "base/thread_team.hpp"

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <ctime>
#include <memory>
#include <numeric>
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

TEST_P(Team, RunsTheBodyOnceOnEveryThread) {
  ThreadTeam team(GetParam());
  EXPECT_EQ(team.size(), GetParam());
  for (int round = 0; round < 100; ++round) {
    std::vector<int> seen(static_cast<std::size_t>(team.size()), 0);  // plain ints: tsan watches
    std::vector<std::thread::id> ids(seen.size());
    team.run([&](int thread) {
      ++seen[static_cast<std::size_t>(thread)];
      ids[static_cast<std::size_t>(thread)] = std::this_thread::get_id();
    });
    EXPECT_EQ(std::ranges::count(seen, 1), team.size());
    EXPECT_EQ(ids[0], std::this_thread::get_id());
    EXPECT_EQ(std::set(ids.begin(), ids.end()).size(), seen.size());
  }
}

TEST_P(Team, TheBarrierSeparatesPhases) {
  ThreadTeam team(GetParam());
  const std::size_t n = static_cast<std::size_t>(team.size());
  std::vector<std::int64_t> now(n, 1), next(n, 0);
  constexpr int kPhases = 300;
  team.run([&](int thread) {
    const std::size_t i = static_cast<std::size_t>(thread);
    for (int phase = 0; phase < kPhases; ++phase) {
      // Reads what all wrote in the phase before; plain integers, so a missing order is a race
      // under tsan.
      next[i] = std::accumulate(now.begin(), now.end(), std::int64_t{0}) % 1'000'003 +
                static_cast<std::int64_t>(i);
      team.barrier().wait();
      now[i] = next[i];
      team.barrier().wait();
    }
  });
  std::vector<std::int64_t> want(n, 1);
  for (int phase = 0; phase < kPhases; ++phase) {
    const std::int64_t sum = std::accumulate(want.begin(), want.end(), std::int64_t{0}) % 1'000'003;
    for (std::size_t i = 0; i < n; ++i) want[i] = sum + static_cast<std::int64_t>(i);
  }
  EXPECT_EQ(now, want);
}

TEST_P(Team, AnExceptionInAnyThreadReachesTheCallerAndFreesTheOthers) {
  ThreadTeam team(GetParam());
  for (int failing = 0; failing < team.size(); ++failing)
    for (int round = 0; round < 20; ++round) {
      std::atomic<int> after{0};
      expect_error(ErrorCode::internal, "thread " + std::to_string(failing), [&] {
        team.run([&](int thread) {
          if (round % 2 == 0) team.barrier().wait();
          if (thread == failing)
            throw Error(ErrorCode::internal, "thread " + std::to_string(thread));
          team.barrier().wait();
          team.barrier().wait();
          ++after;
        });
      });
      EXPECT_EQ(after.load(), 0);
      // The team is as good as new.
      std::atomic<int> sum{0};
      team.run([&](int thread) {
        sum += thread + 1;
        team.barrier().wait();
        EXPECT_EQ(sum.load(), team.size() * (team.size() + 1) / 2);
        team.barrier().wait();
      });
    }
}

TEST_P(Team, WhenAllThrowOneIsSeen) {
  ThreadTeam team(GetParam());
  EXPECT_THROW(team.run([](int thread) { throw std::runtime_error(std::to_string(thread)); }),
               std::runtime_error);
  EXPECT_THROW(team.run([](int) { throw 7; }), int);
  EXPECT_NO_THROW(team.run([](int) {}));
}

TEST_P(Team, WakesAfterASleep) {
  ThreadTeam team(GetParam());
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));  // beyond the spin: all sleep
    std::atomic<int> count{0};
    team.run([&](int thread) {
      if (thread % 2 == round % 2) std::this_thread::sleep_for(std::chrono::milliseconds(2));
      team.barrier().wait();
      ++count;
    });
    EXPECT_EQ(count.load(), team.size());
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, Team, ::testing::Values(1, 2, 3, 8),
                         ::testing::PrintToStringParamName());

TEST(ThreadTeam, BodiesMayBeConstAndMoveOnly) {
  ThreadTeam team(2);
  std::atomic<int> calls{0};
  const auto body = [&calls](int) { ++calls; };
  team.run(body);
  team.run([&calls, owned = std::make_unique<int>(3)](int) { calls += *owned; });
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
               [&] { team.run([&](int) { team.run([](int) {}); }); });
  EXPECT_NO_THROW(team.run([](int) {}));
}

TEST(ThreadTeam, AnIdleTeamUsesNoCpu) {
  ThreadTeam team(4);
  team.run([](int) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const std::clock_t before = std::clock();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  const double seconds = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
  EXPECT_LT(seconds, 0.1);  // one spinning thread alone would take 0.2
}

TEST(ThreadTeam, WorkersLeaveSignalsToTheProgramButTakeFaults) {
  ThreadTeam team(2);
  sigset_t mask;
  team.run([&](int thread) {
    if (thread == 1) ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
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
