// The gated delta rule against float64, and that a sequence's rows do not know how they were cut
// into steps, nor who was there.
#include <gtest/gtest.h>

#include "tests/kernels/recurrent_case.hpp"
#include "tests/oracle/recurrence.hpp"
#include "tests/support/each_row.hpp"
#include "tests/support/typed_rows.hpp"

namespace stepless::test {
namespace {

struct DeltaShape {
  std::int64_t k_heads = 2, k_dim = 32, v_heads = 4, v_dim = 32;
  DType a_log_type = DType::f32, bias_type = DType::bf16;
  std::int64_t keys() const { return k_heads * k_dim; }
  std::int64_t values() const { return v_heads * v_dim; }
  std::int64_t qkv() const { return 2 * keys() + values(); }
};

using Floats = std::vector<float>;
constexpr float kEpsilon = 1e-6f;

struct DeltaCase {
  DeltaCase(DeltaShape s, std::vector<std::int64_t> n)
      : shape(s),
        lengths(std::move(n)),
        random(3),
        a_log(s.a_log_type, 1, s.v_heads, 0),
        bias(s.bias_type, 1, s.v_heads, 0) {
    a_log.fill(random, 0.7);
    bias.fill(random, 0.5);
    for (const std::int64_t length : lengths) {
      rows.emplace_back();
      for (std::int64_t p = 0; p < length; ++p) {
        rows.back().emplace_back();
        for (std::int64_t i = 0; i < s.qkv() + 2 * s.v_heads; ++i)
          rows.back().back().push_back(static_cast<float>(random.normal()));
      }
    }
  }

  DeltaShape shape;
  std::vector<std::int64_t> lengths;
  Random random;
  TypedRows a_log, bias;
  std::vector<std::vector<Floats>> rows;  // [sequence][position]: qkv, a, b
};

class EachDelta : public EachRow {
 protected:
  static std::vector<Floats> run_step(const DeltaCase& c, const Step& step,
                                      const std::vector<kernels::SeqRow>& seq, const Slots& slots,
                                      Cut cut) {
    const DeltaShape& s = c.shape;
    const auto rows = std::ssize(seq);
    Floats qkv, a, b;
    for (const Piece& piece : step)
      for (std::int64_t i = 0; i < piece.count; ++i) {
        const Floats& row = c.rows[piece.sequence][static_cast<std::size_t>(piece.first + i)];
        qkv.insert(qkv.end(), row.begin(), row.begin() + s.qkv());
        a.insert(a.end(), row.begin() + s.qkv(), row.end() - s.v_heads);
        b.insert(b.end(), row.end() - s.v_heads, row.end());
      }
    TypedRows y(DType::f32, rows, s.values(), 0);
    TypedRows prepared(DType::f32, rows,
                       kernels::delta_prepared_width(s.k_heads, s.k_dim, s.v_heads), 0);
    auto* out = reinterpret_cast<float*>(y.data());
    const kernels::DeltaArgs args{qkv.data(),
                                  a.data(),
                                  b.data(),
                                  c.a_log.data(),
                                  c.bias.data(),
                                  s.a_log_type,
                                  s.bias_type,
                                  kEpsilon,
                                  reinterpret_cast<float*>(prepared.data()),
                                  out,
                                  seq.data(),
                                  slots.layer(),
                                  rows,
                                  s.k_heads,
                                  s.k_dim,
                                  s.v_heads,
                                  s.v_dim};
    row().entry->prepare(&args, {0, rows / 2});
    row().entry->prepare(&args, {rows / 2, rows});
    for (const kernels::Slice slice : slices_of(row(), s.values(), cut))
      row().entry->run(&args, slice);
    EXPECT_TRUE(y.untouched_between() && prepared.untouched_between() &&
                slots.surroundings_intact());
    std::vector<Floats> all;
    for (std::int64_t i = 0; i < rows; ++i)
      all.emplace_back(out + i * s.values(), out + (i + 1) * s.values());
    return all;
  }

