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

/// theta^(-2i/dims), no scaling.
RopeSpec plain_rope(std::int64_t dims, double theta);

/// Layers whose layer_types entry is "sliding_attention" get sliding_window, others 0. Empty
/// layer_types: all 0.
std::vector<std::int64_t> read_windows(const Config& config, std::int64_t layers);

/// How queries and keys are normalized before rope: not at all, each head alone, or the whole row.
enum class HeadNorm : std::uint8_t { none, each, whole };
/// q, k, v (and gate, up) as matrices of their own, or as the rows of one.
enum class Fused : std::uint8_t { no, yes };

/// What families differ in inside attention.
struct AttentionKnobs {
  bool bias = false, output_bias = false;
  HeadNorm head_norm = HeadNorm::none;
  float norm_offset = 0;  // added to the weights of those norms
  Fused fused = Fused::no;
  std::optional<RopeSpec> rope;  // none: positions are not encoded
  std::int64_t window = 0;
  std::optional<float> scale;  // none: 1 / sqrt(head_dim)
  float softcap = 0;
  bool sinks = false;  // self_attn.sinks: one more logit per head
};
/// self_attn.{q,k,v,o}_proj around attention. Returns what is added to the residual stream.
ValueId self_attention(Builder& b, ValueId x, const TransformerShape& shape,
                       const AttentionKnobs& knobs);

struct MlpKnobs {
  std::string name = "mlp";
  bool bias = false;
  Fused fused = Fused::no;
  GluSpec glu;
};
/// `name`.{gate,up,down}_proj: down(act(gate(x)) * up(x)).
ValueId gated_mlp(Builder& b, ValueId x, const TransformerShape& shape, const MlpKnobs& knobs);

/// Experts, experts per token and the width inside one, from these fields and num_experts_per_tok.
/// Throws Error (corrupt) with the field.
MoeSpec read_mixture(const Config& config, const char* experts, const char* inner);

/// Layers with a mixture, by decoder_sparse_step and mlp_only_layers; the others have a plain MLP.
std::vector<bool> sparse_layers(const Config& config, std::int64_t layers);

/// Sets the builder to layer i of "model.layers".
void enter_layer(Builder& b, std::int64_t i);

/// h + attention(norm(h)), then h + mlp(norm(h)): the block of most families.
ValueId standard_block(Builder& b, ValueId h, const TransformerShape& shape,
                       const AttentionKnobs& attention, const MlpKnobs& mlp);

/// Final norm of the sampled rows and the head, tied or not.
void standard_head(Builder& b, ValueId h, const TransformerShape& shape);

/// Throws Error (unsupported) unless hidden_act is silu, as it is in every checkpoint of these
/// families.
void expect_silu(const Config& config);

}  // namespace stepless
