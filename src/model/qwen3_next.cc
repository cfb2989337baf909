// Qwen 3 Next: three layers in four keep a state of fixed size instead of keys and values (a gated
// delta net behind a short convolution), the fourth attends, its output gated. Mixtures of experts
// with one expert that every token shares, itself gated.
#include <cmath>

#include "base/error.hpp"
#include "model/import.hpp"
#include "model/transformer.hpp"

namespace stepless {
namespace {

using kernels::Activation;

struct NextShape {
  TransformerShape base;
  DeltaSpec delta;
  std::int64_t taps = 0, attention_interval = 0;
  bool attention_bias = false;
  RopeSpec rope;
  MoeSpec mixture;
  std::vector<bool> sparse;         // layers with a mixture
  std::int64_t shared_experts = 0;  // inner width of the expert that all tokens share
};

DeltaSpec read_delta(const Config& config) {
  DeltaSpec d;
  d.k_heads = config.integer("linear_num_key_heads", 1, 65536);
  d.v_heads = config.integer("linear_num_value_heads", 1, 65536);
  d.k_dim = config.integer("linear_key_head_dim", 1, kernels::kMostStateKeys);
  d.v_dim = config.integer("linear_value_head_dim", 1, 65536);
  if (d.v_heads % d.k_heads != 0)
    fail(ErrorCode::corrupt,
         "{}: linear_num_value_heads {} is no multiple of linear_num_key_heads {}", config.what(),
         d.v_heads, d.k_heads);
  return d;
}

RopeSpec read_partial_rope(const Config& config, std::int64_t head_dim) {
  const double factor = config.number("partial_rotary_factor", 0, 1);
  const auto dims = static_cast<std::int64_t>(static_cast<double>(head_dim) * factor);
  if (dims < 2 || dims % 2 != 0)
    fail(ErrorCode::corrupt,
         "{}: partial_rotary_factor {} of head_dim {} is {} elements; an even number, at least 2",
         config.what(), factor, head_dim, dims);
  return read_rope(config, dims, {});
}

NextShape read_next(const Config& config) {
  NextShape s;
  s.base = read_shape(config, false);
  s.delta = read_delta(config);
  s.taps = config.integer("linear_conv_kernel_dim", 1, kernels::kMostConvTaps);
  s.attention_interval = config.integer_or("full_attention_interval", 4, 1, 4096);
  s.attention_bias = config.flag_or("attention_bias", false);
  s.rope = read_partial_rope(config, s.base.head_dim);
  s.sparse = sparse_layers(config, s.base.layers);
  if (config.integer("num_experts", 0, 65536) == 0) {
    s.sparse.assign(s.sparse.size(), false);
    return s;
  }
  s.mixture = read_mixture(config, "num_experts", "moe_intermediate_size");
  s.mixture.normalize = config.flag_or("norm_topk_prob", false);
  s.shared_experts = config.integer("shared_expert_intermediate_size", 1, std::int64_t{1} << 24);
  return s;
}

/// linear_attn: the projections hold, for each key head, its query, its key, and the values and
/// output gates that belong to it.
ValueId delta_net(Builder& b, ValueId x, const NextShape& s) {
  const DeltaSpec& d = s.delta;
  const std::int64_t shared = d.v_heads / d.k_heads, values = shared * d.v_dim;
  const ValueId all = b.linear(x, "linear_attn.in_proj_qkvz", 2 * d.k_heads * (d.k_dim + values));
  const ValueId gates = b.linear_f32(x, "linear_attn.in_proj_ba", 2 * d.v_heads);
  const auto qkvz = b.split(all, d.k_heads, {d.k_dim, d.k_dim, values, values});
  const auto ba = b.split(gates, d.k_heads, {shared, shared});
  const ValueId qkv = b.conv({qkvz[0], qkvz[1], qkvz[2]}, "linear_attn.conv1d", s.taps);
  const ValueId y = b.delta(qkv, ba[1], ba[0], "linear_attn", d);
  const ValueId normed = b.head_norm(y, "linear_attn.norm", d.v_heads, s.base.norm_epsilon);
  return b.linear(b.glu(qkvz[3], normed, {Activation::silu}), "linear_attn.out_proj",
                  s.base.hidden);
}

/// self_attn: q_proj holds each head's query and the gate of its output.
ValueId gated_attention(Builder& b, ValueId x, const NextShape& next) {
  const TransformerShape& s = next.base;
  const std::int64_t kv_width = s.kv_heads * s.head_dim;
  const auto turned = [&](ValueId v, const char* norm, std::int64_t heads) {
    return b.rope(b.head_norm(v, norm, heads, s.norm_epsilon), next.rope, heads, s.head_dim);
  };
  const ValueId both =
      b.linear(x, "self_attn.q_proj", 2 * s.heads * s.head_dim, next.attention_bias);
  const ValueId k = b.linear(x, "self_attn.k_proj", kv_width, next.attention_bias);
  const ValueId v = b.linear(x, "self_attn.v_proj", kv_width, next.attention_bias);
  const auto q_gate = b.split(both, s.heads, {s.head_dim, s.head_dim});
  AttentionSpec attention;
  attention.heads = s.heads;
  attention.kv_heads = s.kv_heads;
  attention.head_dim = s.head_dim;
  attention.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(s.head_dim)));
  const ValueId q = turned(q_gate[0], "self_attn.q_norm", s.heads);
  const ValueId y = b.attention(q, turned(k, "self_attn.k_norm", s.kv_heads), v, attention);
  return b.linear(b.glu(q_gate[1], y, {Activation::sigmoid}), "self_attn.o_proj", s.hidden,
                  next.attention_bias);
}

