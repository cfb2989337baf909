// Golden routes and the laws that the same data must obey. STEPLESS_UPDATE_GOLDEN=1 (tools/routes
// --update) rewrites the files instead of comparing.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include "dispatch/cost.hpp"
#include "tests/dispatch/route_problems.hpp"
#include "tests/support/paths.hpp"

namespace stepless {
namespace {
using namespace test;  // NOLINT: the problems are this file's subject

class Routes : public ::testing::TestWithParam<const char*> {
 protected:
  const Machine& machine() const { return find_machine(GetParam()); }
};

TEST_P(Routes, EqualTheGoldenFile) {
  const std::string path = golden_dir() + "/routes/" + GetParam() + ".txt";
  const std::string now = routes_text(machine());
  if (std::getenv("STEPLESS_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(path) << now;
    return;
  }
  std::ifstream file(path);
  std::stringstream golden;
  golden << file.rdbuf();
  std::stringstream made(now);
  std::string want, got;
  for (int at = 1; std::getline(golden, want); ++at) {
    ASSERT_TRUE(std::getline(made, got)) << path << ":" << at << ": no route for " << want;
    ASSERT_EQ(got, want) << path << ":" << at
                         << "; if that is meant: tools/routes --update, and say why";
  }
  EXPECT_FALSE(std::getline(made, got)) << path << " lacks: " << got << "; tools/routes --update";
}

// The bits of a row may depend on its weight, never on m or on the threads.
TEST_P(Routes, OneOrderPerWeight) {
  for (const Problem& p : route_problems(machine())) {
    const Order order = plan_at(p, 1, machine()).order;
    for (const std::int64_t m : route_rows(p)) {
      const Plan plan = plan_at(p, m, machine());
      ASSERT_EQ(plan.order, order) << problem_text(p) << ", m = " << m;
      ASSERT_EQ(plan.kernel->fields.order, order);
    }
    for (const int threads : {2, 64})
      ASSERT_EQ(plan_at(p, 8, with_threads(machine(), threads)).order, order)
          << problem_text(p) << ", threads " << threads;
  }
}

TEST_P(Routes, CheapestOfItsOrderAndEarliestOfEquals) {
  for (const Problem& p : route_problems(machine()))
    for (const std::int64_t m : route_rows(p)) {
      const Plan plan = plan_at(p, m, machine());
      const Kernel* best = nullptr;
      double cost = 0;
      for (const Candidate& c : plan.candidates) {
        if (!c.legal || c.kernel->fields.order != plan.order) continue;
        if (best == nullptr || c.cost_us < cost) best = c.kernel, cost = c.cost_us;
      }
      Problem at = p;
      at.m = m;
      if (pin_of(*plan.kernel, at, machine()).empty()) {
        ASSERT_EQ(plan.kernel, best) << problem_text(at);
      }
      ASSERT_GE(plan.cost_us, plan.floor_us * 0.999)
          << problem_text(at) << ": faster than the floor";
    }
}

TEST_P(Routes, ArePure) {
  for (const Problem& p : route_problems(machine())) {
    const Plan first = plan_at(p, 7, machine()), again = plan_at(p, 7, machine());
    ASSERT_EQ(explain_text(p, machine(), first), explain_text(p, machine(), again));
    ASSERT_EQ(first.workspace_bytes, again.workspace_bytes);
  }
}

// Where a kernel computes slower than the machine could, its cost leaves the memory floor at a
// smaller m than the floor does. Each line is a debt, to be struck when the kernel is paid for:
// what it lists may rise as m does, and no more.
struct Debt {
  KernelOp op;
  Isa isa;
  const char* why;
  friend bool operator==(const Debt& debt, const Kernel& kernel) {
    return debt.op == kernel.is.op && debt.isa == kernel.is.isa;
  }
};
constexpr const char* kPortable =
    "four lanes, and weights decoded one by one: for correctness first";
constexpr const char* kSplit = "from 9 rows on blocks share outputs and meet in memory";
constexpr const char* kFloats = "float32 without tensor cores, which would take it apart";
constexpr const char* kAssumed = "shares assumed low until they are measured: measured.inc";
constexpr Debt kDebts[] = {
    {KernelOp::qmm, Isa::cpu, kPortable},      {KernelOp::qmmn, Isa::cpu, kPortable},
    {KernelOp::mm, Isa::cpu, kPortable},       {KernelOp::qmm, Isa::avx2, kAssumed},
    {KernelOp::mm, Isa::avx2, kAssumed},       {KernelOp::qmm, Isa::avx512, kAssumed},
    {KernelOp::mm, Isa::avx512, kAssumed},     {KernelOp::qmm, Isa::avx512bf16, kAssumed},
    {KernelOp::mm, Isa::avx512bf16, kAssumed}, {KernelOp::conv, Isa::cpu, kPortable},
    {KernelOp::qmm, Isa::amx, kAssumed},       {KernelOp::qmm, Isa::avx512vnni, kAssumed},
    {KernelOp::qmm, Isa::avxvnni, kAssumed},   {KernelOp::qmm, Isa::sm80, kAssumed},
    {KernelOp::qmm, Isa::cuda, kPortable},     {KernelOp::qmmn, Isa::cuda, kPortable},
    {KernelOp::qmm, Isa::neon, kAssumed},      {KernelOp::mm, Isa::neon, kAssumed},
    {KernelOp::qmm, Isa::neondot, kAssumed},   {KernelOp::qmm, Isa::neonbf16, kAssumed},
    {KernelOp::norm, Isa::cpu, kPortable},     {KernelOp::qmm, Isa::sm90, kSplit},
    {KernelOp::mm, Isa::sm80, kFloats},        {KernelOp::qmm, Isa::avx512vbmi, kAssumed},
};

const Debt* debt_of(const Kernel& kernel) {
  const auto* debt = std::ranges::find_if(kDebts, [&](const Debt& each) { return each == kernel; });
  return debt == std::end(kDebts) ? nullptr : debt;
}

/// Kernels of a profile's routes whose cost rises faster than the floor allows. Beyond a debt it is
/// a failure.
void collect_steps(const Machine& machine, std::set<const Kernel*>& in_debt) {
  for (const Problem& p : route_problems(machine)) {
    if (p.op == KernelOp::dot) continue;
    Plan here = plan_at(p, 1, machine);
    for (std::int64_t m = 1; m < kInvariantRows; ++m) {
      Plan next = plan_at(p, m + 1, machine);
      const double slack = m % here.kernel->is.tile_m == 0 ? 1.08 : 1.03;
      const double rise = next.cost_us / here.cost_us;
      const std::string where = fmt::format("{} on {}: from m = {}, {}, to {}", problem_text(p),
                                            machine.name, m, here.kernel->name, next.kernel->name);
      if (rise > slack * next.floor_us / here.floor_us) {
        if (in_debt.insert(next.kernel).second) {
          EXPECT_NE(debt_of(*next.kernel), nullptr) << where;
        }
        ASSERT_LE(rise, slack * static_cast<double>(m + 1) / static_cast<double>(m)) << where;
      }
      here = std::move(next);
    }
  }
}

TEST(RollCallRoutes, AreStepless) {
  std::set<const Kernel*> in_debt;
  for (const char* name : kRouteMachines) collect_steps(find_machine(name), in_debt);
  for (const Debt& debt : kDebts)
    EXPECT_TRUE(std::ranges::any_of(in_debt, [&](const Kernel* kernel) { return debt == *kernel; }))
        << to_string(debt.op) << " on " << to_string(debt.isa)
        << " owes nothing any more: strike it";
}

INSTANTIATE_TEST_SUITE_P(EachProfile, Routes, ::testing::ValuesIn(kRouteMachines),
                         [](const auto& each) { return std::string(each.param); });

TEST(RollCallRoutes, EveryRowIsReachable) {
  std::set<std::string_view> chosen;
  for (const char* name : kRouteMachines)
    for (const Problem& p : route_problems(find_machine(name)))
      for (const std::int64_t m : route_rows(p))
        chosen.insert(plan_at(p, m, find_machine(name)).kernel->name);
  for (const Kernel& row : roll_call()) {
    if (chosen.contains(row.name)) {
      EXPECT_EQ(row.fields.kept, nullptr) << row.name << " is chosen: it needs no .kept";
    } else {
      EXPECT_NE(row.fields.kept, nullptr)
          << row.name << " is chosen in no golden route: say .kept = \"why\", or delete it";
    }
  }
}

// A plan serves every m of its bucket, so no row may begin or end inside one.
TEST(RollCallRoutes, RowRangesEndWithBuckets) {
  for (const Kernel& row : roll_call()) {
    const RowRange rows = row.fields.rows;
    EXPECT_TRUE(rows.least == 1 || bucket_of(rows.least - 1) == rows.least - 1) << row.name;
    EXPECT_TRUE(rows.most == kAnyRows || bucket_of(rows.most) == rows.most) << row.name;
    EXPECT_LE(rows.least, rows.most) << row.name;
  }
}

// The `any` folder accepts all of contract.md: a machine with nothing else has a kernel for every
// problem.
TEST(RollCallRoutes, PortableServesEverything) {
  const Machine& portable = find_machine("portable");
  for (const Problem& p : route_problems())
    for (const std::int64_t m : {1, 2, 64, 65, 100'000})
      EXPECT_NE(plan_at(p, m, portable).kernel, nullptr);
}

}  // namespace
}  // namespace stepless
