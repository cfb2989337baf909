// Random weights of a known shape, in memory: for benches and tests of speed. 4-bit g64 affine
// everywhere; scales, biases and norms of bf16, or of f16 where activations are.
#include <algorithm>
#include <cmath>

#include "base/checked.hpp"
#include "base/large_buffer.hpp"
#include "base/memory.hpp"
#include "format/dtype.hpp"
#include "model/finish.hpp"

namespace stepless {
namespace {

struct SyntheticShape {
  const char* name;
  const char* config;
};

// Sizes as the published config.json of each model has them.
constexpr SyntheticShape kShapes[] = {
    {"qwen3-0.6b",
     R"({"model_type":"qwen3","hidden_size":1024,"num_hidden_layers":28,"intermediate_size":3072,
      "num_attention_heads":16,"num_key_value_heads":8,"head_dim":128,"vocab_size":151936,"rms_norm_eps":1e-6,
      "rope_theta":1000000,"max_position_embeddings":40960,"tie_word_embeddings":true})"},
    {"llama-3.2-3b",
     R"({"model_type":"llama","hidden_size":3072,"num_hidden_layers":28,"intermediate_size":8192,
      "num_attention_heads":24,"num_key_value_heads":8,"head_dim":128,"vocab_size":128256,"rms_norm_eps":1e-5,
      "rope_theta":500000,"max_position_embeddings":131072,"tie_word_embeddings":true,
      "rope_scaling":{"rope_type":"llama3","factor":32,"low_freq_factor":1,"high_freq_factor":4,
      "original_max_position_embeddings":8192}})"},
    {"qwen3-4b",
     R"({"model_type":"qwen3","hidden_size":2560,"num_hidden_layers":36,"intermediate_size":9728,
      "num_attention_heads":32,"num_key_value_heads":8,"head_dim":128,"vocab_size":151936,"rms_norm_eps":1e-6,
      "rope_theta":1000000,"max_position_embeddings":40960,"tie_word_embeddings":true})"},
    {"qwen3-30b-a3b",
     R"({"model_type":"qwen3_moe","hidden_size":2048,"num_hidden_layers":48,"intermediate_size":6144,
      "num_attention_heads":32,"num_key_value_heads":4,"head_dim":128,"vocab_size":151936,"rms_norm_eps":1e-6,
      "rope_theta":1000000,"max_position_embeddings":40960,"tie_word_embeddings":false,"num_experts":128,
      "num_experts_per_tok":8,"moe_intermediate_size":768,"norm_topk_prob":true,"decoder_sparse_step":1,
      "mlp_only_layers":[]})"},
};

/// A weak but quick generator: benches need bytes that no cache or branch can guess, no more.
class XorShift {
 public:
  std::uint64_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }

 private:
  std::uint64_t state_ = 88172645463325252u;
};

class SyntheticWeights final : public WeightSource {
 public:
  SyntheticWeights(TensorMap& tensors, DType type) : tensors_(tensors), type_(type) {}

  Matrix matrix(const std::string& name, std::int64_t n, std::int64_t k) override {
    return packed(name, {n}, k);
  }

  Matrix experts(const std::string& name, std::int64_t experts, std::int64_t n,
                 std::int64_t k) override {
    Matrix w = packed(name, {experts, n}, k);
    w.experts = experts;
    return w;
  }

  Vector vector(const std::string& name, std::int64_t width) override {
    return {name, filled(name, {width}, 1)};
  }

  Vector table(const std::string& name, std::int64_t, std::int64_t) override {
    fail(ErrorCode::unsupported, "{}: no synthetic experts have biases", name);
  }

  bool has(const std::string&) const override { return false; }

 private:
  Matrix packed(const std::string& name, const Shape& rows, std::int64_t k) {
    const QuantSpec spec{Mode::affine, 4, 64};
    if (k % spec.group_size != 0) fail(ErrorCode::internal, "{}: {} inputs", name, k);
    const auto with = [&](std::int64_t columns) {
      Shape shape = rows;
      shape.push_back(columns);
      return shape;
    };
    Matrix w;
    w.name = name;
    w.packed = true;
    w.spec = spec;
    w.type = type_;
    w.n = rows.back();
    w.k = k;
    w.w = bytes(name + ".weight", DType::u32, with(k / 8));
    auto* words = reinterpret_cast<std::uint64_t*>(const_cast<std::byte*>(w.w.data));
    for (std::int64_t i = 0; i < count_of(w.w.shape, name) / 2; ++i) words[i] = random_.next();
    // Weights of about 1 / sqrt(k): activations neither vanish nor overflow over many layers.
    const float scale = 0.25f / std::sqrt(static_cast<float>(k));
    w.scales = filled(name + ".scales", with(k / 64), scale);
    w.biases = filled(name + ".biases", with(k / 64), -7.5f * scale);
    return w;
  }

