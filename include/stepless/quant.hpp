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

/// Owns what quantize() makes: biases in affine mode only, tensor_scale when one was given.
struct QuantizedTensors {
  QuantSpec spec;
  Tensor packed, scales;
  std::optional<Tensor> biases, tensor_scale;
  QuantizedView view() const;
};

/// Quantizes w (.., n, k), f32, f16 or bf16, along its last axis, bit for bit as MLX's CPU build
/// does; affine scales and biases get w's type. tensor_scale: nvfp4 only. One thread.
/// Throws Error: invalid_argument (type, shape, bits and group, tensor scale, a value
/// that is not finite, a scale beyond w's type), exhausted (no memory).
QuantizedTensors quantize(const TensorView& w, const QuantSpec& spec,
                          std::optional<float> tensor_scale = {});

/// The matrix (.., n, k) in f32, f16 or bf16: each value exact up to one rounding. Throws Error:
/// invalid_argument (arrays that do not fit together, another output type), corrupt (a NaN code),
/// exhausted.
Tensor dequantize(const QuantizedView& w, DType out);

}  // namespace stepless
