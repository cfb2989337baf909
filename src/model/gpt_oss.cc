// GPT-OSS: sliding and full layers in turn, a sink beside the scores of every head, and a mixture
// in every layer whose experts are mxfp4 with biases and a clamped, shifted SwiGLU.
#include "model/transformer.hpp"

namespace stepless {
namespace {

/// layer_types where the config has them, else sliding layers first and every other one.
std::vector<std::int64_t> alternating_windows(const Config& config, std::int64_t layers) {
  if (config.has("layer_types")) return read_windows(config, layers);
  const std::int64_t window = config.integer_or("sliding_window", 128, 1, std::int64_t{1} << 40);
  std::vector<std::int64_t> windows;
  for (std::int64_t i = 0; i < layers; ++i) windows.push_back(i % 2 == 0 ? window : 0);
  return windows;
}

}  // namespace

void build_gpt_oss(Builder& b, const Config& config) {
  expect_silu(config);
  const TransformerShape shape = read_shape(config, false);
  const std::vector<std::int64_t> windows = alternating_windows(config, shape.layers);
  MoeSpec mixture = read_mixture(config, "num_local_experts", "intermediate_size");
  mixture.router = "router";
  mixture.stack = "experts";
  mixture.bias = true;
  mixture.glu.activation = kernels::Activation::swish;
  mixture.glu.alpha = 1.702f;
  mixture.glu.limit = static_cast<float>(config.number_or("swiglu_limit", 7, 1e-3, 1e6));
  mixture.glu.up_offset = 1;
  AttentionKnobs attention;
  attention.bias = attention.output_bias = attention.sinks = true;
  attention.rope = read_rope(config, shape.head_dim, 150000.0);
  ValueId h = b.embed("model.embed_tokens", shape.hidden);
  for (std::int64_t i = 0; i < shape.layers; ++i) {
    enter_layer(b, i);
    attention.window = windows[static_cast<std::size_t>(i)];
    h = b.add(
        h, self_attention(b, b.norm(h, "input_layernorm", shape.norm_epsilon), shape, attention));
    h = b.add(h,
              b.mixture(b.norm(h, "post_attention_layernorm", shape.norm_epsilon), "mlp", mixture));
  }
  standard_head(b, h, shape);
}

}  // namespace stepless
