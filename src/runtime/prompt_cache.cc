#include "runtime/prompt_cache.hpp"

#include <cstring>

#include "base/error.hpp"
#include "base/fingerprint.hpp"
#include "base/quote.hpp"
#include "format/dtype.hpp"
#include "model/model_digest.hpp"

namespace stepless {
namespace {

constexpr const char* kFormat = "stepless prompt cache";
constexpr const char* kVersion = "1";  // of the layout; another one is another file

std::string keys_name(std::int64_t layer) { return fmt::format("layers.{}.keys", layer); }
std::string values_name(std::int64_t layer) { return fmt::format("layers.{}.values", layer); }

KvShape kv_of(const LoadedModel& model) { return kv_shape(*model.program); }

/// What must be equal for the pages to be what this model would compute here, bit for bit.
Metadata description_of(const LoadedModel& model) {
  return {{"format", kFormat},
          {"version", kVersion},
          {"model_digest", model_digest(model)},
          {"act_dtype", std::string(torch_name(model.program->act))},
          {"arithmetic", arithmetic_of(model)},
          {"kv", "plain"},
          {"page_tokens", std::to_string(kv_of(model).page_tokens)}};
}

std::vector<TensorInfo> tensors_of(const KvShape& kv, std::int64_t tokens) {
  std::vector<TensorInfo> all = {{"tokens", DType::i32, {tokens}}};
  const std::int64_t pages = tokens / kv.page_tokens;
  for (std::size_t i = 0; i < kv.layers.size(); ++i) {
    const KvLayerShape& layer = kv.layers[i];
    const auto index = static_cast<std::int64_t>(i);
    all.push_back(
        {keys_name(index), kv.type, {pages, layer.kv_heads, kv.page_tokens, layer.k_dim}});
    all.push_back(
        {values_name(index), kv.type, {pages, layer.kv_heads, kv.page_tokens, layer.v_dim}});
  }
  return all;
}

std::string metadata_of(const SafetensorsFile& file, const char* key) {
  const auto at = file.metadata().find(key);
  return at == file.metadata().end() ? "none" : at->second;
}

void check_description(const SafetensorsFile& file, const LoadedModel& model) {
  if (metadata_of(file, "format") != kFormat)
    fail(ErrorCode::corrupt,
         "{}: no prompt cache of Stepless (format {}); stepless cache-prompt makes one",
         file.path(), in_quotes(metadata_of(file, "format")));
  const Metadata here = description_of(model);
  // The version first: the other fields are this version's.
  for (const char* key :
       {"version", "model_digest", "act_dtype", "kv", "page_tokens", "arithmetic"}) {
    const std::string there = metadata_of(file, key);
    if (there == here.at(key)) continue;
    const std::string made_for = metadata_of(file, "model");
    fail(ErrorCode::corrupt, "{}: made with {} {}{}; here it is {}{}; make the file again",
         file.path(), key, in_quotes(there),
         key == std::string("model_digest") ? " (" + made_for + ")" : "", in_quotes(here.at(key)),
         key == std::string("model_digest") ? " (" + model.name + ")" : "");
  }
}

/// Every tensor that must be there, with its type and shape, and no other.
void check_tensors(const SafetensorsFile& file, const std::vector<TensorInfo>& wanted) {
  for (const TensorInfo& want : wanted) {
    const TensorView* const view = file.find(want.name);
    if (view == nullptr)
      fail(ErrorCode::corrupt, "{}: no tensor {}", file.path(), in_quotes(want.name));
    if (view->type != want.type || view->shape != want.shape)
      fail(ErrorCode::corrupt, "{}: tensor {}: {} {}; expected {} {}", file.path(),
           in_quotes(want.name), safetensors_name(view->type), shape_text(view->shape),
           safetensors_name(want.type), shape_text(want.shape));
  }
  if (file.tensors().size() != wanted.size())
    fail(ErrorCode::corrupt, "{}: {} tensors; expected {}", file.path(), file.tensors().size(),
         wanted.size());
}

std::vector<std::int32_t> read_tokens(const SafetensorsFile& file, const LoadedModel& model) {
  const TensorView* const view = file.find("tokens");
  if (view == nullptr || view->type != DType::i32 || view->shape.size() != 1)
    fail(ErrorCode::corrupt, "{}: no tensor 'tokens' of type I32 and one dimension", file.path());
  const std::int64_t count = view->shape[0];
  if (count < 1 || count > model.context)
    fail(ErrorCode::corrupt, "{}: {} tokens; from 1 to {}, the model's context", file.path(), count,
         model.context);
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(count));
  std::memcpy(tokens.data(), view->data, tokens.size() * sizeof(tokens[0]));
  for (const std::int32_t token : tokens)
    if (token < 0 || token >= model.program->vocab)
      fail(ErrorCode::corrupt, "{}: token {}; ids are from 0 to {}", file.path(), token,
           model.program->vocab - 1);
  return tokens;
}

}  // namespace

