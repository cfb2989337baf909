#include "model/model.hpp"

#include <algorithm>
#include <filesystem>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/json.hpp"
#include "model/checkpoint.hpp"
#include "model/families.hpp"
#include "model/finish.hpp"

namespace stepless {
namespace fs = std::filesystem;
namespace {

/// A special token is a string or an object with its content.
std::string token_text(const Json& json, const char* key) {
  const auto at = json.find(key);
  if (at == json.end()) return "";
  if (at->is_string()) return at->get<std::string>();
  if (at->is_object() && at->contains("content") && (*at)["content"].is_string())
    return (*at)["content"].get<std::string>();
  return "";
}

/// chat_template is a string, or a list of named ones of which "default" counts.
std::string template_text(const Json& json, const std::string& what) {
  const auto at = json.find("chat_template");
  if (at == json.end() || at->is_null()) return "";
  if (at->is_string()) return at->get<std::string>();
  if (at->is_array())
    for (const Json& item : *at)
      if (item.is_object() && item.value("name", "") == "default" && item.contains("template") &&
          item["template"].is_string())
        return item["template"].get<std::string>();
  fail(ErrorCode::corrupt, "{}: chat_template is neither a string nor a list with a \"default\"",
       what);
}

void sort_unique(std::vector<TokenId>& ids) {
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
}

void load_text(LoadedModel& model, const std::string& folder, const std::string& wished_template) {
  model.text = read_text_config(folder);
  model.eos_ids = model.config.eos_ids();
  sort_unique(model.eos_ids);
  if (!is_listed(folder + "/tokenizer.json")) return;  // token ids in, token ids out
  model.tokenizer = Tokenizer::load(folder + "/tokenizer.json");
  if (!wished_template.empty()) model.text.chat_template = wished_template;
  if (const std::string& source = model.text.chat_template; !source.empty())
    model.chat_template = ChatTemplate::parse(
        source, wished_template.empty() ? folder + ": chat template" : "--chat-template");
  if (const auto id = model.tokenizer->id_of(model.text.eos_token);
      !model.text.eos_token.empty() && id)
    model.eos_ids.push_back(*id);
  sort_unique(model.eos_ids);
  model.newline_ids = model.tokenizer->encode("\n");
}

}  // namespace

TextConfig read_text_config(const std::string& folder) {
  TextConfig text;
  const std::string path = folder + "/tokenizer_config.json";
  if (is_listed(path)) {
    const Json json = read_json(path);
    if (!json.is_object()) fail(ErrorCode::corrupt, "{}: not a JSON object", path);
    text.bos_token = token_text(json, "bos_token");
    text.eos_token = token_text(json, "eos_token");
    text.pad_token = token_text(json, "pad_token");
    text.unk_token = token_text(json, "unk_token");
    text.chat_template = template_text(json, path);
  }
  const std::string own = folder + "/chat_template.jinja";
  if (is_listed(own)) text.chat_template = read_text(own, 1 << 20);
  return text;
}

std::shared_ptr<const LoadedModel> load_model(const std::string& folder,
                                              const LoadOptions& options) {
  check_folder(folder);
  auto model = std::make_shared<LoadedModel>();
  model->name = fs::path(folder).lexically_normal().filename().string();
  if (model->name.empty()) model->name = fs::path(folder).parent_path().filename().string();
  model->config = Config::read(folder);
  const Family& family =
      find_family(model->config);  // an unknown family fails before anything large is read
  model->tensors = TensorMap::open(folder);
  CheckpointWeights weights(model->tensors, model->config);
  finish_model(*model, family, weights, float_type_of(model->tensors), options);
  weights.check_all_used(model->config.flag_or("tie_word_embeddings", true));
  load_text(*model, folder, options.chat_template);
  return model;
}

}  // namespace stepless
