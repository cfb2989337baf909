// Every part has a plan for every number of rows, equal problems share it, wishes reach it.
#include "ops/plan_program.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "dispatch/row_buckets.hpp"
#include "kernels/roll_call.hpp"
#include "ops/fuse.hpp"
#include "tests/ops/toy_program.hpp"
#include "tests/ops/toy_run.hpp"
#include "tests/support/throws.hpp"

namespace stepless::test {
namespace {

Program toy(std::int64_t rows, std::optional<QuantSpec> spec = QuantSpec{Mode::affine, 4, 32}) {
  static std::vector<std::unique_ptr<ToyWeights>> alive;
  alive.push_back(std::make_unique<ToyWeights>(DType::bf16, spec));
  return place(fuse(toy_decoder(*alive.back(), DType::bf16)), rows, rows);
}

TEST(PlanProgram, EveryPartHasAPlanForEveryBucket) {
  for (const std::int64_t rows : {1, 2, 16, 17, 100, 256}) {
    Program program = toy(rows);
    plan_program(program, this_machine(1), {});
    EXPECT_EQ(program.buckets.front(), 1);
    EXPECT_GE(program.buckets.back(), rows);
    EXPECT_TRUE(std::is_sorted(program.buckets.begin(), program.buckets.end()));
    for (const Node& node : program.nodes) {
      const auto* linear = std::get_if<LinearOp>(&node.op);
      ASSERT_EQ(node.plans.size(), linear == nullptr ? 1 : linear->parts.size()) << node.name;
      for (std::size_t part = 0; part < node.plans.size(); ++part) {
        ASSERT_EQ(node.plans[part].size(), linear == nullptr ? 1 : program.buckets.size());
        for (std::int64_t m = 1; m <= rows; ++m) {
          const Plan& plan = plan_for(program, node, part, m);
          ASSERT_NE(plan.kernel, nullptr) << node.name;
          const Problem problem = problem_of(program, node, part, m);
          EXPECT_EQ(why_not(*plan.kernel, problem, this_machine(1)), "") << node.name;
          EXPECT_GE(plan.workspace_bytes, workspace_bytes(*plan.kernel, problem)) << node.name;
          EXPECT_GE(workspace_bytes(program), plan.workspace_bytes);
        }
      }
    }
  }
}

TEST(PlanProgram, APlanIsThatOfItsBucket) {
  Program program = toy(100);
  const Machine machine = this_machine(1);
  plan_program(program, machine, {});
  for (const Node& node : program.nodes) {
    if (!std::holds_alternative<LinearOp>(node.op)) continue;
    for (std::int64_t m = 1; m <= 100; ++m) {
      const Plan want = select(problem_of(program, node, 0, bucket_of(m)), machine, {});
      const Plan& got = plan_for(program, node, 0, m);
      ASSERT_EQ(got.kernel, want.kernel) << node.name << ", " << m;
      EXPECT_EQ(got.order, want.order);
      EXPECT_EQ(got.cost_us, want.cost_us);
    }
  }
}

TEST(PlanProgram, EqualProblemsShareOnePlan) {
  Program program = toy(20);
  plan_program(program, this_machine(1), {});
  std::map<std::string, std::set<const Plan*>> by_name;
  std::set<const Plan*> all;
  for (const Node& node : program.nodes) {
    if (node.layer < 0) continue;
    for (const auto& plans : node.plans)
      for (const PlanPtr& plan : plans) {
        by_name[node.name].insert(plan.get());
        all.insert(plan.get());
      }
  }
  // q is 64 rows, k and v 32: two plans a bucket over both layers.
  EXPECT_EQ(by_name["attn.q+k+v"].size(), 2 * program.buckets.size());
  EXPECT_EQ(by_name["mlp.gate+up"].size(), program.buckets.size());
  EXPECT_EQ(by_name["attn"].size(), 1u);
  EXPECT_EQ(by_name["attn.o"], [&] {
    std::set<const Plan*> q;
    for (const Node& node : program.nodes)
      if (node.name == "attn.q+k+v")
        for (const PlanPtr& plan : node.plans[0]) q.insert(plan.get());
    return q;
  }()) << "64 x 64 as q";
}

TEST(PlanProgram, WishesReachTheMatmulsTheyConcern) {
  Program program = toy(8);
  Overrides wishes;
  wishes.max_isa = Isa::cpu;
  plan_program(program, this_machine(1), wishes);
  const Kernel* portable = nullptr;
  for (const Node& node : program.nodes)
    for (const auto& plans : node.plans)
      for (const PlanPtr& plan : plans) {
        EXPECT_EQ(plan->kernel->is.isa, Isa::cpu) << plan->kernel->name;
        if (std::holds_alternative<LinearOp>(node.op)) portable = plan->kernel;
      }
  ASSERT_NE(portable, nullptr);
  Program wished = toy(8);
  Overrides one;
  one.kernel = std::string(portable->name);
  plan_program(wished, this_machine(1), one);
  for (const Node& node : wished.nodes)
    if (std::holds_alternative<LinearOp>(node.op)) {
      EXPECT_EQ(plan_for(wished, node, 0, 3).kernel, portable);
    }
  one.kernel = "qmm_of_nobody";
  expect_error(ErrorCode::invalid_argument, "qmm_of_nobody",
               [&] { plan_program(wished, this_machine(1), one); });
}

}  // namespace
}  // namespace stepless::test
