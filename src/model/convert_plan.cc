#include "model/convert_plan.hpp"

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>

#include "base/checked.hpp"
#include "base/error.hpp"
#include "format/dtype.hpp"
#include "format/quantized.hpp"
#include "model/convert_recipe.hpp"

namespace stepless {
namespace {

/// The float type asked for, or config.json's where it names one of the three; else none.
std::optional<DType> wanted_type(const Config& config, const ConvertOptions& options) {
  if (!options.dtype.empty()) return parse_float_dtype(options.dtype, "dtype");
  const auto named = config.text("torch_dtype");
  if (named == "float16" || named == "bfloat16" || named == "float32")
    return parse_float_dtype(*named, config.what());
  return std::nullopt;
}

OrderedJson spec_json(const QuantSpec& spec) {
  return {{"group_size", spec.group_size}, {"bits", spec.bits}, {"mode", to_string(spec.mode)}};
}

std::string format_text(const QuantSpec& spec) {
  return fmt::format("{} {}-bit g{}", to_string(spec.mode), spec.bits, spec.group_size);
}

/// config.json with its keys in order, as mlx-lm writes it: the stop tokens of
/// generation_config.json, and nothing of where it came from.
OrderedJson base_config(const Config& source) {
  const OrderedJson read =
      parse_ordered_json(read_text(source.what(), JsonLimits{}.bytes), source.what());
  std::map<std::string, OrderedJson> sorted;
  for (const auto& [key, value] : read.items())
    if (key != "_name_or_path" && key != "vision_config") sorted[key] = value;
  const std::string generation =
      std::filesystem::path(source.what()).replace_filename("generation_config.json").string();
  if (std::filesystem::exists(generation)) {
    const OrderedJson json =
        parse_ordered_json(read_text(generation, JsonLimits{}.bytes), generation);
    const auto eos = json.is_object() ? json.find("eos_token_id") : json.end();
    if (json.is_object() && eos != json.end() && !eos->is_null() && *eos != 0 && *eos != false)
      sorted["eos_token_id"] = *eos;
  }
  OrderedJson config = OrderedJson::object();
  for (auto& [key, value] : sorted) config[key] = std::move(value);
  return config;
}

class Planner {
 public:
  Planner(const ConvertSource& source, const ConvertOptions& options)
      : source_(source), options_(options), wanted_(wanted_type(source.config, options)) {}

  ConvertPlan make();

 private:
  void start_quantizing();
  void matrix(const std::string& layer, const Matrix& matrix);
  void dense(const std::string& layer, const Matrix& matrix);
  void packed(const std::string& layer, const Matrix& matrix);
  void copy(const std::string& name);
  void write(const std::string& name, DType type, Shape shape);
  void quantize(const std::string& layer, const Matrix& matrix, const LayerChoice& choice);
  void dequantize(const std::string& layer, const Matrix& matrix);
  void finish_config();
  void check_effect() const;
  DType float_type(DType own) const { return wanted_.value_or(own); }