  TensorView bytes(const std::string& name, DType type, Shape shape) {
    const std::int64_t size = bytes_of(shape, type, name);
    if (slab_ == nullptr || size > slab_->size() - used_) {
      const std::int64_t more = std::max(size, kSlabBytes);
      if (more > available_memory_bytes())
        fail(ErrorCode::exhausted, "{}: {} bytes; {} are free", name, more,
             available_memory_bytes());
      slab_ = std::make_shared<LargeBuffer>(more, name, Pages::huge);
      used_ = 0;
    }
    const TensorView view{slab_->data() + used_, type, std::move(shape)};
    used_ += round_up(size, kAlignment);
    tensors_.add(name, view, slab_);
    return view;
  }

  TensorView filled(const std::string& name, Shape shape, float value) {
    const TensorView view = bytes(name, type_, std::move(shape));
    auto* codes = reinterpret_cast<std::uint16_t*>(const_cast<std::byte*>(view.data));
    const std::int64_t count = count_of(view.shape, name);
    for (std::int64_t i = 0; i < count; ++i) {
      const float each = value * (1 + 0.03f * static_cast<float>(i % 7));
      codes[i] = type_ == DType::f16 ? f32_to_f16(each) : f32_to_bf16(each);
    }
    return view;
  }

  /// Tensors side by side in huge pages, as those of a checkpoint's file lie where the page cache
  /// has such (base/mapped_file.cc).
  static constexpr std::int64_t kSlabBytes = std::int64_t{64} << 20, kAlignment = 64;

  TensorMap& tensors_;
  const DType type_;
  XorShift random_;
  std::shared_ptr<LargeBuffer> slab_;
  std::int64_t used_ = 0;
};

/// Bytes of all weights, before any is allocated: 4.5 bits per weight of every matrix.
std::int64_t estimate(const Config& c) {
  const auto get = [&](const char* name) { return c.integer(name, 1, INT32_MAX); };
  const std::int64_t hidden = get("hidden_size"), head = get("head_dim");
  const std::int64_t attention =
      hidden * head * (2 * get("num_attention_heads") + 2 * get("num_key_value_heads"));
  const bool mixture = c.has("num_experts");
  const std::int64_t inner =
      mixture ? get("num_experts") * get("moe_intermediate_size") : get("intermediate_size");
  const std::int64_t layer = attention + 3 * hidden * inner;
  const std::int64_t tables = c.flag_or("tie_word_embeddings", false) ? 1 : 2;
  return (get("num_hidden_layers") * layer + tables * get("vocab_size") * hidden) / 16 * 9;
}

}  // namespace

std::shared_ptr<const LoadedModel> synthetic_model(const std::string& shape,
                                                   const LoadOptions& options) {
  std::string known;
  for (const SyntheticShape& candidate : kShapes) {
    known += (known.empty() ? "" : ", ") + std::string(candidate.name);
    if (shape != candidate.name) continue;
    auto model = std::make_shared<LoadedModel>();
    model->name = shape + " (synthetic)";
    model->config = Config::from_json(parse_json(candidate.config, shape), shape);
    const std::int64_t needed = estimate(model->config), free = available_memory_bytes();
    if (needed > free / 10 * 9)
      fail(ErrorCode::exhausted,
           "{}: its weights take {} bytes; {} are free, of which 90 % may be used", shape, needed,
           free);
    const DType type = options.act == DType::f16 ? DType::f16 : DType::bf16;
    SyntheticWeights weights(model->tensors, type);
    finish_model(*model, find_family(model->config), weights, type, options);
    return model;
  }
  fail(ErrorCode::not_found, "synthetic model \"{}\"; there are {}", shape, known);
}

}  // namespace stepless
