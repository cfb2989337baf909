// Quantizing by parts, bit for bit as contract.md, section 3: float32 arithmetic, group by group.
// quantize() itself is public: stepless/quant.hpp.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "format/quantized.hpp"

namespace stepless {

/// The checks and the outputs of quantize(), still zero: quantize_rows fills them.
QuantizedTensors make_quantized(const TensorView& w, const QuantSpec& spec,
                                std::optional<float> tensor_scale = {});

/// Rows [begin, end) of the flattened w into `out`, made by make_quantized of the same w. Disjoint
/// ranges may be filled by several threads at once. Throws Error (invalid_argument), naming row and
/// column, as quantize(); `what` is the tensor in messages, `first` the number of w's first row
/// there.
void quantize_rows(const TensorView& w, std::int64_t begin, std::int64_t end, QuantizedTensors& out,
                   std::string_view what = "quantize", std::int64_t first = 0);

}  // namespace stepless
