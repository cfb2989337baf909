// Operations with state in a program: what the Builder makes of them, and that drafts which are
// rejected leave no trace in what follows.
#include <gtest/gtest.h>

#include "ops/fuse.hpp"
#include "tests/ops/toy_program.hpp"
#include "tests/ops/toy_run.hpp"
#include "tests/support/throws.hpp"

namespace stepless::test {
namespace {

using Tokens = std::vector<std::int32_t>;
const Tokens kTokens = {3, 1, 4, 1, 5, 9, 2, 6, 49, 0, 7};

/// One delta net: 2 key heads of 8 for 4 value heads of 8, behind a convolution of 3 taps.
Program delta_decoder(WeightSource& weights, DType act) {
  Builder b(weights, act, kToyVocab);
  ValueId h = b.embed("embed", kToyHidden);
  for (int i = 0; i < 2; ++i) {
    b.layer(i, "layers." + std::to_string(i) + ".");
    const ValueId x = b.norm(h, "norm", 1e-5f);
    const auto qkv = b.split(b.linear(x, "qkv", 64), 2, {8, 8, 16});
    const auto gates = b.split(b.linear_f32(x, "gates", 8), 2, {2, 2});
    const ValueId mixed = b.conv(qkv, "conv", 3);
    const ValueId y = b.delta(mixed, gates[0], gates[1], "delta", {2, 8, 4, 8});
    h = b.add(h, b.linear(b.head_norm(y, "out_norm", 4, 1e-5f), "out", kToyHidden));
  }
  b.layer(-1, "");
  b.head(b.take_sampled(h), "embed");
  return b.finish();
}

std::shared_ptr<const Program> toy(DType act, std::int64_t rows = 16) {
  static ToyWeights weights(DType::bf16, QuantSpec{Mode::affine, 4, 32});
  return planned(fuse(delta_decoder(weights, act)), rows);
}

TEST(Recurrent, TheProgramSaysWhatStateItKeeps) {
  const auto program = toy(DType::bf16);
  EXPECT_EQ(program->state_layers, (std::vector<std::int64_t>{2 * 64, 8 * 32, 2 * 64, 8 * 32}));
  EXPECT_EQ(StateShape{program->state_layers}.slot_bytes(), 4 * 2 * (2 * 64 + 8 * 32));
  EXPECT_EQ(StateShape{}.slot_bytes(), 0);
  EXPECT_TRUE(program->kv_layers.empty());
  EXPECT_EQ(layer_count(*program), 2);
  expect_error(ErrorCode::exhausted, "recurrent state", [] {
    StateShape{{std::int64_t{1} << 61, std::int64_t{1} << 61}}.slot_bytes();
  });
}

TEST(Recurrent, CutsThreadsAndKernelsKeepARowsBits) {
  for (const DType act : {DType::f32, DType::f16, DType::bf16}) {
    const auto want = run_toy(toy(act), kTokens, 1);
    for (const std::size_t step : {1, 2, 3, 4, 7, 10})
      EXPECT_EQ(run_toy(toy(act), kTokens, 1, step), want) << step;
    EXPECT_EQ(run_toy(toy(act), kTokens, 2, 4), want) << "two threads";
    EXPECT_EQ(run_toy(toy(act), kTokens, 7), want) << "seven threads";
  }
}

/// Rows [first, first + slots of out) of the tokens: row j reads in[j] and leaves out[j].
std::vector<float> run_rows(Backend& backend, const Tokens& tokens, std::int64_t first,
                            const std::vector<std::int32_t>& in,
                            const std::vector<std::int32_t>& out) {
  static const std::vector<std::int32_t> no_pages(64, 0);
  RowGroup group = group_of(tokens, static_cast<std::size_t>(first), out.size(), no_pages);
  for (std::size_t j = 0; j < out.size(); ++j)
    group.seq[j].state_in = in[j], group.seq[j].state_out = out[j];
  std::vector<float> logits(out.size() * static_cast<std::size_t>(kToyVocab));
  group.logits = logits.data();
  backend.collect(backend.launch(group));
  return logits;
}

TEST(Recurrent, RejectedDraftsLeaveNoTrace) {
  const auto program = toy(DType::bf16);
  const auto want = run_toy(program, kTokens, 1);
  const auto at = [&](std::int64_t row) { return want.begin() + row * kToyVocab; };
  const auto backend = make_cpu_backend(2);
  backend->prepare(program);
  backend->allocate_kv(kv_shape_of(*program, 4), 2);
  backend->allocate_state({program->state_layers}, 4);
  run_rows(*backend, kTokens, 0, {0, 2, 2, 2}, {2, 2, 2, 2});
  // Token 4 is certain; then one draft that is right and two that are wrong.
  Tokens drafted = kTokens;
  drafted[6] = 40, drafted[7] = 41;
  const auto got = run_rows(*backend, drafted, 4, {2, 2, 4, 1}, {2, 4, 1, 3});
  EXPECT_TRUE(std::equal(got.begin(), got.begin() + 2 * kToyVocab, at(4)));
  EXPECT_FALSE(std::equal(got.begin() + 2 * kToyVocab, got.begin() + 3 * kToyVocab, at(6)));
  // Two rows stand: go on from what the second of them left.
  EXPECT_EQ(run_rows(*backend, kTokens, 6, {4, 4, 4, 4, 4}, {4, 4, 4, 4, 4}),
            std::vector<float>(at(6), want.end()));
}

TEST(Recurrent, SequencesInOneStepDoNotSeeEachOther) {
  const auto program = toy(DType::f16);
  const Tokens other = {40, 41, 42, 43, 44, 45, 46};
  const auto want = run_toy(program, kTokens, 1), want_other = run_toy(program, other, 1);
  const auto backend = make_cpu_backend(3);
  backend->prepare(program);
  backend->allocate_kv(kv_shape_of(*program, 4), 2);
  backend->allocate_state({program->state_layers}, 2);
  const std::vector<std::int32_t> no_pages(16, 0);
  // By turns: a row need not follow its own sequence's row before at once, only after it.
  RowGroup mixed;
  const RowGroup a = group_of(kTokens, 0, 7, no_pages), o = group_of(other, 0, 7, no_pages);
  for (std::size_t i = 0; i < 14; ++i) {
    const RowGroup& from = i % 2 == 0 ? a : o;
    mixed.tokens.push_back(from.tokens[i / 2]);
    mixed.seq.push_back(from.seq[i / 2]);
    if (i % 2 == 1) mixed.seq.back().state_in *= 2, mixed.seq.back().state_out = 2;
    mixed.sampled.push_back(static_cast<std::int32_t>(i));
    mixed.sampling.push_back(greedy_row());
  }
  std::vector<float> logits(14 * static_cast<std::size_t>(kToyVocab));
  mixed.logits = logits.data();
  backend->collect(backend->launch(mixed));
  for (std::int64_t i = 0; i < 14; ++i)
    EXPECT_TRUE(std::equal(logits.begin() + i * kToyVocab, logits.begin() + (i + 1) * kToyVocab,
                           (i % 2 == 0 ? want : want_other).begin() + i / 2 * kToyVocab))
        << "row " << i;
}

TEST(Recurrent, TheBuilderRefusesShapesThatDoNotFit) {
  ToyWeights weights(DType::f32);
  Builder b(weights, DType::f32, kToyVocab);
  const ValueId h = b.embed("embed", kToyHidden);
  expect_error(ErrorCode::internal, "split: 2 parts of 60 elements from 64", [&] {
    b.split(h, 2, {20, 10});
  });
  expect_error(ErrorCode::internal, "split: 5 parts", [&] { b.split(h, 1, {1, 1, 1, 1, 60}); });
  expect_error(ErrorCode::internal, "conv: 9 taps", [&] { b.conv({h}, "conv", 9); });
  expect_error(ErrorCode::internal, "delta: values of 64, 64 and 64", [&] {
    b.delta(h, h, h, "delta", {2, 8, 4, 8});
  });
}

}  // namespace
}  // namespace stepless::test
