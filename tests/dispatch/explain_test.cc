// The block of `stepless explain`: layout of conventions.md, section 4, and that it prints the plan
// it is given.
#include "dispatch/explain.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "dispatch/cost.hpp"
#include "tests/dispatch/route_problems.hpp"

namespace stepless {
namespace {
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

Problem big() {
  Problem p = test::packed_problem(KernelOp::qmm, {}, DType::bf16, DType::bf16, {13824, 5120});
  p.m = 4;
  return p;
}

TEST(Explain, HasTheLayoutOfTheConventions) {
  const Machine& machine = find_machine("server_avx512bf16");
  const Plan plan = select(big(), machine);
  const std::vector<std::string> lines = lines_of(explain_text(big(), machine, plan));
  ASSERT_EQ(lines.size(), 6 + plan.candidates.size());
  EXPECT_EQ(
      lines[0],
      "problem   y(4,13824) = x(4,5120) · wᵀ   qmm affine b4 g64   x bf16, scales bf16 → y bf16");
  EXPECT_THAT(
      lines[1],
      StartsWith("machine   server_avx512bf16, 1 thread   read 31.6 GB/s, bf16 234 GFLOP/s   ("));
  EXPECT_EQ(lines[2],
            "bytes     weights 39.81 MB + x 0.04 MB + y 0.11 MB = 39.96 MB   order avx512_bf16, "
            "splits 1, for every m");
  EXPECT_EQ(lines[3], "floor     2.420 ms   bound by arithmetic, 0.57 GFLOP (memory 1.265 ms)");
  EXPECT_THAT(lines[4], HasSubstr("predicted  % floor  why"));
  EXPECT_THAT(lines[5], StartsWith("* " + std::string(plan.kernel->name)));
  EXPECT_THAT(lines[5], HasSubstr("chosen; layout mapped"));
  EXPECT_EQ(lines.back(), "measured  –");
}

TEST(Explain, SaysWhyEachLoserLost) {
  const Machine& machine = find_machine("server_avx512bf16");
  const Plan plan = select(big(), machine);
  const std::string text = explain_text(big(), machine, plan);
  for (const Candidate& c : plan.candidates) {
    EXPECT_FALSE(c.why.empty()) << c.kernel->name;
    EXPECT_THAT(text, HasSubstr(std::string(c.kernel->name)));
    EXPECT_THAT(text, HasSubstr(c.why));
    const char* begin = c.kernel == plan.kernel                ? "chosen"
                        : !c.legal                             ? "not allowed: "
                        : c.kernel->fields.order != plan.order ? "another order: "
                                                               : "";
    EXPECT_THAT(c.why, StartsWith(begin));
  }
}

TEST(Explain, MemoryBoundProblemsSaySo) {
  Problem p = big();
  p.m = 1;
  const Machine& machine = find_machine("server_avx512bf16");
  EXPECT_THAT(explain_text(p, machine, select(p, machine)),
              HasSubstr("bound by memory (arithmetic 604.95 us"));
}

TEST(Explain, NamesEveryFormatOnce) {
  std::set<std::string> seen;
  for (const Problem& p : test::route_problems())
    EXPECT_TRUE(seen.insert(problem_text(p)).second)
        << problem_text(p) << " stands for two problems";
  EXPECT_EQ(format_text(big()), "qmm affine b4 g64 bf16");
  Problem mixed = test::packed_problem(KernelOp::qmm, {}, DType::bf16, DType::f32, {64, 64});
  EXPECT_EQ(problem_text(mixed), "qmm affine b4 g64 bf16 w f32 y f32  m=1 n=64 k=64");
}

TEST(Explain, EveryProblemHasATextAndAnObject) {
  const Machine machine = with_threads(find_machine("desktop_avx2"), 2);
  for (const Problem& p : test::route_problems()) {
    const Plan plan = select(p, machine);
    EXPECT_THAT(explain_text(p, machine, plan), HasSubstr("2 threads"));
    const OrderedJson json = explain_json(p, machine, plan);
    EXPECT_EQ(json.at("kernel"), plan.kernel->name);
    EXPECT_EQ(json.at("predicted_us"), plan.cost_us);
    EXPECT_EQ(json.at("floor_us"), plan.floor_us);
    EXPECT_TRUE(json.at("measured_us").is_null());
    EXPECT_EQ(json.at("candidates").size(), plan.candidates.size());
    EXPECT_EQ(json.at("candidates").at(0).at("kernel"), plan.kernel->name);
    for (const auto& row : json.at("candidates"))
      EXPECT_EQ(row.at("predicted_us").is_null(), !row.at("legal"));
  }
}

TEST(Explain, ACpuOfAnotherNameTellsItsProfile) {
  Machine machine = find_machine("desktop_avx2");
  machine.name = "Some CPU";
  EXPECT_THAT(
      explain_text(big(), machine, select(big(), machine)),
      HasSubstr(
          "machine   Some CPU, 1 thread   read 20.0 GB/s, int16 165 GFLOP/s   (desktop_avx2: "));
}

}  // namespace
}  // namespace stepless
