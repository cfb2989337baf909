#include "model/convert_recipe.hpp"

#include <charconv>

#include "base/error.hpp"

namespace stepless {
namespace {

/// Matrices that a family keeps at 8 bits, affine, group 64, whatever is asked: small ones that
/// decide much (routers), or whose blocks are too small for the scales of narrow formats (granite).
struct Keep {
  std::string_view model_type, suffix;
};
constexpr Keep kEightBits[] = {{"qwen3_moe", ".mlp.gate"},
                               {"qwen3_next", ".mlp.gate"},
                               {"qwen3_next", ".shared_expert_gate"},
                               {"gpt_oss", ".router"},
                               {"granite", ".self_attn.o_proj"},
                               {"granite", ".mlp.down_proj"},
                               {"granite", "lm_head"}};

struct Mixture {
  std::string_view name;
  int low, high;
};
constexpr Mixture kMixtures[] = {
    {"mixed_2_6", 2, 6}, {"mixed_3_4", 3, 4}, {"mixed_3_6", 3, 6}, {"mixed_4_6", 4, 6}};

bool keeps_eight_bits(std::string_view model_type, std::string_view layer) {
  for (const Keep& keep : kEightBits)
    if (keep.model_type == model_type && layer.ends_with(keep.suffix)) return true;
  return false;
}

/// The number in "model.layers.<number>."; 0 outside the layers, as mlx-lm counts them.
std::int64_t layer_index(std::string_view layer) {
  constexpr std::string_view kMark = "layers.";
  const auto at = layer.find(kMark);
  std::int64_t index = 0;
  if (at != std::string_view::npos)
    std::from_chars(layer.data() + at + kMark.size(), layer.data() + layer.size(), index);
  return index;
}

}  // namespace

Recipe::Recipe(const std::string& mixture, std::string_view model_type, const QuantSpec& base,
               std::int64_t layers)
    : base_(base), model_type_(model_type), layers_(layers) {
  if (mixture.empty()) return;
  for (const Mixture& known : kMixtures)
    if (known.name == mixture) widths_ = Widths{known.low, known.high};
  if (!widths_)
    fail(ErrorCode::invalid_argument,
         "quant predicate \"{}\": unknown; mixed_2_6, mixed_3_4, mixed_3_6 and mixed_4_6 are",
         mixture);
  if (base.mode != Mode::affine)
    fail(ErrorCode::invalid_argument, "quant predicate {} with mode {}; mixtures are affine",
         mixture, to_string(base.mode));
}

/// More bits for the head, and for values and down projections in the first and last eighth of the
/// layers and every third between.
int Recipe::mixed_bits(const std::string& layer) const {
  const std::int64_t index = layer_index(layer), eighth = layers_ / 8;
  const bool more =
      index < eighth || index >= 7 * layers_ / 8 || (index >= eighth && (index - eighth) % 3 == 2);
  const auto has = [&](const char* part) { return layer.find(part) != std::string::npos; };
  // qkv_proj of phi3 holds "v_proj", too: there the whole matrix gets more.
  if (more && (has("v_proj") || has("down_proj"))) return widths_->high;
  return has("lm_head") ? widths_->high : widths_->low;
}

LayerChoice Recipe::choose(const std::string& layer) const {
  if (widths_) return {{base_.mode, mixed_bits(layer), base_.group_size}, true};
  if (keeps_eight_bits(model_type_, layer)) return {{Mode::affine, 8, 64}, true};
  return {base_, false};
}

}  // namespace stepless
