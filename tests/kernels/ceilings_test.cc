// The loops that measure ceilings: those this computer can run do the work they claim to have done.
#include "kernels/ceilings.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <vector>

#include "tests/support/isa.hpp"

namespace stepless {
namespace {

double seconds_of(std::int64_t (*loop)(std::int64_t), std::int64_t steps) {
  double least = 1e9;
  for (int i = 0; i < 3; ++i) {
    const auto start = std::chrono::steady_clock::now();
    loop(steps);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    least = std::min(least, took.count());
  }
  return least;
}

TEST(Ceilings, OperationsGrowWithSteps) {
  for (const CeilingLoops& loops : ceiling_loops()) {
    if (loops.entry == nullptr || !test::runs_here(loops.isa)) continue;
    for (const auto loop :
         {loops.entry->f32, loops.entry->bf16, loops.entry->int16, loops.entry->int8}) {
      if (loop == nullptr) continue;
      EXPECT_EQ(loop(0), 0);
      EXPECT_GT(loop(1), 0);
      EXPECT_EQ(loop(1000), 1000 * loop(1));
      // A loop that the compiler emptied would take no time: no CPU does 10^13 operations a second
      // on one core. An upper bound of a rate, not a time that a busy machine could miss.
      EXPECT_LT(static_cast<double>(loop(200000)) / seconds_of(loop, 200000), 1e13);
    }
  }
}

TEST(Ceilings, ReadsStayInside) {
  std::vector<std::uint8_t> bytes(100000, 1);
  for (const CeilingLoops& loops : ceiling_loops()) {
    if (loops.entry == nullptr || loops.entry->read == nullptr || !test::runs_here(loops.isa))
      continue;
    for (const std::int64_t size : {0, 63, 64, 32768, 99999}) loops.entry->read(bytes.data(), size);
  }
}

TEST(Ceilings, EverySetOfInstructionsOnceNarrowFirst) {
  Isa before = Isa::cpu;
  bool first = true;
  for (const CeilingLoops& loops : ceiling_loops()) {
    EXPECT_TRUE(first || before < loops.isa);
    before = loops.isa;
    first = false;
  }
  EXPECT_NE(ceiling_loops()[0].entry->f32, nullptr);
  EXPECT_NE(ceiling_loops()[0].entry->read, nullptr);
}

}  // namespace
}  // namespace stepless
