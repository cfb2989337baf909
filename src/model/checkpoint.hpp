// A checkpoint's tensors as the weights a family asks for: dense or packed, as the quantization
// block or the shapes say.
#pragma once
#include <set>

#include "format/tensor_map.hpp"
#include "model/config.hpp"
#include "ops/builder.hpp"

namespace stepless {

class CheckpointWeights final : public WeightSource {
 public:
  CheckpointWeights(const TensorMap& tensors, const Config& config)
      : tensors_(tensors), config_(config) {}

  Matrix matrix(const std::string& name, std::int64_t n, std::int64_t k) override;
  Matrix experts(const std::string& name, std::int64_t experts, std::int64_t n,
                 std::int64_t k) override;
  Vector vector(const std::string& name, std::int64_t width) override;
  Vector table(const std::string& name, std::int64_t rows, std::int64_t width) override;
  bool has(const std::string& name) const override { return tensors_.contains(name); }

  /// Throws Error (corrupt) naming tensors that no operation asked for (mlx-lm refuses them, too).
  void check_all_used(bool tied) const;

 private:
  Matrix read(const std::string& name, const Shape& leading, std::int64_t k);
  const TensorView& take(const std::string& name);

  const TensorMap& tensors_;
  const Config& config_;
  std::set<std::string> used_;
};

/// The float type of the checkpoint: that of its first norm-like (one-dimensional) float tensor,
/// else of any.
DType float_type_of(const TensorMap& tensors);

}  // namespace stepless
