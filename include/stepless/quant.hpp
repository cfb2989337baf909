// The quantized formats of MLX checkpoints: which there are, and what identifies one.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "stepless/tensor.hpp"

namespace stepless {

std::string_view to_string(Mode mode);
/// Throws Error (invalid_argument) naming the known modes.
Mode parse_mode(std::string_view name);

/// One format: mode, bits per element, elements per scale.
struct QuantSpec {
  Mode mode = Mode::affine;
  int bits = 4;
  int group_size = 64;
  friend bool operator==(const QuantSpec&, const QuantSpec&) = default;
};

/// The mode's defaults (affine 4/64, mxfp4 4/32, mxfp8 8/32, nvfp4 4/16), with what the caller gave
/// put in. Throws Error (invalid_argument) unless the mode has this pair.
QuantSpec make_spec(Mode mode, std::optional<int> bits = {}, std::optional<int> group_size = {});

/// A packed matrix of n rows and k columns. packed: u32 (.., n, k*bits/32), rows are LSB-first bit
/// streams. scales: (.., n, k/group_size), f32/f16/bf16 in affine mode, u8 otherwise; biases as
/// scales, affine only. tensor_scale: nvfp4 only; a null view when absent.
struct QuantizedView {
  QuantSpec spec;
  TensorView packed, scales, biases, tensor_scale;
};

}  // namespace stepless
