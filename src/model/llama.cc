// Llama 1-3 and Mistral: grouped-query attention, optional biases, llama3 rope scaling, sliding
// layers by layer_types.
#include "model/transformer.hpp"

namespace stepless {

void build_llama(Builder& b, const Config& config) {
  const TransformerShape shape = read_shape(config, true);
  BlockKnobs knobs;
  knobs.attention_bias = knobs.output_bias = config.flag_or("attention_bias", false);
  knobs.mlp_bias = config.flag_or("mlp_bias", false);
  standard_decoder(b, config, shape, read_rope(config, shape.head_dim, 10000.0),
                   read_windows(config, shape.layers), knobs);
}

}  // namespace stepless
