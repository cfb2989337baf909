// Gemma 1, 2 and 3 (text): norms of weight 1 + w, embeddings scaled by sqrt(width), gated GELU.
// Gemma 2 and 3 norm before and after each part; 2 caps scores and logits softly; 3 alternates
// sliding and full layers, each with its rope.
#include <cmath>

#include "base/error.hpp"
#include "format/dtype.hpp"
#include "model/transformer.hpp"

namespace stepless {
namespace {

constexpr float kOffset = 1;  // weights are stored as what is added to 1

struct GemmaKnobs {
  kernels::Activation activation = kernels::Activation::gelu_tanh;
  bool sandwich = true;  // norms after each part, too
  float embed_scale = 1, logit_softcap = 0;
  const char* head = "model.embed_tokens";
};

ValueId block(Builder& b, ValueId h, const TransformerShape& shape, const AttentionKnobs& attention,
              const GemmaKnobs& knobs) {
  const auto norm = [&](ValueId x, const char* name) {
    return b.norm(x, name, shape.norm_epsilon, kOffset);
  };
  MlpKnobs mlp;
  mlp.glu.activation = knobs.activation;
  ValueId mixed = self_attention(b, norm(h, "input_layernorm"), shape, attention);
  if (knobs.sandwich) mixed = norm(mixed, "post_attention_layernorm");
  h = b.add(h, mixed);
  ValueId inner = gated_mlp(
      b, norm(h, knobs.sandwich ? "pre_feedforward_layernorm" : "post_attention_layernorm"), shape,
      mlp);
  if (knobs.sandwich) inner = norm(inner, "post_feedforward_layernorm");
  return b.add(h, inner);
}

void build(Builder& b, const TransformerShape& shape, const std::vector<AttentionKnobs>& layers,
           const GemmaKnobs& knobs) {
  ValueId h = b.scale(b.embed("model.embed_tokens", shape.hidden), knobs.embed_scale);
  for (std::int64_t i = 0; i < shape.layers; ++i) {
    enter_layer(b, i);
    h = block(b, h, shape, layers[static_cast<std::size_t>(i)], knobs);
  }
  b.layer(-1, "");
  b.head(b.norm(b.take_sampled(h), "model.norm", shape.norm_epsilon, kOffset), knobs.head, 1,
         knobs.logit_softcap);
}

float root(std::int64_t width) { return static_cast<float>(std::sqrt(static_cast<double>(width))); }

std::vector<AttentionKnobs> same(const TransformerShape& shape, const AttentionKnobs& knobs) {
  return std::vector<AttentionKnobs>(static_cast<std::size_t>(shape.layers), knobs);
}

}  // namespace

void build_gemma(Builder& b, const Config& config) {
  const TransformerShape shape = read_shape(config, true);
  AttentionKnobs attention;
  attention.rope = read_rope(config, shape.head_dim, 10000.0);
  GemmaKnobs knobs;
  knobs.activation = kernels::Activation::gelu;  // as mlx-lm, whatever hidden_activation says
  knobs.sandwich = false;
  knobs.embed_scale = root(shape.hidden);
  build(b, shape, same(shape, attention), knobs);
}

void build_gemma2(Builder& b, const Config& config) {
  const TransformerShape shape = read_shape(config, true);
  AttentionKnobs attention;
  attention.rope = read_rope(config, shape.head_dim, 10000.0);
  attention.scale =
      static_cast<float>(1 / std::sqrt(config.number_or("query_pre_attn_scalar", 144, 1e-6, 1e6)));
  attention.softcap = static_cast<float>(config.number_or("attn_logit_softcapping", 50, 1e-3, 1e6));
  GemmaKnobs knobs;
  knobs.embed_scale = root(shape.hidden);
  knobs.logit_softcap =
      static_cast<float>(config.number_or("final_logit_softcapping", 30, 1e-3, 1e6));
  build(b, shape, same(shape, attention), knobs);
}

void build_gemma3_text(Builder& b, const Config& config) {
  const TransformerShape shape = read_shape(config, true);
  AttentionKnobs full;
  full.head_norm = HeadNorm::each;
  full.norm_offset = kOffset;
  full.rope = read_rope(config, shape.head_dim, 1e6);
  full.scale =
      static_cast<float>(1 / std::sqrt(config.number_or("query_pre_attn_scalar", 256, 1e-6, 1e6)));
  AttentionKnobs sliding = full;
  sliding.window = config.integer_or("sliding_window", 512, 1, std::int64_t{1} << 40);
  sliding.rope =
      plain_rope(shape.head_dim, config.number_or("rope_local_base_freq", 10000, 1, 1e15));
  const std::int64_t pattern = config.integer_or("sliding_window_pattern", 6, 1, 4096);
  std::vector<AttentionKnobs> layers;
  for (std::int64_t i = 0; i < shape.layers; ++i)
    layers.push_back((i + 1) % pattern == 0 ? full : sliding);
  GemmaKnobs knobs;
  knobs.embed_scale = bf16_to_f32(f32_to_bf16(root(shape.hidden)));  // mlx-lm rounds it to bfloat16
  if (b.has("lm_head.weight")) knobs.head = "lm_head";
  build(b, shape, layers, knobs);
}

}  // namespace stepless
