// The arena: values alive at the same time never share bytes, whatever the program.
#include "ops/place.hpp"

#include <gtest/gtest.h>

#include <set>

#include "ops/fuse.hpp"
#include "ops/joins.hpp"
#include "tests/ops/toy_program.hpp"
#include "tests/support/throws.hpp"

namespace stepless::test {
namespace {

struct Span {
  std::int64_t first = -1, last = -1, begin = 0, end = 0;
};

/// When each value lives and which bytes it has, told anew from the nodes.
std::vector<Span> spans_of(Program& program) {
  std::vector<Span> spans(program.values.size());
  for (std::size_t i = 0; i < program.nodes.size(); ++i)
    visit_values(program.nodes[i].op, [&](ValueId id, bool) {
      Span& span = spans[static_cast<std::size_t>(id)];
      if (span.first < 0) span.first = static_cast<std::int64_t>(i);
      span.last = static_cast<std::int64_t>(i);
    });
  for (std::size_t i = 0; i < spans.size(); ++i) {
    const Value& value = program.values[i];
    const std::int64_t rows = value.rows == Rows::step ? program.max_rows : program.max_sampled;
    spans[i].begin = value.offset;
    spans[i].end = value.offset + value.width * size_of(value.type) * rows;
  }
  return spans;
}

/// Returns the bytes that an arena without reuse would take.
std::int64_t check_placed(Program& program) {
  const std::vector<Span> spans = spans_of(program);
  std::int64_t most = 0, sum = 0;
  for (std::size_t i = 0; i < spans.size(); ++i) {
    if (spans[i].first < 0) continue;
    EXPECT_GE(spans[i].begin, 0) << program.values[i].name;
    EXPECT_EQ(spans[i].begin % 64, 0) << program.values[i].name;
    most = std::max(most, spans[i].end);
    sum += (spans[i].end - spans[i].begin + 63) / 64 * 64;
    for (std::size_t j = 0; j < i; ++j) {
      if (spans[j].first < 0) continue;
      const bool together = spans[i].first <= spans[j].last && spans[j].first <= spans[i].last;
      const bool overlap = spans[i].begin < spans[j].end && spans[j].begin < spans[i].end;
      EXPECT_FALSE(together && overlap)
          << program.values[i].name << " and " << program.values[j].name;
    }
  }
  EXPECT_GE(program.arena_bytes, most);
  EXPECT_LT(program.arena_bytes - most, 64) << "no more than what is used, rounded up";
  return sum;
}

TEST(Place, TheToyDecoder) {
  for (const DType act : {DType::f32, DType::bf16})
    for (const std::int64_t rows : {1, 7, 64, 256}) {
      ToyWeights weights(DType::f32);
      Program program = place(fuse(toy_decoder(weights, act, Mlp::mixture)), rows,
                              std::min<std::int64_t>(rows, 5));
      EXPECT_EQ(program.max_rows, rows);
      EXPECT_EQ(program.max_sampled, std::min<std::int64_t>(rows, 5));
      EXPECT_LT(program.arena_bytes, check_placed(program) / 2) << "bytes are used again";
    }
}

/// Blocks of one launch may still read the first operation's input when others write the last one's
/// result.
TEST(Place, WhatOneLaunchMayServeLiesApart) {
  for (const Mlp mlp : {Mlp::gated, Mlp::mixture}) {
    ToyWeights weights(DType::f32);
    Program program = place(fuse(toy_decoder(weights, DType::bf16, mlp)), 64, 5);
    const std::vector<Span> spans = spans_of(program);
    const std::vector<Join> joins = joins_of(program);
    std::set<Join> seen;
    for (std::size_t at = 0; at < joins.size(); ++at) {
      std::set<ValueId> touched;
      for (std::size_t i = at; i < at + nodes_of(joins[at]); ++i)
        visit_values(program.nodes[i].op, [&](ValueId id, bool) { touched.insert(id); });
      seen.insert(joins[at]);
      for (const ValueId a : touched)
        for (const ValueId b : touched) {
          const Span &one = spans[static_cast<std::size_t>(a)],
                     &other = spans[static_cast<std::size_t>(b)];
          EXPECT_TRUE(a == b || one.end <= other.begin || other.end <= one.begin)
              << program.nodes[at].name << ": " << program.values[static_cast<std::size_t>(a)].name
              << " and " << program.values[static_cast<std::size_t>(b)].name;
        }
    }
    EXPECT_TRUE(seen.contains(Join::gate));
    // What chooses experts reads the norm as well.
    EXPECT_TRUE(seen.contains(mlp == Mlp::gated ? Join::feed_forward : Join::norm_sum));
    EXPECT_TRUE(seen.contains(Join::attend_turned));
    EXPECT_TRUE(seen.contains(Join::attended_product));
    EXPECT_EQ(seen.contains(Join::taken_product), mlp == Mlp::mixture) << "elsewhere one is scaled";
  }
}

/// Values read at any distance by operations of one or two inputs.
Program random_program(std::uint64_t seed) {
  Random random(seed);
  Program program;
  const std::int64_t nodes = 3 + random.below(40);
  for (std::int64_t i = 0; i < nodes; ++i) {
    const auto y = static_cast<ValueId>(program.values.size());
    const auto any = [&] { return static_cast<ValueId>(random.below(y)); };
    const DType types[] = {DType::f32, DType::f16, DType::bf16};
    program.values.push_back({"v" + std::to_string(y), 1 + random.below(300),
                              types[random.below(3)],
                              random.below(4) == 0 ? Rows::sampled : Rows::step});
    Op op = EmbedOp{0, y};
    if (y > 0 && random.below(3) == 0) op = NormOp{any(), y, 0, 1, 0, 0};
    if (y > 0 && random.below(3) == 0)
      op = AddOp{any(), random.below(2) == 0 ? kNone : any(), y, kNone, 1, 1, 0};
    if (y > 1 && random.below(4) == 0) {
      program.values.push_back({"w" + std::to_string(y), 1 + random.below(300)});
      op = LinearOp{any(), {{0, y}, {0, y + 1}}};
    }
    program.nodes.push_back({"n" + std::to_string(i), -1, op, {}});
  }
  return program;
}

TEST(Place, RandomPrograms) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Random random(seed + 1000);
    const std::int64_t rows = 1 + random.below(50);
    Program program = place(random_program(seed), rows, 1 + random.below(rows));
    check_placed(program);
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
}

TEST(Place, ValuesThatNobodyTouchesGetNoBytes) {
  Program program = random_program(1);
  program.values.push_back({"unused", 1 << 20});
  program = place(std::move(program), 4, 4);
  EXPECT_EQ(program.values.back().offset, kNone);
  EXPECT_LT(program.arena_bytes, 4 << 20);
}

TEST(Place, OverflowIsAnError) {
  for (const std::int64_t rows : {std::int64_t{1} << 55, INT64_MAX})
    expect_error(ErrorCode::exhausted, "step", [&] { place(random_program(3), rows, 1); });
}

}  // namespace
}  // namespace stepless::test
