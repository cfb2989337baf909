// Phi 3: q, k, v and gate, up are each one matrix; rotary embeddings of a part of each head;
// longrope.
#include "model/transformer.hpp"

namespace stepless {

void build_phi3(Builder& b, const Config& config) {
  expect_silu(config);
  const TransformerShape shape = read_shape(config, false);
  const double share = config.number_or("partial_rotary_factor", 1, 0, 1);
  const auto dims = static_cast<std::int64_t>(static_cast<double>(shape.head_dim) * share);
  AttentionKnobs attention;
  attention.fused = Fused::yes;
  attention.rope = read_rope(config, dims, 10000.0);
  MlpKnobs mlp;
  mlp.fused = Fused::yes;
  ValueId h = b.embed("model.embed_tokens", shape.hidden);
  for (std::int64_t i = 0; i < shape.layers; ++i) {
    enter_layer(b, i);
    h = standard_block(b, h, shape, attention, mlp);
  }
  standard_head(b, h, shape);
}

}  // namespace stepless
