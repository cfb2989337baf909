// The causal convolution against float64, and that a sequence's rows do not know how they were cut
// into steps, nor who was there.
#include <gtest/gtest.h>

#include <memory>

#include "tests/kernels/recurrent_case.hpp"
#include "tests/oracle/recurrence.hpp"
#include "tests/support/each_row.hpp"
#include "tests/support/typed_rows.hpp"

namespace stepless::test {
namespace {

struct ConvShape {
  DType type = DType::bf16, weight_type = DType::bf16;
  std::vector<std::int64_t> widths = {5, 16, 20};
  std::int64_t taps = 4;
  std::int64_t channels() const {
    std::int64_t sum = 0;
    for (const std::int64_t width : widths) sum += width;
    return sum;
  }
};

using Lengths = std::vector<std::int64_t>;
using Bytes = std::vector<std::uint8_t>;

/// Inputs of some sequences, row by row, and weights.
struct ConvCase {
  ConvCase(ConvShape s, Lengths n, std::uint64_t seed = 1)
      : shape(std::move(s)),
        lengths(std::move(n)),
        random(seed),
        weight(shape.weight_type, 1, shape.channels() * shape.taps, 0) {
    weight.fill(random, 0.6);
    for (const std::int64_t length : lengths) {
      inputs.emplace_back();
      for (std::int64_t p = 0; p < length; ++p) {
        inputs.back().emplace_back();
        for (std::int64_t c = 0; c < shape.channels(); ++c)
          inputs.back().back().push_back(oracle::rounded(random.normal(), shape.type));
      }
    }
  }

  ConvShape shape;
  Lengths lengths;
  Random random;
  TypedRows weight;
  std::vector<std::vector<std::vector<double>>> inputs;  // [sequence][position][channel]
};

class EachConv : public EachRow {
 protected:
  /// One step; y row by row.
  static std::vector<std::vector<float>> run_step(const ConvCase& c, const Step& step,
                                                  const std::vector<kernels::SeqRow>& seq,
                                                  const Slots& slots, Cut cut) {
    const auto rows = std::ssize(seq);
    const std::int64_t channels = c.shape.channels();
    std::vector<std::unique_ptr<TypedRows>> x;
    kernels::ConvArgs args{};
    std::int64_t first = 0;
    for (const std::int64_t width : c.shape.widths) {
      x.push_back(std::make_unique<TypedRows>(c.shape.type, rows, width, 0));
      std::int64_t row = 0;
      for (const Piece& piece : step)
        for (std::int64_t i = 0; i < piece.count; ++i, ++row)
          for (std::int64_t j = 0; j < width; ++j)
            x.back()->set(row, j, input(c, piece, i, first + j));
      args.x[args.inputs] = x.back()->data();
      args.width[args.inputs++] = width;
      first += width;
    }
    TypedRows y(DType::f32, rows, channels, 0);
    args.rows = rows, args.channels = channels, args.taps = c.shape.taps;
    args.type = c.shape.type, args.weight_type = c.shape.weight_type;
    args.weight = c.weight.data();
    args.y = reinterpret_cast<float*>(y.data());
    args.seq = seq.data();
    args.state = slots.layer();
    for (const kernels::Slice slice : slices_of(row(), channels, cut))
      row().entry->run(&args, slice);
    EXPECT_TRUE(y.untouched_between() && slots.surroundings_intact());
    std::vector<std::vector<float>> out;
    for (std::int64_t i = 0; i < rows; ++i)
      out.emplace_back(args.y + i * channels, args.y + (i + 1) * channels);
    return out;
  }

  static double input(const ConvCase& c, const Piece& piece, std::int64_t i, std::int64_t channel) {
    return c.inputs[piece.sequence][static_cast<std::size_t>(piece.first + i)]
                   [static_cast<std::size_t>(channel)];
  }

  static Slots slots_for(const ConvCase& c, std::int64_t count) {
    return Slots(count, (c.shape.taps - 1) * c.shape.channels());
  }

