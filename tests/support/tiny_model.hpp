// A llama so small that tests write it to disk, break it and read it again: 2 layers, hidden 64,
// 4 heads of 16 over 2 KV heads, 96 tokens, no tokenizer.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "stepless/quant.hpp"
#include "stepless/tensor.hpp"

namespace stepless::test {

struct TinyOptions {
  DType type = DType::bf16;  // of norms, dense matrices, and scales and biases in affine mode
  std::optional<QuantSpec> spec = {};  // none: dense matrices
  bool tied = true;
  bool biases = false;                     // attention_bias and mlp_bias
  std::optional<float> tensor_scale = {};  // nvfp4: global_scale of every matrix
};

/// A checkpoint in memory, to be changed by hand before it is written. The same weights in every
/// format, up to its rounding.
struct TinyModel {
  Json config;
  std::map<std::string, Tensor> tensors;
  Json generation;  // generation_config.json; null: no such file

  /// Replaces a matrix by the same values in another format.
  void quantize(const std::string& name, const QuantSpec& spec,
                std::optional<float> tensor_scale = {});
  /// All packed matrices as what they decode to, in f32; no quantization block.
  TinyModel decoded() const;
  /// A tensor that must be there.
  Tensor& at(const std::string& name);
  /// Writes a fresh folder under the scratch folder and returns its path.
  std::string write(const std::string& name) const;
};

TinyModel tiny_model(const TinyOptions& options = {});

/// An array of f32 values rounded to a float type.
Tensor tensor_of(DType type, Shape shape, const std::vector<float>& values);
/// The values of a float tensor.
std::vector<float> values_of(const Tensor& tensor);

}  // namespace stepless::test
