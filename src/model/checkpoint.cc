#include "model/checkpoint.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.hpp"
#include "format/dtype.hpp"
#include "format/quantize.hpp"

namespace stepless {
namespace {

/// Bits, group and mode from the shapes and the layer's input width, as mlx-lm does; never
/// ambiguous.
QuantSpec infer_spec(const std::string& name, const TensorView& packed, const TensorView& scales,
                     std::int64_t k) {
  const std::int64_t columns = packed.shape.back(), groups = scales.shape.back();
  const bool whole = columns > 0 && groups > 0 && columns * 32 % k == 0 && k % groups == 0;
  if (!whole)
    fail(ErrorCode::corrupt,
         "{}.weight: {} packed columns and {} scales per row fit no format of {} inputs", name,
         columns, groups, k);
  const int bits = static_cast<int>(columns * 32 / k), group = static_cast<int>(k / groups);
  Mode mode = Mode::affine;
  if (scales.type == DType::u8)
    mode = group == 16 ? Mode::nvfp4 : bits == 8 ? Mode::mxfp8 : Mode::mxfp4;
  try {
    return make_spec(mode, bits, group);
  } catch (const Error& error) {
    fail(ErrorCode::corrupt, "{}: its shapes say {} bits, group {}: {}", name, bits, group,
         error.what());
  }
}

}  // namespace

const TensorView& CheckpointWeights::take(const std::string& name) {
  const TensorView& view = tensors_.at(name);
  used_.insert(name);
  return view;
}

namespace {

/// nvfp4's tensor scale over the largest block scale times the largest element: one, or one per
/// expert.
void read_tensor_scales(const TensorView& global, const std::string& name, Matrix& w) {
  if (global.data == nullptr) return;
  std::vector<float> scales(static_cast<std::size_t>(count_of(global.shape, name)));
  to_f32(global.data, global.type, scales.data(), static_cast<std::int64_t>(scales.size()));
  for (float& scale : scales) scale /= 2688.0f;
  w.tensor_scale = scales[0];
  if (scales.size() > 1) w.expert_scales = std::move(scales);
}

}  // namespace

Matrix CheckpointWeights::matrix(const std::string& name, std::int64_t n, std::int64_t k) {
  Matrix w = read(name, {n}, k);
  w.n = n;
  return w;
}

Matrix CheckpointWeights::experts(const std::string& name, std::int64_t experts, std::int64_t n,
                                  std::int64_t k) {
  Matrix w = read(name, {experts, n}, k);
  w.n = n;
  w.experts = experts;
  return w;
}

/// The weight whose shape is `leading` and then k inputs, packed or not.
Matrix CheckpointWeights::read(const std::string& name, const Shape& leading, std::int64_t k) {
  Matrix w;
  w.name = name;
  w.k = k;
  w.w = take(name + ".weight");
  const auto leads = [&](const TensorView& view) {
    return view.shape.size() == leading.size() + 1 &&
           std::equal(leading.begin(), leading.end(), view.shape.begin());
  };
  Shape expected = leading;
  expected.push_back(k);
  const std::optional<QuantEntry> named = config_.quantization_of(name);
  const bool packed = tensors_.contains(name + ".scales");
  if (!leads(w.w))
    fail(ErrorCode::corrupt, "{}.weight: shape {}; config.json makes it {}{}", name,
         shape_text(w.w.shape), shape_text(expected), packed ? ", its last dimension packed" : "");
  if (named && named->quantized != packed)
    fail(ErrorCode::corrupt, "{}: quantization says {}, the file has {}", name,
         named->quantized ? "quantized" : "false", packed ? "scales" : "no scales");
  if (!packed) {
    w.type = w.w.type;
    if (!is_float(w.type))
      fail(ErrorCode::corrupt, "{}.weight: {} without scales; float32, float16 or bfloat16", name,
           to_string(w.type));
    if (w.w.shape.back() != k)
      fail(ErrorCode::corrupt, "{}.weight: shape {}; expected {}", name, shape_text(w.w.shape),
           shape_text(expected));
    return w;
  }
  w.packed = true;
  w.scales = take(name + ".scales");
  if (!leads(w.scales))
    fail(ErrorCode::corrupt, "{}.scales: shape {}; its rows are those of the weight, {}", name,
         shape_text(w.scales.shape), shape_text(w.w.shape));
  w.spec = named ? named->spec : infer_spec(name, w.w, w.scales, k);
  if (tensors_.contains(name + ".biases")) w.biases = take(name + ".biases");
  TensorView global;
  if (tensors_.contains(name + ".global_scale")) global = take(name + ".global_scale");
  const QuantizedView view{w.spec, w.w, w.scales, w.biases, global};
  try {
    check_quantized(view, name);
  } catch (const Error& error) {
    throw Error(ErrorCode::corrupt, error.what());  // here the arrays are a file's, not a caller's
  }
  // A stack that convert still has to gather has no bytes here: they are checked as they are read.
  if (w.w.data != nullptr && w.scales.data != nullptr) check_codes(view, name);
  if (w.w.shape.back() * 32 != k * w.spec.bits)
    fail(ErrorCode::corrupt,
         "{}.weight: {} packed columns of {} bits are {} inputs; config.json makes it {}", name,
         w.w.shape.back(), w.spec.bits, w.w.shape.back() * 32 / w.spec.bits, k);
  w.type = w.scales.type;
  read_tensor_scales(global, name, w);
  return w;
}

Vector CheckpointWeights::vector(const std::string& name, std::int64_t width) {
  const TensorView& view = take(name);
  if (!is_float(view.type) || count_of(view.shape, name) != width)
    fail(ErrorCode::corrupt, "{}: {} of shape {}; expected {} floating-point elements", name,
         to_string(view.type), shape_text(view.shape), width);
  return {name, view};
}

Vector CheckpointWeights::table(const std::string& name, std::int64_t rows, std::int64_t width) {
  const TensorView& view = take(name);
  if (!is_float(view.type) || view.shape != Shape{rows, width})
    fail(ErrorCode::corrupt, "{}: {} of shape {}; expected {} floating-point elements", name,
         to_string(view.type), shape_text(view.shape), shape_text({rows, width}));
  return {name, view};
}

void CheckpointWeights::check_all_used(bool tied) const {
  std::string names;
  int count = 0;
  for (const auto& [name, view] : tensors_) {
    if (used_.count(name) != 0) continue;
    // Old exports carry the rotary frequencies, and tied models sometimes a copy of the embedding:
    // both are harmless.
    if (name.ends_with("rotary_emb.inv_freq") || (tied && name.starts_with("lm_head."))) continue;
    if (++count <= 5) names += (count == 1 ? "" : ", ") + name;
  }
  if (count > 0)
    fail(ErrorCode::corrupt, "{}: {} tensors that a {} model does not have: {}{}",
         tensors_.origin(), count, config_.model_type(), names, count > 5 ? ", ..." : "");
}

DType float_type_of(const TensorMap& tensors) {
  DType found = DType::f32;
  bool any = false;
  for (const auto& [name, view] : tensors) {
    if (!is_float(view.type)) continue;
    if (view.shape.size() == 1 && name.find("global_scale") == std::string::npos) return view.type;
    if (!any) found = view.type;
    any = true;
  }
  return found;
}

}  // namespace stepless
