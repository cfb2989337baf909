// The executor: every unit once, slices at tile edges, prepare before run before finish on every
// thread.
#include "ops/cpu/run_kernel.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

#include "tests/support/throws.hpp"

namespace stepless {
namespace {

/// What a made-up kernel writes down; its functions are plain pointers, so everything is reached
/// through args.
struct Journal {
  std::vector<std::atomic<int>> prepared, run;
  std::atomic<int> finished{0}, late{0};
  std::int64_t step = 1;
  Journal(std::size_t rows, std::size_t units) : prepared(rows), run(units) {}
};

Journal& journal(const void* args) { return *static_cast<Journal*>(const_cast<void*>(args)); }

void prepare(const void* args, kernels::Slice rows) {
  for (auto i = rows.begin; i < rows.end; ++i)
    ++journal(args).prepared[static_cast<std::size_t>(i)];
}
void run(const void* args, kernels::Slice units) {
  Journal& j = journal(args);
  for (const auto& row : j.prepared) j.late += row != 1;
  j.late += units.begin % j.step != 0;
  for (auto i = units.begin; i < units.end; ++i) ++j.run[static_cast<std::size_t>(i)];
}
void finish(const void* args) {
  Journal& j = journal(args);
  for (const auto& unit : j.run) j.late += unit != 1;
  ++j.finished;
}

constexpr kernels::CpuEntry kWhole = {prepare, run, finish};

Kernel made_up(const kernels::CpuEntry* entry, Unit unit, int tile_n) {
  KernelName name;
  name.tile_n = tile_n;
  KernelFields fields;
  fields.unit = unit;
  return {"made_up", name, fields, entry};
}

class RunKernel : public ::testing::TestWithParam<int> {};

TEST_P(RunKernel, DoesEverythingOnceAndInOrder) {
  ThreadTeam team(GetParam());
  const Kernel kernel = made_up(&kWhole, Unit::outputs, 8);
  for (const std::size_t units : {1u, 7u, 8u, 9u, 100u})
    for (const std::size_t rows : {0u, 1u, 5u})
      for (const std::int64_t unit_bytes : {0, 1, 1 << 20}) {
        Journal j(rows, units);
        j.step = 8;
        const KernelCall call{kernel, &j, static_cast<std::int64_t>(rows),
                              static_cast<std::int64_t>(units), unit_bytes};
        run_kernel(team, call);
        EXPECT_EQ(j.finished, 1);
        EXPECT_EQ(j.late, 0) << units << " units, " << rows << " rows";
        for (const auto& unit : j.run) EXPECT_EQ(unit, 1);
      }
}

TEST_P(RunKernel, HasNothingToDoForNoUnits) {
  ThreadTeam team(GetParam());
  Journal j(0, 0);
  run_kernel(team, {made_up(&kWhole, Unit::dot_blocks, 1), &j, 0, 0});
  EXPECT_EQ(j.finished, 1);  // a sum of nothing is still written
}

TEST_P(RunKernel, RefusesAKernelThatWasNotBuilt) {
  ThreadTeam team(GetParam());
  Journal j(1, 1);
  test::expect_error(ErrorCode::unsupported, "made_up: this build has no code", [&] {
    run_kernel(team, {made_up(nullptr, Unit::rows, 1), &j, 1, 1});
  });
}

INSTANTIATE_TEST_SUITE_P(Threads, RunKernel, ::testing::Values(1, 2, 5));

}  // namespace
}  // namespace stepless
