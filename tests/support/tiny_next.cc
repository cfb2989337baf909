#include "tests/support/tiny_next.hpp"

#include <cmath>

#include "tests/support/random.hpp"

namespace stepless::test {
namespace {

constexpr std::int64_t kHidden = 32, kVocab = 96, kInner = 48, kExperts = 4, kExpertInner = 16;
constexpr std::int64_t kHeads = 2, kHeadDim = 16;                      // one KV head
constexpr std::int64_t kKeyHeads = 2, kValueHeads = 4, kStateDim = 8;  // keys and values alike

Json next_config() {
  return {{"model_type", "qwen3_next"},
          {"hidden_size", kHidden},
          {"num_hidden_layers", 4},
          {"intermediate_size", kInner},
          {"num_attention_heads", kHeads},
          {"num_key_value_heads", 1},
          {"head_dim", kHeadDim},
          {"partial_rotary_factor", 0.5},
          {"full_attention_interval", 2},
          {"linear_num_key_heads", kKeyHeads},
          {"linear_num_value_heads", kValueHeads},
          {"linear_key_head_dim", kStateDim},
          {"linear_value_head_dim", kStateDim},
          {"linear_conv_kernel_dim", 4},
          {"num_experts", kExperts},
          {"num_experts_per_tok", 2},
          {"moe_intermediate_size", kExpertInner},
          {"shared_expert_intermediate_size", kExpertInner},
          {"norm_topk_prob", true},
          {"decoder_sparse_step", 1},
          {"mlp_only_layers", {1}},
          {"vocab_size", kVocab},
          {"rms_norm_eps", 1e-6},
          {"rope_theta", 10000.0},
          {"max_position_embeddings", 256},
          {"tie_word_embeddings", false},
          {"eos_token_id", 2}};
}

struct Maker {
  TinyModel model;
  DType type;
  Random random{5};

  void tensor(const std::string& name, const Shape& shape, double mean, double spread) {
    std::int64_t count = 1;
    for (const std::int64_t n : shape) count *= n;
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = static_cast<float>(mean + spread * random.normal());
    model.tensors[name] = tensor_of(type, shape, values);
  }
  void matrix(const std::string& name, Shape shape) {
    const double spread = 1.3 / std::sqrt(static_cast<double>(shape.back()));
    tensor(name + ".weight", shape, 0, spread);
  }
  void norm(const std::string& name, std::int64_t width) {
    tensor(name + ".weight", {width}, 1, 0.2);
  }

  void mlp(const std::string& name, std::int64_t inner) {
    matrix(name + ".gate_proj", {inner, kHidden});
    matrix(name + ".up_proj", {inner, kHidden});
    matrix(name + ".down_proj", {kHidden, inner});
  }

  void delta_net(const std::string& name) {
    const std::int64_t keys = kKeyHeads * kStateDim, values = kValueHeads * kStateDim;
    matrix(name + ".in_proj_qkvz", {2 * keys + 2 * values, kHidden});
    matrix(name + ".in_proj_ba", {2 * kValueHeads, kHidden});
    tensor(name + ".conv1d.weight", {2 * keys + values, 4, 1}, 0, 0.6);
    tensor(name + ".A_log", {kValueHeads}, 0, 0.7);
    tensor(name + ".dt_bias", {kValueHeads}, 0, 0.3);
    norm(name + ".norm", kStateDim);
    matrix(name + ".out_proj", {kHidden, values});
  }

  void attention(const std::string& name) {
    matrix(name + ".q_proj", {2 * kHeads * kHeadDim, kHidden});
    matrix(name + ".k_proj", {kHeadDim, kHidden});
    matrix(name + ".v_proj", {kHeadDim, kHidden});
    matrix(name + ".o_proj", {kHidden, kHeads * kHeadDim});
    norm(name + ".q_norm", kHeadDim);
    norm(name + ".k_norm", kHeadDim);
  }

  void mixture(const std::string& name) {
    matrix(name + ".gate", {kExperts, kHidden});
    matrix(name + ".switch_mlp.gate_proj", {kExperts, kExpertInner, kHidden});
    matrix(name + ".switch_mlp.up_proj", {kExperts, kExpertInner, kHidden});
    matrix(name + ".switch_mlp.down_proj", {kExperts, kHidden, kExpertInner});
    mlp(name + ".shared_expert", kExpertInner);
    matrix(name + ".shared_expert_gate", {1, kHidden});
  }
};

}  // namespace

TinyModel tiny_next_model(DType type) {
  Maker m{{next_config(), {}, {}}, type};
  m.tensor("model.embed_tokens.weight", {kVocab, kHidden}, 0, 0.8);
  for (int i = 0; i < 4; ++i) {
    const std::string at = "model.layers." + std::to_string(i) + ".";
    m.norm(at + "input_layernorm", kHidden);
    if (i % 2 == 0)
      m.delta_net(at + "linear_attn");
    else
      m.attention(at + "self_attn");
    m.norm(at + "post_attention_layernorm", kHidden);
    if (i == 1)
      m.mlp(at + "mlp", kInner);
    else
      m.mixture(at + "mlp");
  }
  m.norm("model.norm", kHidden);
  m.matrix("lm_head", {kVocab, kHidden});
  return std::move(m.model);
}

}  // namespace stepless::test
