// Quantized weights as arrays: their shapes, the one place that checks them, and a set that owns
// its bytes.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "stepless/quant.hpp"
#include "stepless/tensor.hpp"

namespace stepless {

/// A view that is not there: no bytes and no dimensions (an empty array has dimensions).
inline bool is_absent(const TensorView& view) { return view.data == nullptr && view.shape.empty(); }

/// k of a packed array of this spec, for arrays that passed check_quantized.
std::int64_t columns_of(const QuantizedView& view);
/// The product of all dimensions but the last: the rows of the flattened matrix, experts and
/// batches included.
std::int64_t rows_of(const TensorView& view);

/// Bytes of one packed row and scales of one row. k: a multiple of group_size.
inline std::int64_t packed_row_bytes(const QuantSpec& spec, std::int64_t k) {
  return k / 8 * spec.bits;
}
inline std::int64_t groups_of(const QuantSpec& spec, std::int64_t k) { return k / spec.group_size; }

/// Everything contract.md, section 6, says of the arrays of one weight, in time independent of its
/// size: the pair of bits and group, types, packed width, shapes of scales and biases, absent and
/// present ones, the tensor scale's size, type, mode and value. `what` is the weight's name:
/// messages say "<what>.scales: ...". Throws Error: invalid_argument with the values and what would
/// be right.
void check_quantized(const QuantizedView& view, std::string_view what);

/// Reads the scales of fp modes and the codes of mxfp8 and throws Error (corrupt) when one is a NaN
/// code. Once, at load.
void check_codes(const QuantizedView& view, std::string_view what);

/// nvfp4: the tensor scale of a flattened row; nothing when there is none. Experts may have one
/// each.
std::optional<float> tensor_scale_of(const QuantizedView& view, std::int64_t row);

}  // namespace stepless