  static Slots slots_for(const DeltaCase& c, std::int64_t count) {
    return Slots(count, c.shape.k_dim * c.shape.values());
  }

  static std::vector<std::vector<Floats>> run(const DeltaCase& c, const std::vector<Step>& steps,
                                              Cut cut = Cut::whole) {
    const Slots slots = slots_for(c, std::ssize(c.lengths));
    std::vector<std::vector<Floats>> all(c.lengths.size());
    for (const Step& step : steps) {
      const auto y = run_step(c, step, rows_of(step), slots, cut);
      std::size_t row = 0;
      for (const Piece& piece : step)
        for (std::int64_t i = 0; i < piece.count; ++i) all[piece.sequence].push_back(y[row++]);
    }
    return all;
  }

  /// The same in float64, [position][value].
  static std::vector<std::vector<double>> reference(const DeltaCase& c, std::size_t sequence) {
    const DeltaShape& s = c.shape;
    std::vector<std::vector<double>> y(c.rows[sequence].size());
    for (std::int64_t h = 0; h < s.v_heads; ++h) {
      oracle::DeltaHead head(c.a_log.get(0, h), c.bias.get(0, h), static_cast<double>(kEpsilon));
      const std::int64_t key = h / (s.v_heads / s.k_heads) * s.k_dim;
      for (std::size_t p = 0; p < y.size(); ++p) {
        const Floats& row = c.rows[sequence][p];
        const auto part = [&](std::int64_t at, std::int64_t n) {
          return std::vector<double>(row.begin() + at, row.begin() + at + n);
        };
        const auto one = head.step(part(key, s.k_dim), part(s.keys() + key, s.k_dim),
                                   part(2 * s.keys() + h * s.v_dim, s.v_dim),
                                   part(s.qkv() + h, 1)[0], part(s.qkv() + s.v_heads + h, 1)[0]);
        y[p].insert(y[p].end(), one.begin(), one.end());
      }
    }
    return y;
  }
};

constexpr DeltaShape kShapes[] = {{},
                                  {1, 1, 1, 1},
                                  {1, 7, 3, 5},
                                  {2, 128, 4, 128},
                                  {3, 33, 3, 65, DType::bf16, DType::f32},
                                  {1, 256, 2, 17, DType::f16, DType::f16}};

TEST_P(EachDelta, EveryShapeAgainstFloat64) {
  for (const DeltaShape& shape : kShapes) {
    SCOPED_TRACE(testing::Message()
                 << shape.v_heads << " heads of " << shape.k_dim << " x " << shape.v_dim);
    const DeltaCase c(shape, {40, 1, 5});
    const auto got = run(c, {{{1, 0, 1}, {0, 0, 40}, {2, 0, 5}}});
    for (std::size_t s = 0; s < c.lengths.size(); ++s) {
      const auto want = reference(c, s);
      double error = 0, norm = 0;
      for (std::size_t p = 0; p < want.size(); ++p)
        for (std::size_t i = 0; i < want[p].size(); ++i) {
          error += std::pow(static_cast<double>(got[s][p][i]) - want[p][i], 2);
          norm += want[p][i] * want[p][i];
        }
      EXPECT_LE(std::sqrt(error), 2e-5 * std::sqrt(norm));  // contract.md, section 5
    }
  }
}

TEST_P(EachDelta, FarGatesAndZeroKeys) {
  // decay of 0 and of 1, rates of 0 and of 1, keys of length 0: all finite, all as in float64.
  DeltaCase c({1, 8, 1, 8}, {12});
  const float far[] = {-200, 200, 0, 1e4f, -1e4f, 50};
  for (std::size_t p = 0; p < 12; ++p) {
    Floats& row = c.rows[0][p];
    row[row.size() - 2] = far[p % 6], row[row.size() - 1] = far[(p + p / 6) % 6];
    if (p % 4 == 3) std::fill(row.begin(), row.begin() + 16, 0.0f);
  }
  const auto got = run(c, {{{0, 0, 12}}});
  const auto want = reference(c, 0);
  for (std::size_t p = 0; p < 12; ++p)
    for (std::size_t i = 0; i < 8; ++i)
      EXPECT_NEAR(static_cast<double>(got[0][p][i]), want[p][i], 1e-5) << "row " << p;
}

TEST_P(EachDelta, CutsCompanyAndSlicesChangeNoBit) {
  for (const DeltaShape& shape : {DeltaShape{}, DeltaShape{1, 9, 3, 70}}) {
    const DeltaCase c(shape, {12, 1, 5, 30, 2});
    const auto want = run(c, row_by_row(c.lengths));
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
      Random random(seed);
      const auto steps = random_steps(c.lengths, random);
      EXPECT_EQ(run(c, steps, seed % 2 == 0 ? Cut::whole : Cut::tiles), want) << seed;
    }
  }
}

TEST_P(EachDelta, EachRowMayLeaveItsStateApart) {
  const DeltaCase c({1, 16, 2, 24}, {6});
  const Slots apart = slots_for(c, 9), alone = slots_for(c, 1);
  // Row 1 in place, as the one that is certain; then a slot for each draft; the last left nowhere.
  const std::vector<kernels::SeqRow> seq = {{nullptr, 0, 0, 4}, {nullptr, 1, 4, 4},
                                            {nullptr, 2, 4, 9}, {nullptr, 3, 9, 2},
                                            {nullptr, 4, 2, 1}, {nullptr, 5, 1, 0}};
  const auto want = run(c, row_by_row(c.lengths))[0];
  EXPECT_EQ(run_step(c, {{0, 0, 6}}, seq, apart, Cut::whole), want);
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
  // Rows 3 and on rejected: going on from what row 2 left gives what they would have given.
  const std::vector<kernels::SeqRow> again = {
      {nullptr, 3, 9, 9}, {nullptr, 4, 9, 9}, {nullptr, 5, 9, 9}};
  EXPECT_EQ(run_step(c, {{0, 3, 3}}, again, apart, Cut::whole),
            std::vector<Floats>(want.begin() + 3, want.end()));
}

TEST_P(EachDelta, NaNStaysInItsSequenceAndLeavesNoTrace) {
  const DeltaCase clean({1, 16, 2, 37}, {8, 8, 8});
  DeltaCase spoilt({1, 16, 2, 37}, {8, 8, 8});
  spoilt.rows[1][3][5] = NAN;   // in a query: its row only
  spoilt.rows[1][5][20] = NAN;  // in a key: all that follows
  const std::vector<Step> steps = {{{0, 0, 4}, {1, 0, 5}, {2, 0, 2}},
                                   {{2, 2, 6}, {1, 5, 3}, {0, 4, 4}}};
  const auto want = run(clean, steps), got = run(spoilt, steps);
  EXPECT_EQ(got[0], want[0]);
  EXPECT_EQ(got[2], want[2]);
  EXPECT_TRUE(std::isnan(got[1][3][0]));
  EXPECT_EQ(got[1][4], want[1][4]);
  EXPECT_TRUE(std::isnan(got[1][7][73]));
  const Slots slots = slots_for(spoilt, 3);
  for (const Step& step : steps) run_step(spoilt, step, rows_of(step), slots, Cut::whole);
  // The next sequence in that slot begins from zeros.
  const Step reuse = {{0, 0, 8}};
  std::vector<kernels::SeqRow> seq = rows_of(reuse);
  for (kernels::SeqRow& row : seq) row.state_out = 2, row.state_in = row.position == 0 ? 0 : 2;
  EXPECT_EQ(run_step(clean, reuse, seq, slots, Cut::whole), want[0]);
}

INSTANTIATE_TEST_SUITE_P(RollCall, EachDelta, testing::ValuesIn(built_rows({KernelOp::delta})),
                         row_name);

}  // namespace
}  // namespace stepless::test
