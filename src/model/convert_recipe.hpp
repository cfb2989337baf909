// Which format each matrix gets when a checkpoint is quantized: the choices of mlx-lm 0.32.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "stepless/quant.hpp"

namespace stepless {

/// What one layer gets, and whether config.json must say so for the layer itself.
struct LayerChoice {
  QuantSpec spec;
  bool named = false;
};

class Recipe {
 public:
  /// `mixture`: "" or a name of conventions.md 2.3. Throws Error (invalid_argument): another name,
  /// or a mode other than affine with it.
  Recipe(const std::string& mixture, std::string_view model_type, const QuantSpec& base,
         std::int64_t layers);

  /// The choice for a matrix by its MLX name, e.g. "model.layers.3.mlp.down_proj".
  LayerChoice choose(const std::string& layer) const;

 private:
  struct Widths {
    int low, high;
  };
  int mixed_bits(const std::string& layer) const;

  QuantSpec base_;
  std::string_view model_type_;
  std::int64_t layers_;
  std::optional<Widths> widths_;
};

}  // namespace stepless
