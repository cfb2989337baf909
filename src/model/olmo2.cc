// OLMo 2: norms after attention and MLP instead of before, and over the whole width of queries and
// keys.
#include "model/transformer.hpp"

namespace stepless {

void build_olmo2(Builder& b, const Config& config) {
  expect_silu(config);
  const TransformerShape shape = read_shape(config, true);
  AttentionKnobs attention;
  attention.bias = attention.output_bias = config.flag_or("attention_bias", false);
  attention.head_norm = HeadNorm::whole;
  attention.rope = read_rope(config, shape.head_dim, 10000.0);
  MlpKnobs mlp;
  mlp.bias = config.flag_or("mlp_bias", false);
  ValueId h = b.embed("model.embed_tokens", shape.hidden);
  for (std::int64_t i = 0; i < shape.layers; ++i) {
    enter_layer(b, i);
    h = b.add(h, b.norm(self_attention(b, h, shape, attention), "post_attention_layernorm",
                        shape.norm_epsilon));
    h = b.add(
        h, b.norm(gated_mlp(b, h, shape, mlp), "post_feedforward_layernorm", shape.norm_epsilon));
  }
  standard_head(b, h, shape);
}

}  // namespace stepless