  /// y of all rows, [sequence][position][channel], however the steps are cut.
  static std::vector<std::vector<std::vector<float>>> run(const ConvCase& c,
                                                          const std::vector<Step>& steps,
                                                          Cut cut = Cut::whole) {
    const Slots slots = slots_for(c, std::ssize(c.lengths));
    std::vector<std::vector<std::vector<float>>> all(c.lengths.size());
    for (const Step& step : steps) {
      const auto y = run_step(c, step, rows_of(step), slots, cut);
      std::size_t row = 0;
      for (const Piece& piece : step)
        for (std::int64_t i = 0; i < piece.count; ++i) all[piece.sequence].push_back(y[row++]);
    }
    return all;
  }
};

TEST_P(EachConv, EveryTypeAndWidthAgainstFloat64) {
  std::vector<ConvShape> shapes;
  for (const DType type : kFloatTypes)
    for (const DType weight : kFloatTypes) shapes.push_back({type, weight, {5, 16, 20}, 4});
  for (const std::int64_t taps : {1, 2, 8})
    for (const std::int64_t width : {1, 15, 16, 17, 300})
      shapes.push_back({DType::bf16, DType::f32, {width}, taps});
  shapes.push_back({DType::f32, DType::f32, {1, 1, 31, 7}, 3});
  for (const ConvShape& shape : shapes) {
    SCOPED_TRACE(testing::Message() << shape.channels() << " channels, " << shape.taps << " taps");
    const ConvCase c(shape, {9, 1, 4});
    const auto got = run(c, {{{1, 0, 1}, {0, 0, 9}, {2, 0, 4}}});
    for (std::size_t s = 0; s < c.lengths.size(); ++s)
      for (std::int64_t channel = 0; channel < shape.channels(); ++channel) {
        std::vector<double> weight = c.weight.run(0, channel * shape.taps, shape.taps);
        oracle::CausalConv want(weight);
        for (std::size_t p = 0; p < got[s].size(); ++p) {
          const auto at = static_cast<std::size_t>(channel);
          expect_rounded(static_cast<double>(got[s][p][at]), want.step(c.inputs[s][p][at]),
                         DType::f32, 2e-6, 1);
        }
      }
  }
}

TEST_P(EachConv, CutsCompanyAndSlicesChangeNoBit) {
  const ConvCase c({DType::bf16, DType::bf16, {33, 7, 40}, 4}, {12, 1, 5, 30, 2});
  const auto want = run(c, row_by_row(c.lengths));
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    Random random(seed);
    const auto steps = random_steps(c.lengths, random);
    EXPECT_EQ(run(c, steps, seed % 2 == 0 ? Cut::whole : Cut::tiles), want) << seed;
  }
}

TEST_P(EachConv, EachRowMayLeaveItsStateApart) {
  const ConvCase c({DType::f16, DType::bf16, {20}, 4}, {6});
  const Slots apart = slots_for(c, 9), alone = slots_for(c, 1);
  // Row 0 in place, as the one that is certain; then a slot for each draft; the last left nowhere.
  std::vector<kernels::SeqRow> seq = {{nullptr, 0, 0, 4}, {nullptr, 1, 4, 4}, {nullptr, 2, 4, 9},
                                      {nullptr, 3, 9, 2}, {nullptr, 4, 2, 1}, {nullptr, 5, 1, 0}};
  const auto y = run_step(c, {{0, 0, 6}}, seq, apart, Cut::whole);
  EXPECT_EQ(y, run(c, row_by_row(c.lengths))[0]);
  const std::int32_t left_by[] = {0, 4, 9, 2, 1};  // row 0's was replaced by row 1's
  for (std::int64_t p = 0; p < 5; ++p) {
    const Step one = {{0, p, 1}};
    run_step(c, one, rows_of(one), alone, Cut::whole);
    if (p > 0) {
      EXPECT_EQ(apart.bytes(left_by[p]), alone.bytes(1)) << "row " << p;
    }
  }
  for (const std::int32_t untouched : {3, 5, 6, 7, 8})
    for (const std::uint8_t byte : apart.bytes(untouched)) ASSERT_EQ(byte, 0xff);
}

TEST_P(EachConv, NaNStaysInItsSequenceAndLeavesNoTrace) {
  const ConvCase clean({DType::bf16, DType::bf16, {37}, 4}, {8, 8, 8});
  ConvCase spoilt({DType::bf16, DType::bf16, {37}, 4}, {8, 8, 8});
  spoilt.inputs[1][3][5] = NAN;
  const std::vector<Step> steps = {{{0, 0, 4}, {1, 0, 5}, {2, 0, 2}},
                                   {{2, 2, 6}, {1, 5, 3}, {0, 4, 4}}};
  const auto want = run(clean, steps), got = run(spoilt, steps);
  EXPECT_EQ(got[0], want[0]);
  EXPECT_EQ(got[2], want[2]);
  EXPECT_TRUE(std::isnan(got[1][3][5]));
  EXPECT_FALSE(std::isnan(got[1][3][6]));
  // The next sequence in that slot begins from zeros.
  const Slots slots = slots_for(spoilt, 3);
  for (const Step& step : steps) run_step(spoilt, step, rows_of(step), slots, Cut::whole);
  const Step reuse = {{0, 0, 8}};
  std::vector<kernels::SeqRow> seq = rows_of(reuse);
  for (kernels::SeqRow& row : seq) row.state_out = 2, row.state_in = row.position == 0 ? 0 : 2;
  EXPECT_EQ(run_step(clean, reuse, seq, slots, Cut::whole), want[0]);
}

INSTANTIATE_TEST_SUITE_P(RollCall, EachConv, testing::ValuesIn(built_rows({KernelOp::conv})),
                         row_name);

}  // namespace
}  // namespace stepless::test
