// Quantizing, bit for bit as contract.md, section 3: float32 arithmetic, group by group.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>

#include "format/quantized.hpp"

namespace stepless {

/// Quantizes w (.., n, k), f32, f16 or bf16, along its last axis; affine scales and biases get w's
/// type. tensor_scale: nvfp4 only. One thread; see quantize_rows for more. Throws Error:
/// invalid_argument (type, shape, pair, tensor scale, a value that is not finite, a scale beyond
/// w's type), exhausted.
QuantizedTensors quantize(const TensorView& w, const QuantSpec& spec,
                          std::optional<float> tensor_scale = {});

/// The checks and the outputs of quantize(), still zero: quantize_rows fills them.
QuantizedTensors make_quantized(const TensorView& w, const QuantSpec& spec,
                                std::optional<float> tensor_scale = {});

/// Rows [begin, end) of the flattened w into `out`, made by make_quantized of the same w. Disjoint
/// ranges may be filled by several threads at once. Throws Error (invalid_argument), naming row and
/// column, as quantize().
void quantize_rows(const TensorView& w, std::int64_t begin, std::int64_t end,
                   QuantizedTensors& out);

}  // namespace stepless
