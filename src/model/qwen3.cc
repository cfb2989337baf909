// Qwen 3, dense: a norm on each head's queries and keys before rope. Every layer attends to
// everything, as in mlx-lm.
#include "model/transformer.hpp"

namespace stepless {

void build_qwen3(Builder& b, const Config& config) {
  const TransformerShape shape = read_shape(config, true);
  BlockKnobs knobs;
  knobs.head_norms = true;
  standard_decoder(b, config, shape, read_rope(config, shape.head_dim, {}),
                   std::vector<std::int64_t>(static_cast<std::size_t>(shape.layers), 0), knobs);
}

}  // namespace stepless
