// Weights that a Builder asks for, made up from their names, and a small decoder over them:
// programs without a checkpoint.
#pragma once
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "format/dtype.hpp"
#include "ops/builder.hpp"
#include "stepless/quant.hpp"
#include "tests/support/random.hpp"

namespace stepless::test {

/// Random weights, the same for the same name; `spec` packs every matrix.
class ToyWeights final : public WeightSource {
 public:
  explicit ToyWeights(DType type, std::optional<QuantSpec> spec = {}) : type_(type), spec_(spec) {}

  Matrix matrix(const std::string& name, std::int64_t n, std::int64_t k) override {
    return stacked(name, {n, k}, 1);
  }
  Matrix experts(const std::string& name, std::int64_t count, std::int64_t n,
                 std::int64_t k) override {
    return stacked(name, {count, n, k}, count);
  }
  Vector vector(const std::string& name, std::int64_t width) override {
    asked.push_back(name);
    return {name, keep(name, {width}, 1, 0.1)};
  }
  Vector table(const std::string& name, std::int64_t rows, std::int64_t width) override {
    asked.push_back(name);
    return {name, keep(name, {rows, width}, 0, 0.1)};
  }
  bool has(const std::string& name) const override { return name.ends_with(".there"); }

  std::vector<std::string> asked;

 private:
  Matrix stacked(const std::string& name, const Shape& shape, std::int64_t experts) {
    asked.push_back(name);
    Matrix w;
    w.name = name;
    w.n = shape[shape.size() - 2], w.k = shape.back();
    w.experts = experts;
    w.type = type_;
    w.w = keep(name, shape, 0, 1 / std::sqrt(static_cast<double>(w.k)));
    if (!spec_) return w;
    auto packed = std::make_shared<QuantizedTensors>(quantize(w.w, *spec_));
    owners_.push_back(packed);
    w.packed = true;
    w.spec = *spec_;
    w.w = packed->packed.view();
    w.scales = packed->scales.view();
    if (packed->biases) w.biases = packed->biases->view();
    w.type = packed->scales.type;
    return w;
  }
  TensorView keep(const std::string& name, Shape shape, double mean, double spread) {
    std::uint64_t seed = 1;
    for (const char c : name) seed = seed * 131 + static_cast<unsigned char>(c);
    Random random(seed);
    auto tensor = std::make_shared<Tensor>();
    tensor->type = type_;
    tensor->shape = shape;
    std::vector<float> values(static_cast<std::size_t>(count_of(shape, name)));
    for (float& value : values) value = static_cast<float>(mean + spread * random.normal());
    tensor->data.resize(values.size() * static_cast<std::size_t>(size_of(type_)));
    from_f32(values.data(), type_, tensor->data.data(), static_cast<std::int64_t>(values.size()));
    owners_.push_back(tensor);
    return tensor->view();
  }

  DType type_;
  std::optional<QuantSpec> spec_;
  std::vector<std::shared_ptr<const void>> owners_;
};

inline constexpr std::int64_t kToyVocab = 50, kToyHidden = 64;

inline RopeSpec toy_rope(double theta = 100) {
  RopeSpec rope;
  for (int i = 0; i < 8; ++i) rope.inv_freq.push_back(std::pow(theta, -i / 8.0));
  return rope;
}

enum class Mlp { gated, mixture, biased_mixture };  // what the second layer has

/// Two layers of attention and gated MLP: 4 heads of 16 over 2 KV heads, a bias on q.
inline Program toy_decoder(WeightSource& weights, DType act, Mlp second = Mlp::gated) {
  Builder b(weights, act, kToyVocab);
  ValueId h = b.embed("embed", kToyHidden);
  for (int i = 0; i < 2; ++i) {
    b.layer(i, "layers." + std::to_string(i) + ".");
    const ValueId x = b.norm(h, "norm1", 1e-5f);
    const ValueId q = b.linear(x, "attn.q", 64, true);
    const ValueId k = b.head_norm(b.linear(x, "attn.k", 32), "attn.k_norm", 2, 1e-5f);
    const ValueId v = b.linear(x, "attn.v", 32);
    AttentionSpec attention;
    attention.heads = 4, attention.kv_heads = 2, attention.head_dim = 16;
    attention.scale = 0.25f;
    attention.window = i == 0 ? 0 : 3;
    if (second == Mlp::biased_mixture) attention.sinks = b.vector("attn.sinks", 4);
    const ValueId turned_q = b.rope(q, toy_rope(), 4, 16), turned_k = b.rope(k, toy_rope(), 2, 16);
    const ValueId mixed = b.attention(turned_q, turned_k, v, attention);
    h = b.add(h, b.linear(mixed, "attn.o", kToyHidden));
    const ValueId z = b.norm(h, "norm2", 1e-5f, 0.5f);
    const ValueId gate = b.linear(z, "mlp.gate", 96), up = b.linear(z, "mlp.up", 96);
    if (i == 1 && second != Mlp::gated) {
      MoeSpec moe;
      moe.experts = 5, moe.per_token = 2, moe.inner = 32;
      moe.bias = second == Mlp::biased_mixture;
      h = b.add(h, b.mixture(z, "moe", moe));
      continue;
    }
    const ValueId inner = b.glu(gate, up, {});
    h = b.add(h, b.linear(inner, "mlp.down", kToyHidden), 0.5f);
  }
  b.layer(-1, "");
  b.head(b.norm(b.take_sampled(h), "norm", 1e-5f), "embed", 0.5f, 30);
  return b.finish();
}

}  // namespace stepless::test
