// Qwen 3, dense: a norm on each head's queries and keys before rope. Every layer attends to
// everything, as in mlx-lm.
#include "model/transformer.hpp"

namespace stepless {

void build_qwen3(Builder& b, const Config& config) {
  expect_silu(config);
  const TransformerShape shape = read_shape(config, true);
  AttentionKnobs attention;
  attention.head_norm = HeadNorm::each;
  attention.rope = read_rope(config, shape.head_dim, {});
  ValueId h = b.embed("model.embed_tokens", shape.hidden);
  for (std::int64_t i = 0; i < shape.layers; ++i) {
    enter_layer(b, i);
    h = standard_block(b, h, shape, attention, {});
  }
  standard_head(b, h, shape);
}

}  // namespace stepless
