// Problems for the matmul rows of the roll call, and a way to run one row on one problem with every
// wall up: guard pages, read-only inputs, NaN in what must be written and in what must not be read.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/kernel.hpp"
#include "tests/oracle/matrix.hpp"
#include "tests/support/random.hpp"

namespace stepless::test {

using Bytes = std::vector<std::uint8_t>;

/// A weight's format and the types of x and y.
struct Format {
  bool packed = true;
  QuantSpec spec;
  DType x_type = DType::f32, w_type = DType::f32, y_type = DType::f32;
  std::string text() const;
};

/// Every format of contract.md: modes, bits, groups and types (dense ones for mm); y's type is the
/// contract's result, and for every third format one of the others, which logits and residuals ask
/// for.
std::vector<Format> all_formats(KernelOp op);
/// Does the row accept the format, and these sizes? From what the row states, not from dispatch.
bool accepts(const Kernel& kernel, const Format& format);
/// The least counts n and k of a matmul must be multiples of.
std::int64_t n_step(const Kernel& kernel, const Format& format);
std::int64_t k_step(const Kernel& kernel, const Format& format);

struct Operands {
  Format format;
  std::int64_t m = 0, n = 0, k = 0;
  Bytes x;           // (m, k) of x_type, contiguous
  oracle::Stored w;  // (n, k); for qmmn (k, n)
  KernelOp op = KernelOp::qmm;
  /// The rows of x from `first` on; the same weight.
  Operands rows(std::int64_t first, std::int64_t count) const;
};

/// Random operands: x ~ N(0,1); scales and biases as quantize() makes them, negative and far from
/// zero included.
oracle::Stored random_weight(const Format& format, std::int64_t rows, std::int64_t columns,
                             Random& random);
/// f16 scales and biases, 5, 6 or 8 bits: every weight lies so little beyond the middle of two f16
/// that float32 rounds it to the middle, and a second rounding takes the wrong side. (4 bits and
/// bf16 have no such products.)
oracle::Stored nearly_halfway_weight(int bits, std::int64_t rows, std::int64_t columns);
Operands random_operands(KernelOp op, const Format& format, std::int64_t m, std::int64_t n,
                         std::int64_t k, std::uint64_t seed);
Bytes random_rows(DType type, std::int64_t count, double scale, Random& random);

/// How the outputs are handed to the row.
enum class Slices { whole, tiles, random };
enum class Placement { flush, odd };  // weights end at the guard page, or lie at odd addresses

/// y, (m, n) of y_type, contiguous. Adds a test failure when something beside y was written.
Bytes run_matmul(const Kernel& kernel, const Operands& operands, Slices slices = Slices::whole,
                 Placement placement = Placement::flush);
/// y = rows of the table `w` (packed or dense).
Bytes run_embed(const Kernel& kernel, const oracle::Stored& table,
                const std::vector<std::int32_t>& ids, DType y_type,
                Placement placement = Placement::flush);

/// x · w in float64, and ‖W‖: times sqrt(m) what ‖y‖ is on average for x ~ N(0,1).
struct Reference {
  oracle::Matrix y;
  double weight_norm = 0;
};
Reference reference(const Operands& operands);
oracle::Matrix matrix_of(const Bytes& bytes, DType type, std::int64_t rows);
/// Rows [first, first + count) of y's bytes when it has `rows` rows.
Bytes rows_of(const Bytes& y, std::int64_t rows, std::int64_t first, std::int64_t count);

}  // namespace stepless::test
