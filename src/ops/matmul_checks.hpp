// Everything contract.md, section 6, refuses about arrays, and the shapes a call has once nothing
// was refused. No arithmetic here and nothing is written: the doors in matmul.cc ask first and
// compute after.
#pragma once
#include <cstdint>
#include <vector>

#include "stepless/matmul.hpp"

namespace stepless {

/// A packed weight that fits together: matrices of n outputs and k inputs.
struct WeightShape {
  Shape batch;             // leading dimensions
  std::int64_t count = 1;  // matrices: product of batch
  std::int64_t n = 0, k = 0;
  std::int64_t matrix_bytes = 0, row_bytes = 0,
               scale_bytes = 0;  // of one matrix's codes, a row of them, its scales
  DType type = DType::bf16;      // scales' (affine) or elements'; u8 in fp modes
};

/// Matrices of x against matrices of w. Matrix i of the result is x's at x_at(i), w's at w_at(i).
struct ProductShape {
  Shape batch;             // of the result
  std::int64_t count = 1;  // matrices of the result
  std::int64_t m = 0, n = 0, k = 0;
  std::vector<std::int64_t> x_at, w_at;  // matrix indices, one per result matrix
  Shape y_shape;
  DType y_type = DType::f32;
};

/// Throws Error (invalid_argument, or exhausted when sizes overflow) naming the tensor and its
/// values.
WeightShape describe_weight(const QuantizedView& w, Transpose transpose);
ProductShape describe_quantized_matmul(const TensorView& x, const QuantizedView& w,
                                       Transpose transpose);
ProductShape describe_gather_qmm(const TensorView& x, const QuantizedView& w,
                                 const GatherIndices& indices, Transpose transpose);
ProductShape describe_linear(const TensorView& x, const TensorView& w);

struct InnerShape {
  std::int64_t rows_a = 0, rows_b = 0, k = 0;
  Shape y_shape;
};
InnerShape describe_inner(const StridedView& a, const StridedView& b);

/// t / 2688 of matrix `index`; 1 without a tensor scale. After describe_weight().
float matrix_scale(const QuantizedView& w, std::int64_t index);

/// NumPy's rules. Throws Error (invalid_argument) naming both shapes, after `what`.
Shape broadcast(const Shape& a, const Shape& b, const char* what);

}  // namespace stepless
