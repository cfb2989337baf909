// Every matmul row of the roll call (qmm, qmmn, mm) at every edge it states: the error bound, exact
// one-hot rows, row invariance, slices, confinement of NaN. A new line of kernels.inc is tested by
// being listed.
#include "kernels/roll_call.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "tests/support/each_row.hpp"
#include "tests/support/matmul_case.hpp"

namespace stepless::test {
namespace {

using Counts = std::vector<std::int64_t>;

std::vector<Format> formats_of(const Kernel& kernel) {
  std::vector<Format> formats;
  for (Format f : all_formats(kernel.is.op)) {
    if (kernel.fields.y_types == kTypeF32) f.y_type = DType::f32;
    if (kernel.fields.y_types == kTypeF16) f.y_type = DType::f16;
    if (kernel.fields.y_types == kTypeBf16) f.y_type = DType::bf16;
    if (accepts(kernel, f)) formats.push_back(f);
  }
  return formats;
}

/// Every `step`-th format, so that few runs see all modes, widths and types.
std::vector<Format> some_formats(const Kernel& kernel, std::size_t step) {
  const std::vector<Format> all = formats_of(kernel);
  std::vector<Format> some;
  for (std::size_t i = 0; i < all.size(); i += step) some.push_back(all[i]);
  return some;
}

/// Sorted, each once, at least `least`, rounded up to multiples of `step`.
Counts multiples(const Counts& counts, std::int64_t step, std::int64_t least) {
  std::set<std::int64_t> found;
  for (const std::int64_t count : counts)
    if (count >= 1) found.insert((std::max(count, least) + step - 1) / step * step);
  return {found.begin(), found.end()};
}

Counts row_counts(const Kernel& kernel) {
  const std::int64_t tile = kernel.is.tile_m;
  Counts counts;
  for (const std::int64_t m :
       multiples({1, 2, tile - 1, tile, tile + 1, 17, 64, 65}, 1, kernel.fields.rows.least))
    if (m <= kernel.fields.rows.most) counts.push_back(m);
  return counts;
}

Counts output_counts(const Kernel& kernel, const Format& f) {
  const std::int64_t tile = kernel.is.tile_n;
  return multiples({1, 2, tile - 1, tile, tile + 1, 17, 2 * tile + 1, 65}, n_step(kernel, f), 1);
}

/// One multiple, one more, both sides of blocks of 128 and 512; where any k may be, ± 1.
Counts inner_counts(const Kernel& kernel, const Format& f) {
  const std::int64_t step = k_step(kernel, f);
  if (kernel.is.op == KernelOp::qmmn) return multiples({1, 2, 31, 32, 33, 65, 129}, step, 1);
  return multiples({1, step, step + 1, 31, 33, 127, 129, 511, 513}, step, 1);
}

std::int64_t outputs_for(const Kernel& kernel, const Format& f, std::int64_t n) {
  return multiples({n}, n_step(kernel, f), 1).front();
}

constexpr std::int64_t kManyOutputs = 4096;

/// An order that rounds weights meets the bound on many outputs: of a few, by chance, all may lie
/// on one side.
std::int64_t judged_outputs(const Kernel& kernel, const Format& f, std::int64_t n,
                            std::int64_t many) {
  return outputs_for(kernel, f, kernel.fields.order == Order::wgmma_rounded ? many : n);
}

std::int64_t inner_for(const Kernel& kernel, const Format& f, std::int64_t k) {
  return multiples({k}, k_step(kernel, f), 1).front();
}

std::string where(const Operands& o) {
  return o.format.text() + ", m " + std::to_string(o.m) + ", n " + std::to_string(o.n) + ", k " +
         std::to_string(o.k);
}

::testing::AssertionResult same_bytes(const Bytes& a, const Bytes& b) {
  if (a.size() != b.size())
    return ::testing::AssertionFailure() << a.size() << " and " << b.size() << " bytes";
  for (std::size_t i = 0; i < a.size(); ++i)
    if (a[i] != b[i])
      return ::testing::AssertionFailure() << "byte " << i << " of " << a.size() << " differs";
  return ::testing::AssertionSuccess();
}

/// What the row has to compute: for those of 8-bit activations the product of x rounded to them.
Reference reference_of(const Kernel& kernel, const Operands& o) {
  if (kernel.fields.order != Order::int8_groups) return reference(o);
  const oracle::Matrix x = matrix_of(o.x, o.format.x_type, o.m), w = oracle::decode(o.w);
  return {oracle::product(oracle::rounded_to_bytes(x, o.format.spec.group_size), w),
          oracle::norm(w)};
}

double share_of_allowance(const Kernel& kernel, const Operands& o, const Bytes& y) {
  const Reference ref = reference_of(kernel, o);
  return oracle::error_share(matrix_of(y, o.format.y_type, o.m), ref.y, o.format.y_type,
                             ref.weight_norm * std::sqrt(static_cast<double>(o.m)));
}

class EachMatmul : public EachRow {};

TEST_P(EachMatmul, EveryFormatMeetsTheBound) {
  const std::vector<Format> formats = formats_of(row());
  ASSERT_FALSE(formats.empty());
  for (std::size_t i = 0; i < formats.size(); ++i) {
    const Counts ms = row_counts(row()), ns = output_counts(row(), formats[i]),
                 ks = inner_counts(row(), formats[i]);
    const std::int64_t n = judged_outputs(row(), formats[i], ns[i / 2 % ns.size()], kManyOutputs);
    const Operands o =
        random_operands(row().is.op, formats[i], ms[i % ms.size()], n, ks[i / 3 % ks.size()], i);
    SCOPED_TRACE(where(o));
    const Bytes y = run_matmul(row(), o, Slices::whole, Placement::flush);
    EXPECT_LE(share_of_allowance(row(), o, y), 1);
    EXPECT_TRUE(same_bytes(y, run_matmul(row(), o, Slices::tiles, Placement::odd)))
        << "a second run, in tiles, from odd addresses";
  }
}

TEST_P(EachMatmul, EveryEdgeMeetsTheBound) {
  const std::vector<Format> formats = formats_of(row());
  for (const Format& f : some_formats(row(), formats.size() / 2 + 1)) {
    const Counts ms = row_counts(row());
    for (const std::int64_t n : output_counts(row(), f))
      for (const std::int64_t k : inner_counts(row(), f)) {
        const Operands all = random_operands(row().is.op, f, ms.back(), n, k,
                                             static_cast<std::uint64_t>(n * 1000 + k));
        SCOPED_TRACE(where(all));
        const Bytes together = run_matmul(row(), all);
        EXPECT_LE(share_of_allowance(row(), all, together), 1);
        for (const std::int64_t m : ms)
          EXPECT_TRUE(same_bytes(run_matmul(row(), all.rows(0, m)), rows_of(together, all.m, 0, m)))
              << "the first " << m << " rows";
      }
  }
}

/// Few launches with an edge on every side, for compute-sanitizer, under which the test of every
/// edge takes hours (tools/device/check).
TEST_P(EachMatmul, AnEdgeOnEverySide) {
  const std::vector<Format> formats = formats_of(row());
  const auto m = std::clamp<std::int64_t>(row().is.tile_m + 1, row().fields.rows.least,
                                          row().fields.rows.most);
  for (const Format& f : some_formats(row(), formats.size() / 2 + 1)) {
    const Operands o =
        random_operands(row().is.op, f, m, outputs_for(row(), f, 2 * row().is.tile_n + 1),
                        inner_for(row(), f, 1025), 5);
    SCOPED_TRACE(where(o));
    EXPECT_LE(share_of_allowance(row(), o, run_matmul(row(), o)), 1);
  }
}

/// Some of 0 .. k-1: the first and last of every group of 32 and each fifth between.
Counts hot_columns(std::int64_t k) {
  Counts columns;
  for (std::int64_t i = 0; i < k; ++i)
    if (i % 5 == 0 || i % 32 == 0 || i % 32 == 31 || i == k - 1) columns.push_back(i);
  return columns;
}

TEST_P(EachMatmul, OneHotRowsGiveTheDecodedWeights) {
  if (row().fields.order == Order::int8_groups) return;  // 127 times 1 / 127 is not quite 1
  for (const Format& f : formats_of(row())) {
    const std::int64_t group = f.packed ? f.spec.group_size : 32;
    const std::int64_t k = inner_for(row(), f, row().is.op == KernelOp::qmmn ? 37 : group + 1);
    const std::int64_t n = outputs_for(row(), f, row().is.tile_n + 5);
    const Counts hot = hot_columns(k);
    const auto m = static_cast<std::int64_t>(hot.size());
    Operands o = random_operands(row().is.op, f, m, n, k, static_cast<std::uint64_t>(k));
    oracle::Matrix x(m, k);
    for (std::int64_t i = 0; i < m; ++i) x.at(i, hot[static_cast<std::size_t>(i)]) = 1;
    o.x = oracle::bytes(x.data, f.x_type);
    const oracle::Matrix y = matrix_of(run_matmul(row(), o), f.y_type, m);
    std::int64_t wrong = 0;
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j < n; ++j) {
        const std::int64_t c = hot[static_cast<std::size_t>(i)];
        const bool plain = row().is.op == KernelOp::qmmn;
        const oracle::Long weight = plain ? oracle::decode(o.w, c, j) : oracle::decode(o.w, j, c);
        if (y.at(i, j) == oracle::rounded(weight, f.y_type)) continue;
        if (++wrong == 1)
          ADD_FAILURE() << where(o) << ": weight (" << j << ", " << c << ") is " << y.at(i, j)
                        << ", not " << oracle::rounded(weight, f.y_type);
      }
    EXPECT_EQ(wrong, 0) << where(o);
  }
}

TEST_P(EachMatmul, WeightsAreRoundedOnce) {
  if (row().fields.order == Order::int8_groups) return;
  for (const int bits : {5, 6, 8}) {
    const Format f{true, {Mode::affine, bits, 32}, DType::f16, DType::f16, DType::f16};
    if (!accepts(row(), f)) continue;
    Operands o{f, 1, outputs_for(row(), f, 3), inner_for(row(), f, 32), {}, {}, row().is.op};
    const bool plain = row().is.op == KernelOp::qmmn;
    o.w = nearly_halfway_weight(bits, plain ? o.k : o.n, plain ? o.n : o.k);
    oracle::Matrix x(1, o.k);
    x.at(0, 0) = 1;
    o.x = oracle::bytes(x.data, f.x_type);
    const double want = oracle::rounded(oracle::decode(o.w, 0, 0), DType::f16);
    ASSERT_NE(want,
              oracle::rounded(oracle::rounded(oracle::decode(o.w, 0, 0), DType::f32), DType::f16));
    for (const double y : oracle::values(run_matmul(row(), o), DType::f16))
      EXPECT_EQ(y, want) << bits << " bits";
  }
}

TEST_P(EachMatmul, RowAloneEqualsRowInCompany) {
  for (const Format& f : some_formats(row(), 17)) {
    const std::int64_t least = row().fields.rows.least;
    const Operands o =
        random_operands(row().is.op, f, least + 64, outputs_for(row(), f, row().is.tile_n + 1),
                        inner_for(row(), f, row().is.op == KernelOp::qmmn ? 70 : 530), 7);
    SCOPED_TRACE(where(o));
    const Bytes together = run_matmul(row(), o);
    for (std::int64_t i = 0; i + least <= o.m; ++i)
      EXPECT_TRUE(same_bytes(run_matmul(row(), o.rows(i, least)), rows_of(together, o.m, i, least)))
          << "row " << i;
    Random random(11);
    for (int trial = 0; trial < 8; ++trial) {
      const std::int64_t first = random.below(o.m - least);
      const std::int64_t count = least + random.below(o.m - first - least + 1);
      EXPECT_TRUE(
          same_bytes(run_matmul(row(), o.rows(first, count)), rows_of(together, o.m, first, count)))
          << "rows " << first << " to " << first + count;
    }
  }
}

// Few rows have code for each number of them, on a CPU for each width and its groups.
TEST_P(EachMatmul, EveryNumberOfFewRowsGivesTheSameBits) {
  for (const Format& f : some_formats(row(), row().is.isa < Isa::cuda ? 5 : 17)) {
    const std::int64_t least = row().fields.rows.least, most = least + 40;
    const Operands o =
        random_operands(row().is.op, f, most, outputs_for(row(), f, row().is.tile_n + 1),
                        inner_for(row(), f, row().is.op == KernelOp::qmmn ? 70 : 1100), 17);
    SCOPED_TRACE(where(o));
    const Bytes together = run_matmul(row(), o);
    for (std::int64_t m = least; m < most; ++m)
      EXPECT_TRUE(same_bytes(run_matmul(row(), o.rows(0, m)), rows_of(together, o.m, 0, m)))
          << "the first " << m << " rows";
  }
}

// Tiles of any size, whole or cut between blocks: 2048 rows are more of each than there are blocks.
TEST_P(EachMatmul, RowsOfManyDoNotKnowHowMany) {
  const std::int64_t least = row().fields.rows.least;
  const bool many =  // tiles grow with m
      least > kInvariantRows / 2 || row().fields.order == Order::wgmma_rounded;
  if (!many) return;  // RowAloneEqualsRowInCompany
  for (const Format& f : some_formats(row(), 3)) {
    const Operands o = random_operands(row().is.op, f, 2048, outputs_for(row(), f, 2300),
                                       inner_for(row(), f, 700), 13);
    SCOPED_TRACE(where(o));
    const Bytes together = run_matmul(row(), o);
    for (const std::int64_t m :
         {least, std::int64_t{64}, std::int64_t{65}, std::int64_t{100}, std::int64_t{128},
          std::int64_t{129}, std::int64_t{300}, std::int64_t{512}, std::int64_t{1025}})
      for (const std::int64_t first : {std::int64_t{0}, std::int64_t{777}})
        EXPECT_TRUE(
            same_bytes(run_matmul(row(), o.rows(first, m)), rows_of(together, o.m, first, m)))
            << "rows " << first << " to " << first + m;
  }
}

TEST_P(EachMatmul, RowsDoNotKnowTheirNeighbours) {
  for (const Format& f : some_formats(row(), 23)) {
    const Operands o =
        random_operands(row().is.op, f, 65, outputs_for(row(), f, 19), inner_for(row(), f, 100), 3);
    SCOPED_TRACE(where(o));
    Operands turned = o;
    turned.x.clear();
    for (std::int64_t i = o.m; i > 0; --i) {
      const Bytes one = rows_of(o.x, o.m, i - 1, 1);
      turned.x.insert(turned.x.end(), one.begin(), one.end());
    }
    const Bytes y = run_matmul(row(), o), back = run_matmul(row(), turned);
    for (std::int64_t i = 0; i < o.m; ++i)
      EXPECT_TRUE(same_bytes(rows_of(y, o.m, i, 1), rows_of(back, o.m, o.m - 1 - i, 1)))
          << "row " << i;
  }
}

TEST_P(EachMatmul, SlicesDoNotChangeBits) {
  for (const Format& f : some_formats(row(), 31))
    for (const std::int64_t m : {row().fields.rows.least, std::int64_t{33}}) {
      const Operands o =
          random_operands(row().is.op, f, m, outputs_for(row(), f, 9 * row().is.tile_n + 1),
                          inner_for(row(), f, 200), 5);
      SCOPED_TRACE(where(o));
      const Bytes whole = run_matmul(row(), o, Slices::whole);
      EXPECT_TRUE(same_bytes(whole, run_matmul(row(), o, Slices::tiles)));
      EXPECT_TRUE(same_bytes(whole, run_matmul(row(), o, Slices::random)));
    }
}

/// x with one element of a row replaced.
void replace(Operands& o, std::int64_t i, std::int64_t k, double number) {
  const std::int64_t size = oracle::element_bytes(o.format.x_type);
  oracle::store(number, o.format.x_type, &o.x[static_cast<std::size_t>((i * o.k + k) * size)]);
}

TEST_P(EachMatmul, NonFiniteRowsStayAlone) {
  for (const Format& f : some_formats(row(), 13)) {
    const Operands calm = random_operands(
        row().is.op, f, 9, outputs_for(row(), f, row().is.tile_n + 2), inner_for(row(), f, 150), 9);
    SCOPED_TRACE(where(calm));
    Operands wild = calm;
    replace(wild, 3, calm.k / 2, std::nan(""));
    replace(wild, 6, calm.k - 1, HUGE_VAL);
    replace(wild, 7, 0, -HUGE_VAL);
    const Bytes before = run_matmul(row(), calm), after = run_matmul(row(), wild);
    const oracle::Matrix y = matrix_of(after, f.y_type, calm.m);
    for (std::int64_t i = 0; i < calm.m; ++i) {
      if (i != 3 && i != 6 && i != 7) {
        EXPECT_TRUE(same_bytes(rows_of(before, calm.m, i, 1), rows_of(after, calm.m, i, 1)))
            << "row " << i;
        continue;
      }
      for (std::int64_t j = 0; j < calm.n; ++j)
        EXPECT_TRUE(i == 3 ? std::isnan(y.at(i, j)) : !std::isfinite(y.at(i, j)))
            << "y(" << i << ", " << j << ") = " << y.at(i, j);
    }
  }
}

TEST_P(EachMatmul, SmallAndLargeRowsMeetTheBound) {
  for (const Format& f : some_formats(row(), 5)) {
    Operands o = random_operands(row().is.op, f, 6, judged_outputs(row(), f, 17, kManyOutputs),
                                 inner_for(row(), f, 128), 21);
    SCOPED_TRACE(where(o));
    const double scales[] = {1, 1e-4, 1e3, 1e-4, 1e3, 1};
    Random random(22);
    o.x.clear();
    for (const double scale : scales) {
      const Bytes one = random_rows(f.x_type, o.k, scale, random);
      o.x.insert(o.x.end(), one.begin(), one.end());
    }
    const Reference ref = reference_of(row(), o);
    const oracle::Matrix y = matrix_of(run_matmul(row(), o), f.y_type, o.m);
    for (std::int64_t i = 0; i < o.m; ++i) {
      oracle::Matrix want(1, o.n), got(1, o.n);
      for (std::int64_t j = 0; j < o.n; ++j)
        if (std::isinf(oracle::rounded(ref.y.at(i, j), f.y_type)))
          EXPECT_GT(std::fabs(y.at(i, j)), 65000) << "f16 ends there";
        else
          want.at(0, j) = ref.y.at(i, j), got.at(0, j) = y.at(i, j);
      EXPECT_LE(oracle::error_share(got, want, f.y_type, ref.weight_norm * scales[i]), 1)
          << "row " << i << ", x of size " << scales[i];
    }
  }
}

TEST_P(EachMatmul, LongSumsMeetTheBound) {
  for (const Format& f : some_formats(row(), 50)) {
    // Where groups run along n, a narrower k: 32768 rows of 128 weights say no more.
    const std::int64_t k = n_step(row(), f) > 32 ? 8192 : 32768;
    const Operands o = random_operands(row().is.op, f, 3, judged_outputs(row(), f, 3, 512), k, 31);
    SCOPED_TRACE(where(o));
    EXPECT_LE(share_of_allowance(row(), o, run_matmul(row(), o)), 1);
  }
}

// The reference of the other tests rounds x as the row does; here x is what it is.
TEST_P(EachMatmul, EightBitActivationsLoseLessThanTwoPercent) {
  if (row().fields.order != Order::int8_groups) return;
  for (const Format& f : formats_of(row())) {
    const Operands o = random_operands(row().is.op, f, 5, 64, inner_for(row(), f, 1000), 17);
    SCOPED_TRACE(where(o));
    const oracle::Matrix exact = reference(o).y;
    oracle::Matrix off = matrix_of(run_matmul(row(), o), f.y_type, o.m);
    for (std::size_t i = 0; i < off.data.size(); ++i) off.data[i] -= exact.data[i];
    EXPECT_LE(oracle::norm(off), 2e-2 * oracle::norm(exact));
    EXPECT_GT(oracle::norm(off), 1e-3 * oracle::norm(exact)) << "is x rounded at all?";
  }
}

/// Rows of this one's order that stand in front of it and run here.
std::vector<const Kernel*> earlier_rows_of_its_order(const Kernel& row) {
  std::vector<const Kernel*> rows;
  for (const Kernel* other : built_rows({row.is.op}))
    if (other < &row && row.fields.order != Order::none &&
        other->fields.order == row.fields.order && runs_here(other->is.isa))
      rows.push_back(other);
  return rows;
}

/// k, rounded up to what both rows take.
std::int64_t inner_for_both(const Kernel& a, const Kernel& b, const Format& f, std::int64_t k) {
  return inner_for(k_step(a, f) > k_step(b, f) ? a : b, f, k);
}

TEST_P(EachMatmul, RowsOfOneOrderGiveEqualBytes) {
  const std::size_t step = formats_of(row()).size() > 4 ? 7 : 1;
  for (const Kernel* other : earlier_rows_of_its_order(row()))
    for (const Format& f : some_formats(row(), step)) {
      if (!accepts(*other, f)) continue;
      for (const std::int64_t k : {1, 300, 700, 3300, 5000}) {
        const Operands o = random_operands(row().is.op, f, 19, outputs_for(row(), f, 37),
                                           inner_for_both(row(), *other, f, k), 41);
        EXPECT_TRUE(same_bytes(run_matmul(row(), o), run_matmul(*other, o)))
            << row().name << " and " << other->name << ", " << where(o);
      }
    }
}

// On a GPU few rows have instances for 16, 32, 48 and 64 of them, the widest where outputs are
// many, and sums that meet in several ways: others where dense weights have a tile for each block.
TEST_P(EachMatmul, RowsOfOneOrderGiveEqualBytesOfManyOutputs) {
  const RowRange range = row().fields.rows;
  if (row().is.isa < Isa::cuda || range.most > kInvariantRows) return;
  for (const Kernel* other : earlier_rows_of_its_order(row()))
    for (const Format& f : formats_of(row())) {
      if (!accepts(*other, f)) continue;
      std::vector<std::pair<std::int64_t, std::int64_t>> shapes = {{2600, 1000}, {2600, 5000}};
      if (!f.packed) shapes.emplace_back(17500, 1300);
      for (const auto& [n, k] : shapes) {
        const Operands o = random_operands(row().is.op, f, range.most, outputs_for(row(), f, n),
                                           inner_for_both(row(), *other, f, k), 43);
        const Bytes theirs = run_matmul(*other, o);
        for (const std::int64_t m : {9, 16, 17, 32, 33, 48, 49, 64}) {
          if (m < range.least || m > range.most) continue;
          EXPECT_TRUE(same_bytes(run_matmul(row(), o.rows(0, m)), rows_of(theirs, o.m, 0, m)))
              << row().name << " and " << other->name << ", " << where(o) << ", the first " << m;
        }
      }
    }
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(EachMatmul);
INSTANTIATE_TEST_SUITE_P(
    RollCall, EachMatmul,
    ::testing::ValuesIn(built_rows({KernelOp::qmm, KernelOp::qmmn, KernelOp::mm})), row_name);

}  // namespace
}  // namespace stepless::test
