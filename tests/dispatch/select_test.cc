// select(): legality in words, wishes of the user, workspace. What it chooses is routes_test's
// subject.
#include "dispatch/select.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dispatch/explain.hpp"
#include "dispatch/legal.hpp"
#include "dispatch/order.hpp"
#include "dispatch/row_buckets.hpp"
#include "kernels/roll_call.hpp"
#include "stepless/error.hpp"
#include "tests/dispatch/route_problems.hpp"

namespace stepless {
namespace {
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Problem qmm(DType x = DType::bf16) {
  return test::packed_problem(KernelOp::qmm, {}, x, x, {4096, 4096});
}

const Machine& zen4() { return find_machine("server_avx512bf16"); }

Overrides up_to(Isa isa) {
  Overrides wishes;
  wishes.max_isa = isa;
  return wishes;
}

template <class F>
std::string message_of(ErrorCode code, F&& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

TEST(ChooseOrder, PassesOverBf16DotsThatAreSlowerThanFma) {
  Machine xeon = find_machine("xeon_avx512bf16");
  const Problem packed = qmm(),
                dense = test::dense_problem(KernelOp::mm, DType::bf16, DType::bf16, {4096, 4096});
  EXPECT_EQ(choose_order(packed, xeon), Order::avx512_i16);
  EXPECT_EQ(choose_order(dense, xeon), Order::avx512_f32);
  xeon.bf16_gflops = xeon.f32_gflops;
  EXPECT_EQ(choose_order(packed, xeon), Order::avx512_bf16);
  EXPECT_EQ(choose_order(dense, xeon), Order::avx512_bf16);
}

/// A row made up for a test of legality; never entered in the roll call.
Kernel made_up(KernelFields fields) {
  KernelName name;
  name.mode = Mode::affine, name.bits = 4, name.act = DType::bf16, name.isa = Isa::avx512bf16;
  return {"made_up", name, fields, nullptr};
}

TEST(WhyNot, NamesTheFirstReason) {
  const Kernel row = made_up(
      {.rows = {2, 8}, .n_multiple = 16, .k_multiple = 64, .groups = kG64, .w_types = kTypeBf16});
  Problem p = qmm();
  p.m = 4;
  EXPECT_THAT(why_not(row, p, zen4()), IsEmpty());
  const auto reason = [&](auto change) {
    Problem other = p;
    change(other);
    return why_not(row, other, zen4());
  };
  EXPECT_EQ(reason([](Problem& o) { o.op = KernelOp::qmmn; }), "computes qmm, not qmmn");
  EXPECT_EQ(reason([](Problem& o) { o.quant = {Mode::mxfp4, 4, 32}; }), "reads affine, not mxfp4");
  EXPECT_EQ(reason([](Problem& o) { o.quant.bits = 3; }), "reads 4 bits, not 3");
  EXPECT_EQ(reason([](Problem& o) { o.quant.group_size = 32; }), "groups of 64, not 32");
  EXPECT_EQ(reason([](Problem& o) { o.x_type = DType::f16; }), "takes bf16, not f16");
  EXPECT_EQ(reason([](Problem& o) { o.w_type = DType::f32; }), "scales of bf16, not f32");
  EXPECT_EQ(reason([](Problem& o) { o.n = 4097; }), "n = 4097 is no multiple of 16");
  EXPECT_EQ(reason([](Problem& o) { o.k = 4128; }), "k = 4128 is no multiple of 64");
  EXPECT_EQ(reason([](Problem& o) { o.m = 1; }), "at least 2 rows, not 1");
  EXPECT_EQ(reason([](Problem& o) { o.m = 9; }), "at most 8 rows, not 9");
  EXPECT_EQ(reason([](Problem& o) { o.packed = false; }), "reads affine weights only");
  EXPECT_EQ(why_not(row, p, find_machine("desktop_avx2")), "desktop_avx2 has no avx512bf16");
}

// n and k at a row's multiple are its own; one beside is not.
TEST(WhyNot, MultiplesAreExact) {
  for (const int multiple : {2, 16, 64}) {
    const Kernel row = made_up({.n_multiple = multiple, .k_multiple = multiple});
    for (const int off : {-1, 0, 1}) {
      Problem n = qmm(), k = qmm();
      n.n = 4096 + off, k.k = 4096 + off;
      EXPECT_EQ(why_not(row, n, zen4()).empty(), off == 0) << multiple << ", " << off;
      EXPECT_EQ(why_not(row, k, zen4()).empty(), off == 0) << multiple << ", " << off;
    }
  }
}

TEST(WhyNot, ScaleTypesMatterInAffineModeOnly) {
  Kernel row = made_up({.w_types = kTypeF32});
  row.is.mode.reset(), row.is.bits = 0;
  Problem p = qmm();
  EXPECT_EQ(why_not(row, p, zen4()), "scales of f32, not bf16");
  p = test::packed_problem(KernelOp::qmm, make_spec(Mode::mxfp4), DType::bf16, DType::bf16,
                           {64, 64});
  EXPECT_EQ(why_not(row, p, zen4()), "");
}

TEST(WhyNot, ResultTypesMayBeFew) {
  const Kernel row = made_up({.y_types = kTypeBf16});
  Problem p = qmm();
  p.y_type = DType::bf16;
  EXPECT_EQ(why_not(row, p, zen4()), "");
  p.y_type = DType::f32;
  EXPECT_EQ(why_not(row, p, zen4()), "gives bf16, not f32");
}

TEST(WhyNot, ComplexIsForDotProducts) {
  Kernel row = made_up({});
  row.is.act.reset(), row.is.mode.reset(), row.is.bits = 0;
  row.is.op = KernelOp::dot;
  Problem p = test::row_problem(KernelOp::dot, DType::complex64, 1, 100);
  EXPECT_EQ(why_not(row, p, zen4()), "");
  row.is.op = p.op = KernelOp::norm;
  EXPECT_EQ(why_not(row, p, zen4()), "takes f32, f16, bf16, not complex64");
}

TEST(Order, IsKnownForEveryOrderOfTheRollCall) {
  for (const Kernel& row : roll_call())
    EXPECT_TRUE(std::ranges::find(order_preference(), row.fields.order) != order_preference().end())
        << row.name << ": order.cc does not list " << to_string(row.fields.order);
}

/// Of x, scales and y.
class OrderOfPrompts : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Types, OrderOfPrompts, testing::Values(DType::bf16, DType::f16));

TEST_P(OrderOfPrompts, IsTheirOwnOnHopperWhateverTheirCount) {
  Problem p;
  p.n = p.k = 4096, p.x_type = p.w_type = GetParam();
  for (const std::int64_t m : {1, 64, 65, 2048}) {
    p.m = m;
    for (const char* name : {"h200", "a100", "server_avx512bf16", "desktop_avx2"}) {
      const Machine& machine = find_machine(name);
      p.role = Role::decode, p.y_type = GetParam();
      const Order order = select(p, machine, {}).order;
      EXPECT_NE(order, Order::wgmma_rounded) << name << ", m " << m;
      p.role = Role::prompt;
      EXPECT_EQ(select(p, machine, {}).order, machine.has(Isa::sm90) ? Order::wgmma_rounded : order)
          << name << ", m " << m;
      p.y_type = DType::f32;  // logits and residuals in float32 keep the order of all rows
      EXPECT_NE(select(p, machine, {}).order, Order::wgmma_rounded) << name << ", m " << m;
    }
  }
}

TEST(Order, PromptRowsAreAttendedToInOneOfTheirOwnOnHopper) {
  Problem p;
  p.op = KernelOp::attn, p.packed = false, p.x_type = p.y_type = p.w_type = DType::bf16;
  p.m = 64, p.n = 3072, p.k = 1024;
  for (const std::int64_t head : {64, 80, 128, 256}) {
    p.head = head, p.role = Role::decode;
    EXPECT_EQ(select(p, find_machine("h200"), {}).order, Order::mma_pages) << head;
    p.role = Role::prompt;
    EXPECT_EQ(select(p, find_machine("h200"), {}).order,
              head == 64 || head == 128 ? Order::wgmma_pages : Order::mma_pages)
        << head;
    EXPECT_EQ(select(p, find_machine("a100"), {}).order, Order::mma_pages) << head;
  }
  p.packed = true;  // packed pages beside plain ones of bf16 as well; of f16 decode rows' order
  for (const int bits : {4, 8})
    for (const std::int64_t head : {64, 128, 256}) {
      p.quant = {Mode::affine, bits, 64}, p.head = head;
      p.x_type = p.y_type = p.w_type = DType::bf16;
      EXPECT_EQ(select(p, find_machine("h200"), {}).order,
                head == 256 ? Order::mma_packed : Order::wgmma_pages)
          << bits << " bits, " << head;
      EXPECT_EQ(select(p, find_machine("a100"), {}).order, Order::mma_packed) << head;
      p.x_type = p.y_type = p.w_type = DType::f16;
      EXPECT_EQ(select(p, find_machine("h200"), {}).order, Order::mma_packed) << head;
    }
}

TEST(Select, RefusesRowsBelowOne) {
  Problem p = qmm();
  p.m = 0;
  EXPECT_THAT(message_of(ErrorCode::invalid_argument, [&] { select(p, zen4()); }),
              HasSubstr("m = 0; expected 1"));
}

TEST(Select, SaysWhenNothingServesAProblem) {
  Problem p = qmm();
  p.x_type = DType::i32;
  EXPECT_THAT(message_of(ErrorCode::unsupported, [&] { select(p, zen4()); }),
              HasSubstr("no kernel"));
}

TEST(Select, MaxIsaTakesTheWiderOnesAway) {
  for (const Isa limit : zen4().isas) {
    const Plan plan = select(qmm(), zen4(), up_to(limit));
    EXPECT_LE(plan.kernel->is.isa, limit);
  }
  const Plan portable = select(qmm(), zen4(), up_to(Isa::cpu));
  EXPECT_EQ(portable.kernel->is.isa, Isa::cpu);
  for (const Candidate& c : portable.candidates)
    if (c.kernel->is.isa != Isa::cpu) {
      EXPECT_THAT(c.why, HasSubstr("not allowed: server_avx512bf16 up to cpu has no"));
    }
  EXPECT_THAT(message_of(ErrorCode::invalid_argument,
                         [] { select(qmm(), find_machine("desktop_avx2"), up_to(Isa::avx512)); }),
              HasSubstr("max-isa: avx512 is not on desktop_avx2; it has cpu, avx2"));
  EXPECT_THAT(
      message_of(ErrorCode::invalid_argument, [] { select(qmm(), zen4(), up_to(Isa::neon)); }),
      HasSubstr("max-isa: neon is not on"));
}

TEST(Select, FastInt8IsTakenOnlyWhenAskedFor) {
  Overrides int8;
  int8.fast_int8 = true;
  for (const std::string_view name : {"desktop_avx2", "server_avx512bf16", "xeon_avx512bf16"})
    for (const std::int64_t m : {1, 13, 64, 512}) {
      Problem p = qmm();
      p.m = m;
      const Machine& machine = find_machine(name);
      const Plan plan = select(p, machine, int8), exact = select(p, machine);
      EXPECT_EQ(plan.order, Order::int8_groups) << name << ", m " << m;
      EXPECT_EQ(plan.kernel->is.isa, name == "desktop_avx2" ? Isa::avx2 : Isa::avx512vnni);
      EXPECT_LE(plan.floor_us, exact.floor_us);
      EXPECT_NE(exact.order, Order::int8_groups);
      for (const Candidate& c : exact.candidates)
        EXPECT_FALSE(c.legal && c.kernel->fields.order == Order::int8_groups) << c.kernel->name;
      Overrides wish;
      wish.kernel = plan.kernel->name;
      EXPECT_THAT(message_of(ErrorCode::invalid_argument, [&] { select(p, machine, wish); }),
                  HasSubstr("8-bit activations need --fast-int8"));
    }
}

TEST(Select, WhatHasNoRowOfEightBitsStaysExact) {
  Overrides int8;
  int8.fast_int8 = true;
  Problem dense = qmm();
  dense.op = KernelOp::mm, dense.packed = false;
  Problem mxfp8 = qmm();
  mxfp8.quant = make_spec(Mode::mxfp8), mxfp8.w_type = DType::u8;
  for (const Problem& p : {dense, mxfp8})
    EXPECT_EQ(select(p, zen4(), int8).order, select(p, zen4()).order);
  for (const std::string_view name : {"portable", "aarch64", "h200"})
    EXPECT_THAT(
        message_of(ErrorCode::invalid_argument, [&] { select(qmm(), find_machine(name), int8); }),
        HasSubstr(fmt::format("fast-int8: no kernel computes with 8-bit activations on {}", name)));
  int8.max_isa = Isa::cpu;
  EXPECT_THAT(message_of(ErrorCode::invalid_argument, [&] { select(qmm(), zen4(), int8); }),
              HasSubstr("on server_avx512bf16 up to cpu"));
}

TEST(Select, AWishedKernelIsTakenOrRefusedWithItsReason) {
  const Plan free = select(qmm(), zen4());
  Overrides wish;
  for (const Candidate& c : free.candidates) {
    wish.kernel = c.kernel->name;
    if (!c.legal) {
      const std::string message =
          message_of(ErrorCode::invalid_argument, [&] { select(qmm(), zen4(), wish); });
      EXPECT_THAT(message, HasSubstr(wish.kernel));
      EXPECT_THAT("not allowed: " + message.substr(message.rfind(": ") + 2), c.why);
      continue;
    }
    const Plan plan = select(qmm(), zen4(), wish);
    EXPECT_EQ(plan.kernel, c.kernel);
    EXPECT_EQ(plan.order, c.kernel->fields.order);
    EXPECT_EQ(plan.warning.empty(), plan.order == free.order) << plan.warning;
    if (plan.order != free.order) {
      EXPECT_THAT(plan.warning, HasSubstr("row invariance is off"));
      EXPECT_THAT(explain_text(qmm(), zen4(), plan), HasSubstr("row invariance is off"));
    }
  }
  wish.kernel = "qmm_affine_b4_bf16_m8n2_nothing";
  EXPECT_THAT(message_of(ErrorCode::invalid_argument, [&] { select(qmm(), zen4(), wish); }),
              HasSubstr("not in the roll call"));
  wish.kernel = "take_fany_r1_cpu";
  EXPECT_THAT(message_of(ErrorCode::invalid_argument, [&] { select(qmm(), zen4(), wish); }),
              HasSubstr("computes take, not qmm"));
}

// rows * (per_k * padded k + per_32k * padded k / 32), k up to a multiple of 128.
TEST(Workspace, FollowsTheRowsRule) {
  const Kernel row = made_up({.workspace = {.per_k = 2, .per_32k = 4}});
  Problem p = qmm();
  p.m = 3;
  for (const auto& [k, padded] : {std::pair{64, 128}, std::pair{128, 128}, std::pair{192, 256}}) {
    p.k = k;
    EXPECT_EQ(workspace_bytes(row, p), 3 * (2 * padded + 4 * padded / 32));
  }
  EXPECT_EQ(workspace_bytes(made_up({}), p), 0);
  p.m = std::int64_t{1} << 60;
  EXPECT_THAT(message_of(ErrorCode::exhausted, [&] { workspace_bytes(row, p); }),
              HasSubstr("workspace"));
}

TEST(Workspace, OfADotHoldsAPairPerBlock) {
  Kernel row = made_up({});
  row.is.op = KernelOp::dot;
  for (const auto& [k, blocks] :
       {std::pair<std::int64_t, std::int64_t>{0, 0}, {1, 1}, {65536, 1}, {65537, 2}})
    EXPECT_EQ(workspace_bytes(row, test::row_problem(KernelOp::dot, DType::f32, 1, k)),
              blocks * 16);
}

TEST(RowBuckets, AreExactTo16ThenGrow) {
  for (std::int64_t m = 1; m <= 16; ++m) EXPECT_EQ(bucket_of(m), m);
  std::vector<std::int64_t> buckets;
  for (std::int64_t m = 17; m <= 300; ++m)
    if (buckets.empty() || buckets.back() != bucket_of(m)) buckets.push_back(bucket_of(m));
  EXPECT_EQ(buckets, (std::vector<std::int64_t>{24, 32, 48, 64, 128, 256, 512}));
  for (std::int64_t m = 1; m < 5000; ++m) {
    EXPECT_GE(bucket_of(m), m);
    EXPECT_EQ(bucket_of(bucket_of(m)), bucket_of(m));
    EXPECT_LE(bucket_of(m), bucket_of(m + 1));
  }
  EXPECT_GE(bucket_of(INT64_MAX), INT64_MAX);
}

}  // namespace
}  // namespace stepless
