// Qwen 2 and 2.5: biases on q, k and v; yarn for long contexts. As in mlx-lm every layer attends to
// everything: use_sliding_window and layer_types are not looked at.
#include "model/transformer.hpp"

namespace stepless {

void build_qwen2(Builder& b, const Config& config) {
  expect_silu(config);
  const TransformerShape shape = read_shape(config, true);
  AttentionKnobs attention;
  attention.bias = true;
  attention.rope = read_rope(config, shape.head_dim, 1e6);
  ValueId h = b.embed("model.embed_tokens", shape.hidden);
  for (std::int64_t i = 0; i < shape.layers; ++i) {
    enter_layer(b, i);
    h = standard_block(b, h, shape, attention, {});
  }
  standard_head(b, h, shape);
}

}  // namespace stepless
