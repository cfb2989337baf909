// Mixtures of experts: Mixtral (every layer, Llama's attention) and Qwen 3 MoE (some layers, Qwen
// 3's attention).
#include "base/error.hpp"
#include "model/import.hpp"
#include "model/transformer.hpp"

namespace stepless {

void build_mixtral(Builder& b, const Config& config) {
  expect_silu(config);
  const TransformerShape shape = read_shape(config, false);
  const MoeSpec mixture = read_mixture(config, "num_local_experts", "intermediate_size");
  AttentionKnobs attention;
  attention.rope = read_rope(config, shape.head_dim, 1e6);
  ValueId h = b.embed("model.embed_tokens", shape.hidden);
  for (std::int64_t i = 0; i < shape.layers; ++i) {
    enter_layer(b, i);
    h = b.add(
        h, self_attention(b, b.norm(h, "input_layernorm", shape.norm_epsilon), shape, attention));
    h = b.add(h, b.mixture(b.norm(h, "post_attention_layernorm", shape.norm_epsilon),
                           "block_sparse_moe", mixture));
  }
  standard_head(b, h, shape);
}

void build_qwen3_moe(Builder& b, const Config& config) {
  expect_silu(config);
  const TransformerShape shape = read_shape(config, false);
  MoeSpec mixture = read_mixture(config, "num_experts", "moe_intermediate_size");
  mixture.normalize = config.flag_or("norm_topk_prob", false);
  const std::vector<bool> sparse = sparse_layers(config, shape.layers);
  AttentionKnobs attention;
  attention.head_norm = HeadNorm::each;
  attention.rope = read_rope(config, shape.head_dim, {});
  ValueId h = b.embed("model.embed_tokens", shape.hidden);
  for (std::int64_t i = 0; i < shape.layers; ++i) {
    enter_layer(b, i);
    h = b.add(
        h, self_attention(b, b.norm(h, "input_layernorm", shape.norm_epsilon), shape, attention));
    const ValueId x = b.norm(h, "post_attention_layernorm", shape.norm_epsilon);
    h = b.add(h, sparse[static_cast<std::size_t>(i)] ? b.mixture(x, "mlp", mixture)
                                                     : gated_mlp(b, x, shape, {}));
  }
  standard_head(b, h, shape);
}

/// Experts one by one: w1 is the gate, w3 the up, w2 the down projection.
std::vector<Piece> import_mixtral(const Config& config, const TensorMap& published,
                                  std::string_view name) {
  const auto expert = parse_expert(name);
  if (!expert) return import_plain(config, published, name);
  const auto dot = expert->rest.find('.');
  const std::string_view w = expert->rest.substr(0, dot);
  const char* part = w == "w1"   ? "gate_proj"
                     : w == "w2" ? "down_proj"
                     : w == "w3" ? "up_proj"
                                 : nullptr;
  if (part == nullptr || dot == std::string_view::npos)
    fail(ErrorCode::corrupt, "{}: an expert of mixtral has w1, w2 and w3", name);
  return {
      {std::string(expert->prefix) + ".switch_mlp." + part + std::string(expert->rest.substr(dot)),
       expert->index, config.integer("num_local_experts", 1, 65536)}};
}

/// Experts one by one, with the names they have in the stack.
std::vector<Piece> import_qwen3_moe(const Config& config, const TensorMap& published,
                                    std::string_view name) {
  return import_experts(config, published, name, "num_experts");
}

}  // namespace stepless
