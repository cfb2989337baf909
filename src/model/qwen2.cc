// Qwen 2 and 2.5: biases on q, k and v; yarn for long contexts. As in mlx-lm every layer attends to
// everything: use_sliding_window and layer_types are not looked at.
#include "model/transformer.hpp"

namespace stepless {

void build_qwen2(Builder& b, const Config& config) {
  const TransformerShape shape = read_shape(config, true);
  BlockKnobs knobs;
  knobs.attention_bias = true;
  standard_decoder(b, config, shape, read_rope(config, shape.head_dim, 1e6),
                   std::vector<std::int64_t>(static_cast<std::size_t>(shape.layers), 0), knobs);
}

}  // namespace stepless
