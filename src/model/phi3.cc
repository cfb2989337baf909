// Phi 3: q, k, v and gate, up are each one matrix; rotary embeddings of a part of each head;
// longrope.
#include "base/error.hpp"
#include "model/transformer.hpp"

namespace stepless {

void build_phi3(Builder& b, const Config& config) {
  expect_silu(config);
  const TransformerShape shape = read_shape(config, false);
  const double share = config.number_or("partial_rotary_factor", 1, 1e-6, 1);
  const auto dims = static_cast<std::int64_t>(static_cast<double>(shape.head_dim) * share);
  if (dims < 2 || dims % 2 != 0)
    fail(ErrorCode::corrupt,
         "{}: partial_rotary_factor {} turns {} of a head's {} elements; rotary embeddings turn "
         "pairs",
         config.what(), share, dims, shape.head_dim);
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
