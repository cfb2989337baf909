// GPT-OSS: sliding and full layers in turn, a sink beside the scores of every head, and a mixture
// in every layer whose experts are mxfp4 with biases and a clamped, shifted SwiGLU.
#include "base/error.hpp"
#include "model/import.hpp"
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

/// gate_up_proj holds the lines of both in turn; codes are bytes, scales stand beside them.
std::vector<Piece> import_gpt_oss(const Config& config, const TensorMap& published,
                                  std::string_view name) {
  constexpr std::string_view kMark = ".mlp.experts.";
  const auto at = name.find(kMark);
  if (at == std::string_view::npos) return import_plain(config, published, name);
  const std::string stack(name.substr(0, at + kMark.size()));
  const std::string_view rest = name.substr(at + kMark.size());
  struct Suffix {
    std::string_view published, ours;
    bool words;
  };
  constexpr Suffix kSuffixes[] = {{"_proj_blocks", "_proj.weight", true},
                                  {"_proj_scales", "_proj.scales", false},
                                  {"_proj_bias", "_proj.bias", false}};
  for (const Suffix& suffix : kSuffixes) {
    const std::string ours(suffix.ours);
    if (rest == "gate_up" + std::string(suffix.published))
      return {{stack + "gate" + ours, 0, 0, Lines::even, suffix.words},
              {stack + "up" + ours, 0, 0, Lines::odd, suffix.words}};
    if (rest == "down" + std::string(suffix.published))
      return {{stack + "down" + ours, 0, 0, Lines::all, suffix.words}};
  }
  if (rest == "gate_up_proj" || rest == "down_proj")
    fail(ErrorCode::unsupported,
         "{}: experts that are not packed; the published ones are mxfp4, {}_blocks and {}_scales",
         name, rest, rest);
  return import_plain(config, published, name);
}

}  // namespace stepless