ValueId shared_mixture(Builder& b, ValueId x, const NextShape& s) {
  TransformerShape shared = s.base;
  shared.intermediate = s.shared_experts;
  MlpKnobs knobs;
  knobs.name = "mlp.shared_expert";
  const ValueId chosen = b.mixture(x, "mlp", s.mixture);
  const ValueId gate = b.linear(x, "mlp.shared_expert_gate", 1);
  return b.add(chosen, b.glu(gate, gated_mlp(b, x, shared, knobs), {Activation::sigmoid}));
}

}  // namespace

void build_qwen3_next(Builder& b, const Config& config) {
  expect_silu(config);
  const NextShape s = read_next(config);
  ValueId h = b.embed("model.embed_tokens", s.base.hidden);
  for (std::int64_t i = 0; i < s.base.layers; ++i) {
    enter_layer(b, i);
    const ValueId x = b.norm(h, "input_layernorm", s.base.norm_epsilon);
    const bool attends = (i + 1) % s.attention_interval == 0;
    h = b.add(h, attends ? gated_attention(b, x, s) : delta_net(b, x, s));
    const ValueId z = b.norm(h, "post_attention_layernorm", s.base.norm_epsilon);
    h = b.add(h, s.sparse[static_cast<std::size_t>(i)] ? shared_mixture(b, z, s)
                                                       : gated_mlp(b, z, s.base, {}));
  }
  standard_head(b, h, s.base);
}

namespace {

/// Hugging Face's layout, told by what MLX's never holds: experts one by one, as mlx-lm tells it,
/// or taps of a convolution along the last axis.
bool from_hugging_face(const TensorMap& published) {
  for (const auto& [name, view] : published) {
    const Shape& shape = view.shape;
    if (parse_expert(name)) return true;
    if (name.ends_with("conv1d.weight") && shape.size() == 3 && shape[1] == 1 && shape[2] > 1)
      return true;
  }
  return false;
}

/// Norms that Hugging Face holds as what is added to 1: all but the delta nets' own.
bool around_one(std::string_view name) {
  for (const char* end : {".input_layernorm.weight", ".post_attention_layernorm.weight",
                          "model.norm.weight", ".q_norm.weight", ".k_norm.weight"})
    if (name.ends_with(end)) return true;
  return false;
}

}  // namespace

/// Heads that draft further tokens (mtp) go: no one asks for them.
std::vector<Piece> import_qwen3_next(const Config& config, const TensorMap& published,
                                     std::string_view name) {
  if (!from_hugging_face(published)) return import_plain(config, published, name);
  if (name.starts_with("mtp.")) return {};
  std::vector<Piece> pieces = import_experts(config, published, name, "num_experts");
  for (Piece& piece : pieces) {
    piece.turned = name.ends_with("conv1d.weight");
    piece.add = around_one(name) ? 1 : 0;
  }
  return pieces;
}

}  // namespace stepless
