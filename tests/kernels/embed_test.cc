// Every embed row of the roll call: rows of a table, decoded exactly in every format, from the
// first row to the last.
#include <gtest/gtest.h>

#include "stepless/tensor.hpp"
#include "tests/support/each_row.hpp"
#include "tests/support/matmul_case.hpp"

namespace stepless::test {
namespace {

/// Packed formats and dense tables, into each type.
std::vector<Format> table_formats(const Kernel& kernel) {
  std::vector<Format> formats;
  for (const Format& f : all_formats(KernelOp::qmm))
    if (f.x_type == DType::f32 && accepts(kernel, f)) formats.push_back(f);
  if (!kernel.is.mode && kernel.is.bits == 0)
    for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
      Format dense;
      dense.packed = false;
      dense.w_type = type;
      formats.push_back(dense);
    }
  return formats;
}

class EachEmbed : public EachRow {
 protected:
  static void expect_rows(const oracle::Stored& table, const std::vector<std::int32_t>& ids,
                          DType y_type, const Bytes& bytes) {
    const oracle::Matrix y = matrix_of(bytes, y_type, static_cast<std::int64_t>(ids.size()));
    for (std::int64_t i = 0; i < y.rows; ++i)
      for (std::int64_t j = 0; j < y.columns; ++j)
        ASSERT_EQ(
            y.at(i, j),
            oracle::rounded(oracle::decode(table, ids[static_cast<std::size_t>(i)], j), y_type))
            << "row " << i << ", element " << j;
  }
};

TEST_P(EachEmbed, RowsAreTheDecodedWeights) {
  std::uint64_t seed = 0;
  for (const Format& f : table_formats(row()))
    for (const DType y_type : {DType::f32, DType::f16, DType::bf16}) {
      Random random(++seed);
      const std::int64_t step = f.packed ? f.spec.group_size : 1;
      const std::int64_t lengths[] = {step, 37 * step, (512 / step + 1) * step};
      const oracle::Stored table = random_weight(f, 7, lengths[seed % 3], random);
      SCOPED_TRACE(f.text() + " into " + std::string(to_string(y_type)) + ", k " +
                   std::to_string(table.columns));
      const std::vector<std::int32_t> ids = {6, 0, 3, 3, 5};
      const Bytes y = run_embed(row(), table, ids, y_type, Placement::flush);
      expect_rows(table, ids, y_type, y);
      EXPECT_EQ(y, run_embed(row(), table, ids, y_type, Placement::odd));
    }
}

TEST_P(EachEmbed, WeightsAreRoundedOnce) {
  for (const int bits : {5, 6, 8}) {
    const Format f{true, {Mode::affine, bits, 32}, DType::f32, DType::f16, DType::f16};
    if (!accepts(row(), f)) continue;
    const oracle::Stored table = nearly_halfway_weight(bits, 2, 64);
    expect_rows(table, {1}, DType::f16, run_embed(row(), table, {1}, DType::f16));
  }
}

TEST_P(EachEmbed, OneRowOfATableOfOne) {
  const std::vector<Format> formats = table_formats(row());
  ASSERT_FALSE(formats.empty());
  Random random(3);
  const oracle::Stored table = random_weight(formats.front(), 1, 256, random);
  expect_rows(table, {0}, DType::bf16, run_embed(row(), table, {0}, DType::bf16));
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(EachEmbed);
INSTANTIATE_TEST_SUITE_P(RollCall, EachEmbed, ::testing::ValuesIn(built_rows({KernelOp::embed})),
                         row_name);

}  // namespace
}  // namespace stepless::test
