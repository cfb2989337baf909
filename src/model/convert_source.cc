#include "model/convert_source.hpp"

#include <filesystem>
#include <fstream>
#include <span>

#include "base/error.hpp"
#include "base/quote.hpp"
#include "format/dtype.hpp"

namespace stepless {
namespace fs = std::filesystem;
namespace {

/// Passes a family's questions on and remembers them: matrices may be quantized, vectors stay.
class AskedWeights final : public WeightSource {
 public:
  AskedWeights(CheckpointWeights& weights, ConvertSource& source)
      : weights_(weights), source_(source) {}

  Matrix matrix(const std::string& name, std::int64_t n, std::int64_t k) override {
    return noted(weights_.matrix(name, n, k));
  }
  Matrix experts(const std::string& name, std::int64_t experts, std::int64_t n,
                 std::int64_t k) override {
    return noted(weights_.experts(name, experts, n, k));
  }
  Vector vector(const std::string& name, std::int64_t width) override {
    source_.vectors.insert(name);
    return weights_.vector(name, width);
  }
  Vector table(const std::string& name, std::int64_t rows, std::int64_t width) override {
    source_.vectors.insert(name);
    return weights_.table(name, rows, width);
  }
  bool has(const std::string& name) const override { return weights_.has(name); }

 private:
  Matrix noted(Matrix matrix) {
    source_.matrices.insert_or_assign(matrix.name, matrix);
    return matrix;
  }

  CheckpointWeights& weights_;
  ConvertSource& source_;
};

[[noreturn]] void refuse_gguf(const fs::path& path) {
  fail(
      ErrorCode::unsupported,
      "{}: GGUF is not read; convert starts from the safetensors of the same model on Hugging Face "
      "(its model card names them): pip install huggingface_hub && hf download ORG/MODEL",
      path.string());
}

[[noreturn]] void refuse_pickle(const fs::path& path) {
  fail(ErrorCode::unsupported,
       "{}: a pickle could run code and is never read; write safetensors first, in Python: "
       "AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(NEW)",
       path.string());
}

bool is_gguf(const fs::path& file) {
  char magic[4] = {};
  std::ifstream(file, std::ios::binary).read(magic, sizeof magic);
  return file.extension() == ".gguf" || std::string_view(magic, 4) == "GGUF";
}

/// What is no folder of safetensors, by what it is.
void refuse_other_files(const std::string& source) {
  std::error_code ignored;
  if (fs::is_regular_file(source, ignored)) {
    if (is_gguf(source)) refuse_gguf(source);
    fail(ErrorCode::not_found, "{}: a file; expected the folder with config.json and safetensors",
         source);
  }
  if (!fs::is_directory(source, ignored)) fail(ErrorCode::not_found, "{}: no such folder", source);
  fs::path gguf, pickle;
  for (fs::directory_iterator at(source, ignored); !ignored && at != fs::directory_iterator();
       at.increment(ignored)) {
    const std::string kind = at->path().extension().string();
    if (kind == ".safetensors") return;
    if (kind == ".gguf") gguf = at->path();
    if (kind == ".bin" || kind == ".pt" || kind == ".pth" || kind == ".ckpt") pickle = at->path();
  }
  if (!gguf.empty()) refuse_gguf(gguf);
  if (!pickle.empty()) refuse_pickle(pickle);
}

/// quant_method of Hugging Face's quantization_config, or "" without one.
std::string foreign_method(const Config& config) {
  if (config.quantized()) return "";  // MLX's block: quantization_config repeats it
  const Json* block = config.object("quantization_config");
  if (block == nullptr) return "";
  const auto method = block->find("quant_method");
  return method != block->end() && method->is_string() ? method->get<std::string>() : "unknown";
}

void refuse_foreign_codes(const Config& config) {
  const std::string method = foreign_method(config);
  // mxfp4 has MLX's codes and scales; the family's import rule knows where they stand.
  if (method.empty() || method == "mxfp4") return;
  fail(
      ErrorCode::unsupported,
      "{}: quantization_config says quant_method {}: codes of that kind are not converted; convert "
      "the float checkpoint it was made from (its model card names it as base model)",
      config.what(), in_quotes(method));
}

void refuse_foreign_tensors(const TensorMap& published) {
  for (const auto& [name, view] : published)
    if (name.ends_with(".qweight"))
      fail(ErrorCode::unsupported,
           "{}: tensor {}: GPTQ and AWQ codes are not converted; convert the float checkpoint it "
           "was made from (its model card names it as base model)",
           published.origin(), in_quotes(name));
}

Tensor gathered(const ImportedTensor& tensor, const TensorMap& published) {
  const std::int64_t part = source_bytes(tensor);
  Tensor whole{{}, tensor.type, tensor.shape};
  whole.data.resize(tensor.sources.size() * static_cast<std::size_t>(part));
  for (std::size_t i = 0; i < tensor.sources.size(); ++i)
    copy_source(tensor, i, published,
                std::span(whole.data)
                    .subspan(i * static_cast<std::size_t>(part), static_cast<std::size_t>(part)));
  return whole;
}

/// Shapes under MLX's names. A tensor that has its bytes in one place shows them; one that has to
/// be gathered does not (its bytes are checked as they are read), save tensor scales, which are few
/// and looked at.
TensorMap shapes_of(const ConvertSource& source) {
  TensorMap shapes(source.published.origin());
  for (const auto& [name, tensor] : source.tensors) {
    if (tensor.sources.size() == 1 && tensor.as_stored())
      shapes.add(name, {source.published.at(tensor.sources[0]).data, tensor.type, tensor.shape},
                 nullptr);
    else if (name.ends_with(".global_scale"))
      shapes.add(name, gathered(tensor, source.published));
    else
      shapes.add(name, {nullptr, tensor.type, tensor.shape}, nullptr);
  }
  return shapes;
}

}  // namespace

ConvertSource open_convert_source(const std::string& folder) {
  refuse_other_files(folder);
  ConvertSource source;
  source.config = Config::read(folder);
  refuse_foreign_codes(source.config);
  source.packed_by_mlx = source.config.quantized();
  source.family = &find_family(source.config);
  source.published = TensorMap::open(folder);
  refuse_foreign_tensors(source.published);
  for (ImportedTensor& tensor :
       import_tensors(source.family->import_rule, source.config, source.published))
    source.tensors.emplace(tensor.name, std::move(tensor));
  const TensorMap shapes = shapes_of(source);
  CheckpointWeights weights(shapes, source.config);
  AskedWeights asked(weights, source);
  Builder builder(asked, DType::bf16,
                  source.config.integer("vocab_size", 1, std::int64_t{1} << 26));
  source.family->build(builder, source.config);
  weights.check_all_used(source.config.flag_or("tie_word_embeddings", true));
  return source;
}

}  // namespace stepless
