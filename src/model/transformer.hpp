// What the families of decoder-only transformers share: their sizes and rotary embeddings, read
// from config.json.
#pragma once
#include "model/config.hpp"
#include "ops/builder.hpp"

namespace stepless {

struct TransformerShape {
  std::int64_t hidden = 0, layers = 0, intermediate = 0, heads = 0, kv_heads = 0, head_dim = 0,
               vocab = 0;
  float norm_epsilon = 0;
  bool tied = true;
};

/// Reads and checks the common fields; head_dim defaults to hidden / heads. Throws Error (corrupt)
/// with the field.
TransformerShape read_shape(const Config& config, bool tied_by_default);

/// The rotary embedding of `dims` elements: rope_theta and rope_scaling, or both inside
/// rope_parameters. Types default, linear, llama3 and yarn. Throws Error: corrupt (a field),
/// unsupported (another type, by name).
RopeSpec read_rope(const Config& config, std::int64_t dims, std::optional<double> theta_by_default);

/// Layers whose layer_types entry is "sliding_attention" get sliding_window, others 0. Empty
/// layer_types: all 0.
std::vector<std::int64_t> read_windows(const Config& config, std::int64_t layers);

/// The block most families share: norm, q/k/v, rope, attention, residual, norm, gated MLP,
/// residual. Its knobs are what families differ in.
struct BlockKnobs {
  bool attention_bias = false, output_bias = false, mlp_bias = false, head_norms = false;
  kernels::Activation activation = kernels::Activation::silu;
};
ValueId standard_block(Builder& b, ValueId h, const TransformerShape& shape, const RopeSpec& rope,
                       std::int64_t window, const BlockKnobs& knobs);

/// Embedding, `layers` standard blocks, final norm and head.
void standard_decoder(Builder& b, const Config& config, const TransformerShape& shape,
                      const RopeSpec& rope, const std::vector<std::int64_t>& windows,
                      const BlockKnobs& knobs);

}  // namespace stepless