PromptCacheFile::PromptCacheFile(const std::string& path, const LoadedModel& model) : file_(path) {
  check_description(file_, model);
  tokens_ = read_tokens(file_, model);
  const KvShape kv = kv_of(model);
  const std::vector<TensorInfo> tensors = tensors_of(kv, static_cast<std::int64_t>(tokens_.size()));
  check_tensors(file_, tensors);
  Fingerprint print;
  for (const TensorInfo& each : tensors)
    print.add(file_.find(each.name)->data, bytes_of(each.shape, each.type, each.name));
  if (const std::string there = metadata_of(file_, "checksum"); there != print.text())
    fail(ErrorCode::corrupt, "{}: damaged: its bytes give checksum {}, it says {}", path,
         print.text(), in_quotes(there));
  page_tokens_ = kv.page_tokens;
  pages_ = static_cast<std::int64_t>(tokens_.size()) / page_tokens_;
  layers_ = static_cast<std::int64_t>(kv.layers.size());
  file_.file().check();
}

void PromptCacheFile::load(Backend& backend, std::span<const std::int32_t> pages) const {
  for (std::int64_t layer = 0; layer < layers_; ++layer)
    backend.write_pages(static_cast<int>(layer), pages, file_.find(keys_name(layer))->data,
                        file_.find(values_name(layer))->data);
  file_.file().check();
}

void write_prompt_cache(const std::string& path, const LoadedModel& model, const Backend& backend,
                        std::span<const std::int32_t> tokens, std::span<const std::int32_t> pages) {
  const KvShape kv = kv_of(model);
  const auto layers = static_cast<int>(kv.layers.size());
  const auto token_bytes = static_cast<std::int64_t>(tokens.size_bytes());
  // Twice over the layers: the checksum stands before the data, and one layer at a time is held.
  Fingerprint print;
  print.add(tokens.data(), token_bytes);
  for (int layer = 0; layer < layers; ++layer) {
    const PageBytes bytes = backend.read_pages(layer, pages);
    print.add(bytes.keys.data(), static_cast<std::int64_t>(bytes.keys.size()));
    print.add(bytes.values.data(), static_cast<std::int64_t>(bytes.values.size()));
  }
  Metadata metadata = description_of(model);
  metadata["model"] = model.name;
  metadata["checksum"] = print.text();
  SafetensorsWriter writer(path, tensors_of(kv, static_cast<std::int64_t>(tokens.size())), metadata,
                           FileReaders::owner);
  writer.append(tokens.data(), token_bytes);
  for (int layer = 0; layer < layers; ++layer) {
    const PageBytes bytes = backend.read_pages(layer, pages);
    writer.append(bytes.keys.data(), static_cast<std::int64_t>(bytes.keys.size()));
    writer.append(bytes.values.data(), static_cast<std::int64_t>(bytes.values.size()));
  }
  writer.finish();
}

}  // namespace stepless
