// The problems whose routes are golden, and how a profile's routes are written down. Three tests
// read the same data.
#pragma once
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "dispatch/explain.hpp"
#include "dispatch/row_buckets.hpp"
#include "dispatch/select.hpp"
#include "kernels/roll_call.hpp"

namespace stepless::test {

inline constexpr std::array kRouteMachines = {"portable",
                                              "desktop_avx2",
                                              "desktop_avxvnni",
                                              "server_avx512bf16",
                                              "server_avx512vnni",
                                              "xeon_avx512bf16",
                                              "xeon_amx",
                                              "aarch64",
                                              "aarch64_i8mm",
                                              "h200",
                                              "a100"};
inline constexpr std::array kFloats = {DType::f32, DType::f16, DType::bf16};
inline constexpr std::int64_t kMostRouteRows = 2048;

using Size = std::pair<std::int64_t, std::int64_t>;  // n, k

inline Problem weight_problem(KernelOp op, DType x, DType w, Size size) {
  Problem p;
  p.op = op;
  p.x_type = x, p.w_type = w;
  p.y_type = x == w || op == KernelOp::embed ? x : DType::f32;
  p.n = size.first, p.k = size.second;
  return p;
}

inline Problem packed_problem(KernelOp op, QuantSpec spec, DType x, DType w, Size size) {
  Problem p = weight_problem(op, x, w, size);
  p.quant = spec;
  if (spec.mode != Mode::affine) p.w_type = DType::u8, p.y_type = x;
  return p;
}

inline Problem dense_problem(KernelOp op, DType x, DType w, Size size) {
  Problem p = weight_problem(op, x, w, size);
  p.packed = false;
  return p;
}

inline std::vector<QuantSpec> every_spec() {
  std::vector<QuantSpec> specs;
  for (const int bits : {1, 2, 3, 4, 5, 6, 8})
    for (const int group : {32, 64, 128}) specs.push_back({Mode::affine, bits, group});
  for (const Mode mode : {Mode::mxfp4, Mode::mxfp8, Mode::nvfp4}) specs.push_back(make_spec(mode));
  return specs;
}

inline Problem of_prompt(Problem problem) {
  problem.role = Role::prompt;
  return problem;
}

inline void add_packed(std::vector<Problem>& problems) {
  const QuantSpec standard;
  for (const KernelOp op : {KernelOp::qmm, KernelOp::qmmn, KernelOp::embed})
    for (const QuantSpec& spec : every_spec())
      for (const DType x : kFloats)
        problems.push_back(packed_problem(op, spec, x, x, {4096, 4096}));
  // Sizes of the demo, of real models and of nobody: n and k one step from what tiles like.
  for (const DType x : kFloats) {
    for (const Size& size : {Size{256, 256}, Size{13824, 5120}, Size{3072, 8192},
                             Size{151936, 1024}, Size{5, 64}, Size{33, 192}})
      problems.push_back(packed_problem(KernelOp::qmm, standard, x, x, size));
    for (const DType w :
         kFloats)  // scales of another type: checkpoints run under another --act-dtype
      if (w != x) problems.push_back(packed_problem(KernelOp::qmm, standard, x, w, {4096, 4096}));
    Problem logits = packed_problem(KernelOp::qmm, standard, x, x, {151936, 1024});
    logits.y_type = DType::f32;  // a model's head
    if (x != DType::f32) problems.push_back(logits);
  }
  for (const QuantSpec& spec : every_spec())
    for (const DType x : {DType::f16, DType::bf16})
      problems.push_back(of_prompt(packed_problem(KernelOp::qmm, spec, x, x, {4096, 4096})));
  problems.push_back(
      of_prompt(packed_problem(KernelOp::qmm, standard, DType::f32, DType::f32, {4096, 4096})));
  // Groups of 32 that no row in steps of 64 takes.
  problems.push_back(
      packed_problem(KernelOp::qmm, {Mode::affine, 4, 32}, DType::bf16, DType::bf16, {4096, 4000}));
}

inline Problem row_problem(KernelOp op, DType type, std::int64_t width, std::int64_t k = 1) {
  Problem p = dense_problem(op, type, type, {width, k});
  return p;
}

inline std::vector<Problem> route_problems() {
  std::vector<Problem> problems;
  add_packed(problems);
  for (const KernelOp op : {KernelOp::mm, KernelOp::embed})
    for (const DType x : kFloats)
      for (const DType w : kFloats) problems.push_back(dense_problem(op, x, w, {4096, 4096}));
  for (const Size& size : {Size{5, 33}, Size{151936, 1024}})
    for (const DType x : kFloats) problems.push_back(dense_problem(KernelOp::mm, x, x, size));
  for (const DType x : kFloats)
    problems.push_back(of_prompt(dense_problem(KernelOp::mm, x, x, {4096, 4096})));
  for (const DType type : {DType::f32, DType::f16, DType::bf16, DType::complex64})
    for (const std::int64_t k : {4096, 50'000'000})
      problems.push_back(row_problem(KernelOp::dot, type, 1, k));
  for (const DType type : kFloats) {
    problems.push_back(row_problem(KernelOp::attn, type, 2048, 1024));
    Problem prompt = problems.back();
    prompt.role = Role::prompt, prompt.head = 128;
    problems.push_back(prompt);
    for (const int bits : {4, 8})
      for (const KernelOp op : {KernelOp::attn, KernelOp::kvpack}) {
        Problem cached = row_problem(op, type, 2048, op == KernelOp::attn ? 1024 : 1);
        cached.packed = true;
        cached.quant = {Mode::affine, bits, 64};
        problems.push_back(cached);
        cached.role = Role::prompt, cached.head = 128;
        if (op == KernelOp::attn) problems.push_back(cached);
      }
    for (const KernelOp op : {KernelOp::norm, KernelOp::rope, KernelOp::kvput, KernelOp::glu,
                              KernelOp::add, KernelOp::take, KernelOp::combine, KernelOp::split})
      problems.push_back(row_problem(op, type, 4096));
    problems.push_back(row_problem(KernelOp::conv, type, 8192, 4));
  }
  problems.push_back(row_problem(KernelOp::delta, DType::f32, 4096, 128));
  problems.push_back(row_problem(KernelOp::angles, DType::f32, 128));
  problems.push_back(row_problem(KernelOp::route, DType::f32, 128));
  problems.push_back(row_problem(KernelOp::sample, DType::f32, 151936));
  std::erase_if(problems, [](const Problem& p) {  // ops whose first row is still to come
    return std::ranges::none_of(roll_call(), [&](const Kernel& row) { return row.is.op == p.op; });
  });
  return problems;
}

/// Those whose op has a row for this machine at all: a GPU's ops come one by one.
inline std::vector<Problem> route_problems(const Machine& machine) {
  std::vector<Problem> problems = route_problems();
  std::erase_if(problems, [&](const Problem& p) {
    return std::ranges::none_of(roll_call(), [&](const Kernel& row) {
      return row.is.op == p.op && machine.has(row.is.isa);
    });
  });
  return problems;
}

/// The m whose routes are looked at: every one that callers have one by one, then each bucket. A
/// dot has no rows.
inline std::vector<std::int64_t> route_rows(const Problem& p) {
  std::vector<std::int64_t> rows = {1};
  if (p.op == KernelOp::dot) return rows;
  while (rows.back() < kMostRouteRows)
    rows.push_back(rows.back() < kInvariantRows ? rows.back() + 1 : bucket_of(rows.back() + 1));
  return rows;
}

inline Plan plan_at(Problem p, std::int64_t m, const Machine& machine) {
  p.m = m;
  return select(p, machine);
}

/// A line per problem and run of m with one kernel.
inline std::string routes_text(const Machine& machine) {
  std::string text = fmt::format(
      "# Routes on {}: a line per problem and run of m with one kernel. Made by tools/routes "
      "--update.\n",
      machine.name);
  const auto line = [&](const Problem& p, std::int64_t first, std::int64_t last, const Plan& plan) {
    const std::string rows =
        first == last ? fmt::format("m={}", first) : fmt::format("m={}..{}", first, last);
    text += fmt::format("{}{}  n={} k={}  {}  {}  order {}  splits {}\n", format_text(p),
                        p.role == Role::prompt ? " prompt" : "", p.n, p.k, rows, plan.kernel->name,
                        to_string(plan.order), plan.splits);
  };
  for (const Problem& p : route_problems(machine)) {
    const std::vector<std::int64_t> rows = route_rows(p);
    Plan run = plan_at(p, 1, machine);
    std::int64_t first = 1, last = 1;
    for (const std::int64_t m : rows) {
      Plan plan = plan_at(p, m, machine);
      if (plan.kernel != run.kernel || plan.order != run.order || plan.splits != run.splits) {
        line(p, first, last, run);
        first = last + 1;
        run = std::move(plan);
      }
      last = m;
    }
    line(p, first, last, run);
  }
  return text;
}

}  // namespace stepless::test
