// Granite: Llama with multipliers on embeddings, attention scores, residuals and logits.
#include "model/transformer.hpp"

namespace stepless {

void build_granite(Builder& b, const Config& config) {
  expect_silu(config);
  const TransformerShape shape = read_shape(config, true);
  const auto multiplier = [&](const char* name) {
    return static_cast<float>(config.number(name, -1e6, 1e6));
  };
  const float residual = multiplier("residual_multiplier");
  const double logits = config.number("logits_scaling", 1e-6, 1e6);
  AttentionKnobs attention;
  attention.bias = attention.output_bias = config.flag_or("attention_bias", false);
  attention.rope = read_rope(config, shape.head_dim, {});
  attention.scale = multiplier("attention_multiplier");
  MlpKnobs mlp;
  mlp.bias = config.flag_or("mlp_bias", false);
  ValueId h =
      b.scale(b.embed("model.embed_tokens", shape.hidden), multiplier("embedding_multiplier"));
  for (std::int64_t i = 0; i < shape.layers; ++i) {
    enter_layer(b, i);
    h = b.add(h,
              self_attention(b, b.norm(h, "input_layernorm", shape.norm_epsilon), shape, attention),
              residual);
    h = b.add(h,
              gated_mlp(b, b.norm(h, "post_attention_layernorm", shape.norm_epsilon), shape, mlp),
              residual);
  }
  b.layer(-1, "");
  b.head(b.norm(b.take_sampled(h), "model.norm", shape.norm_epsilon),
         shape.tied ? "model.embed_tokens" : "lm_head", static_cast<float>(1 / logits));
}

}  // namespace stepless
