#include "model/transformer.hpp"

#include <cmath>

#include "base/error.hpp"

namespace stepless {
namespace {

constexpr std::int64_t kMostWidth = std::int64_t{1} << 24;

double field(const Config& config, const Json& block, const char* name,
             std::optional<double> fallback) {
  const auto at = block.find(name);
  if (at == block.end() || at->is_null()) {
    if (fallback) return *fallback;
    fail(ErrorCode::corrupt, "{}: rope scaling has no {}; a number", config.what(), name);
  }
  if (!at->is_number() || !std::isfinite(at->get<double>()) || at->get<double>() < 0)
    fail(ErrorCode::corrupt, "{}: rope scaling's {} is {}; a finite number, not negative",
         config.what(), name, at->dump());
  return at->get<double>();
}

double positive(const Config& config, const Json& block, const char* name,
                std::optional<double> fallback) {
  const double value = field(config, block, name, fallback);
  if (value <= 0)
    fail(ErrorCode::corrupt, "{}: rope scaling's {} is 0; a positive number", config.what(), name);
  return value;
}

/// Llama 3: long wavelengths are divided by factor, short ones kept, those between blended.
void scale_llama3(const Config& config, const Json& block, std::vector<double>& inv_freq) {
  const double factor = positive(config, block, "factor", {});
  const double low = positive(config, block, "low_freq_factor", 1.0);
  const double high = positive(config, block, "high_freq_factor", 4.0);
  const double context = positive(config, block, "original_max_position_embeddings", 8192.0);
  for (double& inv : inv_freq) {
    const double wavelength = 2 * M_PI / inv;
    if (wavelength > context / low) {
      inv /= factor;
    } else if (wavelength > context / high) {
      const double smooth = (context / wavelength - low) / (high - low);
      inv *= (1 - smooth) / factor + smooth;
    }
  }
}

/// YaRN (Peng et al. 2023): frequencies interpolated by a ramp over the rotations they make in the
/// original context.
void scale_yarn(const Config& config, const Json& block, std::int64_t dims, double theta,
                RopeSpec& rope) {
  const double factor = positive(config, block, "factor", {});
  const double context = positive(config, block, "original_max_position_embeddings", 4096.0);
  const double fast = positive(config, block, "beta_fast", 32.0),
               slow = positive(config, block, "beta_slow", 1.0);
  const double d = static_cast<double>(dims);
  const auto dimension_of = [&](double rotations) {
    return d * std::log(context / (rotations * 2 * M_PI)) / (2 * std::log(theta));
  };
  const double low = std::max(std::floor(dimension_of(fast)), 0.0);
  double high = std::min(std::ceil(dimension_of(slow)), d - 1);
  if (low == high) high += 0.001;
  for (std::size_t i = 0; i < rope.inv_freq.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    rope.inv_freq[i] *= (1 - ramp) + ramp / factor;
  }
  const auto magnitude = [&](double m) {
    return factor <= 1 ? 1.0 : 0.1 * m * std::log(factor) + 1;
  };
  rope.scale = magnitude(field(config, block, "mscale", 1.0)) /
               magnitude(field(config, block, "mscale_all_dim", 0.0));
}

/// LongRoPE (Ding et al. 2024) as mlx-lm runs it: long_factor at every length, and a magnitude from
/// how far the context was stretched.
void scale_long(const Config& config, const Json& block, RopeSpec& rope) {
  const auto at = block.find("long_factor");
  if (at == block.end() || !at->is_array() || at->size() != rope.inv_freq.size())
    fail(ErrorCode::corrupt, "{}: rope scaling's long_factor; a list of {} numbers", config.what(),
         rope.inv_freq.size());
  for (std::size_t i = 0; i < rope.inv_freq.size(); ++i) {
    const Json& factor = (*at)[i];
    if (!factor.is_number() || !std::isfinite(factor.get<double>()) || factor.get<double>() <= 0)
      fail(ErrorCode::corrupt, "{}: long_factor[{}] is {}; a positive number", config.what(), i,
           factor.dump());
    rope.inv_freq[i] /= factor.get<double>();
  }
  const double most = static_cast<double>(std::int64_t{1} << 40);
  const double original = block.contains("original_max_position_embeddings")
                              ? positive(config, block, "original_max_position_embeddings", {})
                              : config.number_or("original_max_position_embeddings", 4096, 2, most);
  const double stretch = config.number_or("max_position_embeddings", 131072, 1, most) / original;
  rope.scale = stretch <= 1 ? 1.0 : std::sqrt(1 + std::log(stretch) / std::log(original));
}

std::string rope_type(const Config& config, const Json* block) {
  if (block == nullptr) return "default";
  for (const char* key : {"type", "rope_type"}) {
    const auto at = block->find(key);
    if (at == block->end() || at->is_null()) continue;
    if (!at->is_string())
      fail(ErrorCode::corrupt, "{}: rope scaling's {} is {}; a word", config.what(), key,
           at->dump());
    return at->get<std::string>();
  }
  return "default";
}

double read_theta(const Config& config, const Json* parameters, std::optional<double> fallback) {
  const double most = 1e15;
  if (config.has("rope_theta")) return config.number("rope_theta", 1, most);
  if (parameters != nullptr) {
    const double theta = positive(config, *parameters, "rope_theta", fallback);
    if (theta >= 1 && theta <= most) return theta;
    fail(ErrorCode::corrupt, "{}: rope_theta is {}; from 1 to 1e15", config.what(), theta);
  }
  if (!fallback)
    fail(ErrorCode::corrupt, "{}: no rope_theta; a number from 1 to 1e15", config.what());
  return *fallback;
}

}  // namespace

TransformerShape read_shape(const Config& config, bool tied_by_default) {
  TransformerShape s;
  s.hidden = config.integer("hidden_size", 1, kMostWidth);
  s.layers = config.integer("num_hidden_layers", 1, 4096);
  s.intermediate = config.integer("intermediate_size", 1, kMostWidth);
  s.heads = config.integer("num_attention_heads", 1, 65536);
  s.kv_heads = config.integer_or("num_key_value_heads", s.heads, 1, 65536);
  s.vocab = config.integer("vocab_size", 1, std::int64_t{1} << 26);
  s.norm_epsilon = static_cast<float>(config.number("rms_norm_eps", 0, 1));
  s.tied = config.flag_or("tie_word_embeddings", tied_by_default);
  if (s.heads % s.kv_heads != 0)
    fail(ErrorCode::corrupt, "{}: num_attention_heads {} is no multiple of num_key_value_heads {}",
         config.what(), s.heads, s.kv_heads);
  if (!config.has("head_dim") && s.hidden % s.heads != 0)
    fail(ErrorCode::corrupt,
         "{}: hidden_size {} is no multiple of num_attention_heads {}, and head_dim is absent",
         config.what(), s.hidden, s.heads);
  s.head_dim = config.integer_or("head_dim", s.hidden / s.heads, 2, kernels::kMaxHeadDim);
  if (s.head_dim > kernels::kMaxHeadDim)
    fail(ErrorCode::corrupt,
         "{}: hidden_size {} over num_attention_heads {} makes head_dim {}; at most {}",
         config.what(), s.hidden, s.heads, s.head_dim, kernels::kMaxHeadDim);
  if (s.head_dim % 2 != 0)
    fail(ErrorCode::corrupt, "{}: head_dim {} is odd; rotary embeddings turn pairs", config.what(),
         s.head_dim);
  return s;
}

RopeSpec plain_rope(std::int64_t dims, double theta) {
  RopeSpec rope;
  for (std::int64_t i = 0; i < dims; i += 2)
    rope.inv_freq.push_back(std::pow(theta, -static_cast<double>(i) / static_cast<double>(dims)));
  return rope;
}

RopeSpec read_rope(const Config& config, std::int64_t dims,
                   std::optional<double> theta_by_default) {
  const Json* parameters = config.object("rope_parameters");
  const Json* scaling = config.object("rope_scaling");
  if (scaling == nullptr) scaling = parameters;
  const double theta = read_theta(config, parameters, theta_by_default);
  RopeSpec rope = plain_rope(dims, theta);
  rope.interleaved = config.flag_or("rope_traditional", false);
  const std::string type = rope_type(config, scaling);
  if (type == "default" || type == "mrope") return rope;
  if (type == "linear") {
    const double factor = positive(config, *scaling, "factor", {});
    for (double& inv : rope.inv_freq) inv /= factor;
  } else if (type == "llama3") {
    scale_llama3(config, *scaling, rope.inv_freq);
  } else if (type == "yarn") {
    scale_yarn(config, *scaling, dims, theta, rope);
  } else if (type == "longrope" || type == "su") {
    scale_long(config, *scaling, rope);
  } else {
    fail(ErrorCode::unsupported,
         "{}: rope scaling type \"{}\"; default, linear, llama3, yarn and longrope are there",
         config.what(), type);
  }
  bool finite = std::isfinite(rope.scale);
  for (const double inv : rope.inv_freq) finite = finite && std::isfinite(inv);
  if (!finite)
    fail(ErrorCode::corrupt,
         "{}: rope scaling of type \"{}\" with theta {} makes frequencies that are no numbers",
         config.what(), type, theta);
  return rope;
}

std::vector<std::int64_t> read_windows(const Config& config, std::int64_t layers) {
  std::vector<std::int64_t> windows(static_cast<std::size_t>(layers), 0);
  const std::vector<std::string> types = config.texts("layer_types");
  if (types.empty()) return windows;
  if (static_cast<std::int64_t>(types.size()) != layers)
    fail(ErrorCode::corrupt, "{}: layer_types has {} entries, num_hidden_layers is {}",
         config.what(), types.size(), layers);
  for (std::size_t i = 0; i < types.size(); ++i) {
    if (types[i] == "sliding_attention")
      windows[i] = config.integer("sliding_window", 1, std::int64_t{1} << 40);
    else if (types[i] != "full_attention")
      fail(ErrorCode::unsupported,
           "{}: layer_types[{}] is \"{}\"; full_attention and sliding_attention are there",
           config.what(), i, types[i]);
  }
  return windows;
}

ValueId self_attention(Builder& b, ValueId x, const TransformerShape& s,
                       const AttentionKnobs& knobs) {
  const std::int64_t width = s.heads * s.head_dim, kv_width = s.kv_heads * s.head_dim;
  std::vector<ValueId> qkv;
  if (knobs.fused == Fused::yes) {
    qkv = b.linear_rows(x, "self_attn.qkv_proj", {width, kv_width, kv_width});
  } else {
    qkv = {b.linear(x, "self_attn.q_proj", width, knobs.bias),
           b.linear(x, "self_attn.k_proj", kv_width, knobs.bias),
           b.linear(x, "self_attn.v_proj", kv_width, knobs.bias)};
  }
  ValueId q = qkv[0], k = qkv[1];
  if (knobs.head_norm != HeadNorm::none) {
    const bool each = knobs.head_norm == HeadNorm::each;
    q = b.head_norm(q, "self_attn.q_norm", each ? s.heads : 1, s.norm_epsilon, knobs.norm_offset);
    k = b.head_norm(k, "self_attn.k_norm", each ? s.kv_heads : 1, s.norm_epsilon,
                    knobs.norm_offset);
  }
  if (knobs.rope) {
    q = b.rope(q, *knobs.rope, s.heads, s.head_dim);
    k = b.rope(k, *knobs.rope, s.kv_heads, s.head_dim);
  }
  AttentionSpec attention;
  attention.heads = s.heads;
  attention.kv_heads = s.kv_heads;
  attention.head_dim = s.head_dim;
  attention.scale =
      knobs.scale.value_or(static_cast<float>(1 / std::sqrt(static_cast<double>(s.head_dim))));
  attention.softcap = knobs.softcap;
  attention.window = knobs.window;
  if (knobs.sinks) attention.sinks = b.vector("self_attn.sinks", s.heads);
  return b.linear(b.attention(q, k, qkv[2], attention), "self_attn.o_proj", s.hidden,
                  knobs.output_bias);
}

ValueId gated_mlp(Builder& b, ValueId x, const TransformerShape& s, const MlpKnobs& knobs) {
  std::vector<ValueId> both;
  if (knobs.fused == Fused::yes)
    both = b.linear_rows(x, knobs.name + ".gate_up_proj", {s.intermediate, s.intermediate});
  else
    both = {b.linear(x, knobs.name + ".gate_proj", s.intermediate, knobs.bias),
            b.linear(x, knobs.name + ".up_proj", s.intermediate, knobs.bias)};
  return b.linear(b.glu(both[0], both[1], knobs.glu), knobs.name + ".down_proj", s.hidden,
                  knobs.bias);
}

MoeSpec read_mixture(const Config& config, const char* experts, const char* inner) {
  MoeSpec spec;
  spec.experts = config.integer(experts, 1, 65536);
  spec.per_token = config.integer("num_experts_per_tok", 1, 64);
  spec.inner = config.integer(inner, 1, kMostWidth);
  if (spec.per_token > spec.experts)
    fail(ErrorCode::corrupt, "{}: num_experts_per_tok {} of {} experts", config.what(),
         spec.per_token, spec.experts);
  return spec;
}

std::vector<bool> sparse_layers(const Config& config, std::int64_t layers) {
  const std::int64_t step = config.integer_or("decoder_sparse_step", 1, 1, 4096);
  std::vector<bool> sparse;
  for (std::int64_t i = 0; i < layers; ++i) sparse.push_back((i + 1) % step == 0);
  if (const Json* plain = config.list("mlp_only_layers"))
    for (const Json& one : *plain) {
      if (!one.is_number_integer() || one.get<std::int64_t>() < 0 ||
          one.get<std::int64_t>() >= layers)
        fail(ErrorCode::corrupt, "{}: mlp_only_layers holds {}; layers from 0 to {}", config.what(),
             one.dump(), layers - 1);
      sparse[one.get<std::size_t>()] = false;
    }
  return sparse;
}

void enter_layer(Builder& b, std::int64_t i) {
  b.layer(static_cast<int>(i), "model.layers." + std::to_string(i) + ".");
}

ValueId standard_block(Builder& b, ValueId h, const TransformerShape& s,
                       const AttentionKnobs& attention, const MlpKnobs& mlp) {
  h = b.add(h, self_attention(b, b.norm(h, "input_layernorm", s.norm_epsilon), s, attention));
  return b.add(h, gated_mlp(b, b.norm(h, "post_attention_layernorm", s.norm_epsilon), s, mlp));
}

void standard_head(Builder& b, ValueId h, const TransformerShape& s) {
  b.layer(-1, "");
  b.head(b.norm(b.take_sampled(h), "model.norm", s.norm_epsilon),
         s.tied ? "model.embed_tokens" : "lm_head");
}

void expect_silu(const Config& config) {
  const std::string act = config.text("hidden_act").value_or("silu");
  if (act != "silu")
    fail(ErrorCode::unsupported, "{}: hidden_act \"{}\"; {} models use silu", config.what(), act,
         config.model_type());
}

}  // namespace stepless
