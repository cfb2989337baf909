// Llama 1-3 and Mistral: grouped-query attention, optional biases, llama3 rope scaling, sliding
// layers by layer_types. SmolLM3 is Llama with layers that encode no position.
#include "base/error.hpp"
#include "model/transformer.hpp"

namespace stepless {
namespace {

void build(Builder& b, const Config& config, const std::vector<bool>& has_rope) {
  expect_silu(config);
  const TransformerShape shape = read_shape(config, true);
  const RopeSpec rope = read_rope(config, shape.head_dim, 10000.0);
  const std::vector<std::int64_t> windows = read_windows(config, shape.layers);
  AttentionKnobs attention;
  attention.bias = attention.output_bias = config.flag_or("attention_bias", false);
  MlpKnobs mlp;
  mlp.bias = config.flag_or("mlp_bias", false);
  ValueId h = b.embed("model.embed_tokens", shape.hidden);
  for (std::int64_t i = 0; i < shape.layers; ++i) {
    const auto at = static_cast<std::size_t>(i);
    enter_layer(b, i);
    attention.window = windows[at];
    attention.rope = has_rope.empty() || has_rope[at] ? std::optional(rope) : std::nullopt;
    h = standard_block(b, h, shape, attention, mlp);
  }
  standard_head(b, h, shape);
}

}  // namespace

void build_llama(Builder& b, const Config& config) { build(b, config, {}); }

void build_smollm3(Builder& b, const Config& config) {
  const std::int64_t layers = config.integer("num_hidden_layers", 1, 4096);
  std::vector<bool> has_rope;
  if (const Json* given = config.list("no_rope_layers")) {
    for (const Json& one : *given) {
      if (!one.is_boolean() && one != 0 && one != 1)
        fail(ErrorCode::corrupt, "{}: no_rope_layers[{}] is {}; 1 or 0", config.what(),
             has_rope.size(), one.dump());
      has_rope.push_back(one.is_boolean() ? one.get<bool>() : one != 0);
    }
  } else {
    const std::int64_t interval = config.integer_or("no_rope_layer_interval", 4, 1, 4096);
    for (std::int64_t i = 0; i < layers; ++i) has_rope.push_back((i + 1) % interval != 0);
  }
  if (static_cast<std::int64_t>(has_rope.size()) != layers)
    fail(ErrorCode::corrupt, "{}: no_rope_layers has {} entries, num_hidden_layers is {}",
         config.what(), has_rope.size(), layers);
  build(b, config, has_rope);
}

}  // namespace stepless
