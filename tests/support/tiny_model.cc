#include "tests/support/tiny_model.hpp"

#include <filesystem>
#include <fstream>

#include "base/error.hpp"
#include "format/dtype.hpp"
#include "format/quantized.hpp"
#include "format/safetensors.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/random.hpp"

namespace stepless::test {
namespace {

constexpr std::int64_t kHidden = 64, kInner = 128, kVocab = 96, kKv = 32;

Json tiny_config(const TinyOptions& options) {
  return {{"model_type", "llama"},
          {"hidden_size", kHidden},
          {"num_hidden_layers", 2},
          {"intermediate_size", kInner},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"vocab_size", kVocab},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0},
          {"max_position_embeddings", 256},
          {"tie_word_embeddings", options.tied},
          {"attention_bias", options.biases},
          {"mlp_bias", options.biases},
          {"eos_token_id", 2}};
}

/// Values that depend on the tensor's name alone.
std::vector<float> random_values(const std::string& name, std::int64_t count, double mean,
                                 double spread) {
  std::uint64_t seed = 7;
  for (const char c : name) seed = seed * 131 + static_cast<unsigned char>(c);
  Random random(seed);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = static_cast<float>(mean + spread * random.normal());
  return values;
}

void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

}  // namespace

Tensor tensor_of(DType type, Shape shape, const std::vector<float>& values) {
  Tensor tensor;
  tensor.type = type;
  tensor.shape = std::move(shape);
  tensor.data.resize(values.size() * static_cast<std::size_t>(size_of(type)));
  from_f32(values.data(), type, tensor.data.data(), static_cast<std::int64_t>(values.size()));
  return tensor;
}

std::vector<float> values_of(const Tensor& tensor) {
  std::vector<float> values(static_cast<std::size_t>(count_of(tensor.shape, "values")));
  to_f32(tensor.data.data(), tensor.type, values.data(), static_cast<std::int64_t>(values.size()));
  return values;
}

Tensor& TinyModel::at(const std::string& name) {
  const auto found = tensors.find(name);
  if (found == tensors.end()) fail(ErrorCode::internal, "tiny model: no {}", name);
  return found->second;
}

void TinyModel::quantize(const std::string& name, const QuantSpec& spec,
                         std::optional<float> tensor_scale) {
  QuantizedTensors packed = stepless::quantize(at(name + ".weight").view(), spec, tensor_scale);
  tensors[name + ".weight"] = std::move(packed.packed);
  tensors[name + ".scales"] = std::move(packed.scales);
  if (packed.biases) tensors[name + ".biases"] = std::move(*packed.biases);
  if (packed.tensor_scale) tensors[name + ".global_scale"] = std::move(*packed.tensor_scale);
}

TinyModel TinyModel::decoded() const {
  TinyModel dense = *this;
  dense.config.erase("quantization");
  for (const auto& [full, tensor] : tensors) {
    if (!full.ends_with(".scales")) continue;
    const std::string name = full.substr(0, full.size() - 7);
    const auto view_of = [&](const char* part) {
      const auto found = tensors.find(name + part);
      return found == tensors.end() ? TensorView{} : found->second.view();
    };
    QuantizedView view{
        {}, view_of(".weight"), tensor.view(), view_of(".biases"), view_of(".global_scale")};
    const Json& block = config.at("quantization");
    const Json& entry = block.contains(name) && block[name].is_object() ? block[name] : block;
    view.spec = make_spec(parse_mode(entry.value("mode", "affine")), entry.at("bits").get<int>(),
                          entry.at("group_size").get<int>());
    dense.tensors[name + ".weight"] = dequantize(view, DType::f32);
    for (const char* part : {".scales", ".biases", ".global_scale"})
      dense.tensors.erase(name + part);
  }
  return dense;
}

std::string TinyModel::write(const std::string& name) const {
  const std::string folder = scratch_dir("tiny-" + name);
  write_text(folder + "/config.json", config.dump());
  if (!generation.is_null()) write_text(folder + "/generation_config.json", generation.dump());
  std::vector<NamedView> views;
  for (const auto& [tensor_name, tensor] : tensors) views.push_back({tensor_name, tensor.view()});
  write_safetensors(folder + "/model.safetensors", views);
  return folder;
}

TinyModel tiny_model(const TinyOptions& options) {
  TinyModel model;
  model.config = tiny_config(options);
  std::vector<std::string> matrices;
  const auto matrix = [&](const std::string& name, std::int64_t n, std::int64_t k) {
    model.tensors[name + ".weight"] =
        tensor_of(options.type, {n, k}, random_values(name, n * k, 0, 0.12));
    matrices.push_back(name);
  };
  const auto vector = [&](const std::string& name, std::int64_t width, double mean) {
    model.tensors[name] = tensor_of(options.type, {width}, random_values(name, width, mean, 0.1));
  };
  matrix("model.embed_tokens", kVocab, kHidden);
  if (!options.tied) matrix("lm_head", kVocab, kHidden);
  for (int i = 0; i < 2; ++i) {
    const std::string at = "model.layers." + std::to_string(i) + ".";
    const auto linear = [&](const std::string& name, std::int64_t n, std::int64_t k) {
      matrix(at + name, n, k);
      if (options.biases) vector(at + name + ".bias", n, 0);
    };
    vector(at + "input_layernorm.weight", kHidden, 1);
    linear("self_attn.q_proj", kHidden, kHidden);
    linear("self_attn.k_proj", kKv, kHidden);
    linear("self_attn.v_proj", kKv, kHidden);
    linear("self_attn.o_proj", kHidden, kHidden);
    vector(at + "post_attention_layernorm.weight", kHidden, 1);
    linear("mlp.gate_proj", kInner, kHidden);
    linear("mlp.up_proj", kInner, kHidden);
    linear("mlp.down_proj", kHidden, kInner);
  }
  vector("model.norm.weight", kHidden, 1);
  if (!options.spec) return model;
  for (const std::string& name : matrices)
    model.quantize(name, *options.spec, options.tensor_scale);
  model.config["quantization"] = {{"bits", options.spec->bits},
                                  {"group_size", options.spec->group_size},
                                  {"mode", std::string(to_string(options.spec->mode))}};
  return model;
}

}  // namespace stepless::test