  const ConvertSource& source_;
  const ConvertOptions& options_;
  std::optional<DType> wanted_;
  QuantSpec base_;                // quantize: of layers that config.json does not name
  std::optional<Recipe> recipe_;  // quantize only
  OrderedJson block_;             // the quantization block to be; null: none
  bool by_layer_ = false;         // every newly quantized layer is named in it
  std::map<std::string, std::int64_t> formats_;
  std::int64_t left_ = 0;  // dense matrices whose inputs are no multiple of the group
  ConvertPlan plan_;
};

void Planner::write(const std::string& name, DType type, Shape shape) {
  plan_.report.bytes = checked_add(plan_.report.bytes, bytes_of(shape, type, name), name);
  plan_.tensors.push_back({name, type, std::move(shape)});
}

/// A tensor that keeps its numbers. Floats take the type asked for; tensor scales stay float32, as
/// the format wants them.
void Planner::copy(const std::string& name) {
  const ImportedTensor& tensor = source_.tensor(name);
  const bool cast = is_float(tensor.type) && !name.ends_with(".global_scale");
  const DType type = cast ? float_type(tensor.type) : tensor.type;
  plan_.jobs.push_back({ConvertAction::copy, name, type, {}, false});
  write(name, type, tensor.shape);
}

void Planner::quantize(const std::string& layer, const Matrix& matrix, const LayerChoice& choice) {
  const DType type = float_type(matrix.type);
  const QuantSpec& spec = choice.spec;
  plan_.jobs.push_back({ConvertAction::quantize, layer, type, spec, false});
  Shape shape = source_.tensor(layer + ".weight").shape;
  shape.back() = packed_row_bytes(spec, matrix.k) / 4;
  write(layer + ".weight", DType::u32, shape);
  shape.back() = groups_of(spec, matrix.k);
  const bool affine = spec.mode == Mode::affine;
  write(layer + ".scales", affine ? type : DType::u8, shape);
  if (affine) write(layer + ".biases", type, shape);
  // What a family keeps at 8 bits is affine, and stands in config.json without a mode, as mlx-lm
  // writes it.
  OrderedJson entry = spec_json(spec);
  if (choice.named && options_.recipe.empty()) entry.erase("mode");
  if (choice.named || by_layer_) block_[layer] = entry;
  ++formats_[format_text(spec)];
  ++plan_.report.quantized_matrices;
}

void Planner::dense(const std::string& layer, const Matrix& matrix) {
  const auto named = source_.config.quantization_of(layer);
  const bool kept = named && !named->quantized;  // the block says `false`
  if (options_.quantize && !kept && matrix.k % base_.group_size == 0) {
    const LayerChoice choice = recipe_->choose(layer);
    if (matrix.k % choice.spec.group_size == 0) return quantize(layer, matrix, choice);
  }
  if (options_.quantize && !kept) ++left_;
  ++plan_.report.float_matrices;
  copy(layer + ".weight");
}

void Planner::dequantize(const std::string& layer, const Matrix& matrix) {
  // fp modes have no float type of their own: that of the checkpoint's other tensors.
  const DType type =
      float_type(is_float(matrix.type) ? matrix.type : float_type_of(source_.published));
  plan_.jobs.push_back({ConvertAction::dequantize, layer, type, matrix.spec, false});
  Shape shape = source_.tensor(layer + ".weight").shape;
  shape.back() = matrix.k;
  write(layer + ".weight", type, shape);
  ++plan_.report.float_matrices;
}

void Planner::packed(const std::string& layer, const Matrix& matrix) {
  if (options_.dequantize) return dequantize(layer, matrix);
  for (const char* part : {".weight", ".scales", ".biases", ".global_scale"}) {
    if (!source_.has(layer + part)) continue;
    copy(layer + part);
    ConvertJob& job = plan_.jobs.back();
    job.spec = matrix.spec;
    job.codes = matrix.spec.mode != Mode::affine && job.name != layer + ".global_scale";
  }
  ++formats_[format_text(matrix.spec)];
  ++plan_.report.quantized_matrices;
}

void Planner::matrix(const std::string& layer, const Matrix& matrix) {
  plan_.report.parameters = checked_add(
      plan_.report.parameters,
      checked_mul(checked_mul(matrix.n, matrix.k, layer), matrix.experts, layer), layer);
  if (matrix.packed)
    packed(layer, matrix);
  else
    dense(layer, matrix);
}

void Planner::start_quantizing() {
  base_ = make_spec(options_.mode, options_.bits, options_.group_size);
  const std::int64_t layers = source_.config.integer("num_hidden_layers", 1, 4096);
  recipe_.emplace(options_.recipe, source_.family->model_type, base_, layers);
  // A checkpoint that holds codes already keeps its block: what is new is named layer by layer.
  by_layer_ = !block_.is_null();
  if (!by_layer_) block_ = spec_json(base_);
}

/// A conversion that would change nothing it was asked to change is a mistake, not a copy.
void Planner::check_effect() const {
  const auto any = [&](ConvertAction action) {
    return std::ranges::any_of(plan_.jobs,
                               [&](const ConvertJob& job) { return job.action == action; });
  };
  if (options_.dequantize && !any(ConvertAction::dequantize))
    fail(ErrorCode::invalid_argument, "{}: no quantized matrix; there is nothing to dequantize",
         options_.source);
  if (!options_.quantize || any(ConvertAction::quantize)) return;
  if (!formats_.empty())
    fail(ErrorCode::invalid_argument,
         "{}: quantized already ({}); dequantize it first, or start from the float checkpoint",
         options_.source, formats_.begin()->first);
  fail(ErrorCode::invalid_argument,
       "{}: no matrix has inputs that are a multiple of the group, {}; nothing to quantize",
       options_.source, base_.group_size);
}

void Planner::finish_config() {
  OrderedJson& config = plan_.config;
  config.erase("quantization");
  config.erase("quantization_config");
  if (!block_.is_null() && !options_.dequantize) {
    config["quantization"] = block_;
    config["quantization_config"] = block_;
  }
  std::map<std::string, OrderedJson> sorted;
  for (const auto& [key, value] : config.items()) sorted[key] = value;
  config = OrderedJson::object();
  for (auto& [key, value] : sorted) config[key] = std::move(value);
}

ConvertPlan Planner::make() {
  plan_.config = base_config(source_.config);
  plan_.report.family = source_.family->model_type;
  if (source_.packed_by_mlx)
    block_ = plan_.config["quantization"];
  else if (plan_.config.contains("quantization_config"))  // Hugging Face's mxfp4
    block_ = spec_json(make_spec(Mode::mxfp4));
  if (options_.quantize) start_quantizing();
  for (const auto& [layer, matrix] : source_.matrices) this->matrix(layer, matrix);
  for (const std::string& name : source_.vectors) {
    const std::int64_t count = count_of(source_.tensor(name).shape, name);
    plan_.report.parameters = checked_add(plan_.report.parameters, count, name);
    copy(name);
  }
  check_effect();
  finish_config();
  ConvertReport& report = plan_.report;
  for (const auto& [format, count] : formats_)
    report.formats.push_back(
        fmt::format("{}: {} matri{}", format, count, count == 1 ? "x" : "ces"));
  if (left_ > 0)
    report.notes.push_back(fmt::format("{} matri{} stay{} float: the inputs are no multiple of {}",
                                       left_, left_ == 1 ? "x" : "ces", left_ == 1 ? "s" : "",
                                       base_.group_size));
  for (const std::string& note : source_.published.notes()) report.notes.push_back(note);
  report.tensors = static_cast<std::int64_t>(plan_.tensors.size());
  report.bits_per_weight = static_cast<double>(report.bytes) * 8 /
                           static_cast<double>(std::max<std::int64_t>(report.parameters, 1));
  return std::move(plan_);
}

}  // namespace

ConvertPlan plan_convert(const ConvertSource& source, const ConvertOptions& options) {
  if (options.quantize && options.dequantize)
    fail(ErrorCode::invalid_argument, "convert: quantize and dequantize; choose one");
  if (!options.quantize && (options.bits || options.group_size || !options.recipe.empty() ||
                            options.mode != Mode::affine))
    fail(ErrorCode::invalid_argument,
         "convert: a mode, bits, group or quant predicate without quantize; add quantize (-q)");
  return Planner(source, options).make();
}

}  // namespace stepless
