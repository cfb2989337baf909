// Matrix products on arrays: quantized, gathered, dense, inner. Shapes, types and errors are
// checked before anything is written; every error names the values that failed.
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "stepless/quant.hpp"
#include "stepless/tensor.hpp"

namespace stepless {

/// A team of threads, the machine it runs on and scratch memory that grows to the largest call. One
/// thread at a time.
class Context;

struct ContextOptions {
  int threads = 0;         // 0: the physical cores that the scheduler and the container allow
  std::string max_isa;     // e.g. "avx2": nothing wider; "": whatever this CPU has
  std::string kernel;      // a name of docs/kernels.md for every call it computes; "": the cheapest
  bool fast_int8 = false;  // 8-bit activations where a kernel has them: an error of about 6e-3
};
/// Throws Error: invalid_argument (threads, an unknown ISA, one that this CPU lacks, an unknown
/// kernel), exhausted.
std::shared_ptr<Context> make_context(const ContextOptions& options = {});

/// yes: w is (n, k), as in checkpoints, y = x · wᵀ. no: w is (k, n) with groups along n, y = x · w.
enum class Transpose : bool { no, yes };

/// An array whose neighbours along an axis lie `strides` elements apart (0 and negative allowed);
/// data is the element at index 0 of every axis and has its type's alignment or not.
struct StridedView {
  const std::byte* data = nullptr;
  DType type = DType::f32;
  Shape shape;
  Shape strides;

  StridedView() = default;
  StridedView(const std::byte* at, DType element, Shape sizes, Shape steps)
      : data(at), type(element), shape(std::move(sizes)), strides(std::move(steps)) {}
  /// A contiguous array. Throws Error (exhausted) when its size does not fit 63 bits.
  StridedView(const TensorView& view);  // NOLINT: every TensorView is one
};

/// y(m, n) = x(m, k) · wᵀ or x · w for a quantized weight. Row i of y has the same bits whatever
/// the other rows, m and the number of threads are. x: f32, f16 or bf16; leading dimensions are
/// rows when w has two dimensions, else x's and w's broadcast as NumPy's matmul does; x of one
/// dimension gives y without the row dimension. m = 0 or n = 0: an empty result. w: make_spec() of
/// its mode, bits and group; packed u32 (.., n, k * bits / 32), scales (.., n, k / group) of f32,
/// f16 or bf16 with biases of that type (affine), or u8 without (fp modes); nvfp4 may carry a
/// positive f32 tensor scale, one or one per matrix. Result: promote(x, scales) in affine mode, x's
/// type in fp modes; shape x.shape[:-1] + [n], or the broadcast batch. Throws Error:
/// invalid_argument (a type, shape or size, with the values), exhausted (sizes overflow, no
/// memory).
Tensor quantized_matmul(Context& context, const TensorView& x, const QuantizedView& w,
                        Transpose transpose = Transpose::yes);

struct GatherIndices {
  /// Integer arrays; they broadcast against each other. Missing: 0, 1, 2, … in the shape of x's
  /// (w's) leading dimensions.
  std::optional<TensorView> lhs, rhs;
  /// A promise that rhs ascends: a hint that never changes the result.
  bool sorted = false;
};
/// y[i] = x[lhs[i]] · w[rhs[i]]ᵀ (or · w[rhs[i]]): x (.., m, k) and w (.., n, k) seen as lists of
/// matrices, indices counted over their flattened leading dimensions. Result: indices.shape + [m,
/// n], types and errors as quantized_matmul(); an index outside its list, negative ones included,
/// is invalid_argument with its position and value.
Tensor gather_qmm(Context& context, const TensorView& x, const QuantizedView& w,
                  const GatherIndices& indices, Transpose transpose = Transpose::yes);

/// y = x · wᵀ for a dense w (.., n, k) of f32, f16 or bf16: a linear layer. Broadcasts as
/// quantized_matmul(); the result has type promote(x, w). k = 0 gives zeros.
Tensor linear(Context& context, const TensorView& x, const TensorView& w);

/// NumPy's inner: sums over the last axis of both; a.shape[:-1] + b.shape[:-1]. f32, f16, bf16 or
/// complex64 (not conjugated), equal types, which is the result's. Sums in float32 or wider; k = 0
/// gives zeros. Throws Error: invalid_argument (types or lengths, with the values), exhausted.
Tensor inner(Context& context, const StridedView& a, const StridedView& b);
/// inner() of two vectors; anything else is invalid_argument. The result has no dimension.
Tensor dot(Context& context, const StridedView& a, const StridedView& b);

/// The wider of two float types; f16 with bf16 gives f32.
DType promote(DType a, DType b);

}  // namespace stepless
