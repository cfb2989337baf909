#include "model/config.hpp"

#include <cmath>
#include <filesystem>

#include "base/error.hpp"
#include "base/files.hpp"

namespace stepless {
namespace {

QuantSpec spec_of(const Json& block, const std::string& what) {
  const auto mode = block.find("mode");
  if (mode != block.end() && !mode->is_string())
    fail(ErrorCode::corrupt, "{}: mode is {}; a word such as \"affine\"", what, mode->dump());
  const auto count = [&](const char* key) -> std::optional<int> {
    const auto at = block.find(key);
    // mlx-lm's mixed predicates leave null where no group was given: the mode's own.
    if (at == block.end() || at->is_null()) return std::nullopt;
    if (!at->is_number_integer() || at->get<std::int64_t>() < 1 || at->get<std::int64_t>() > 4096)
      fail(ErrorCode::corrupt, "{}: {} is {}; a small whole number", what, key, at->dump());
    return at->get<int>();
  };
  try {
    return make_spec(mode == block.end() ? Mode::affine : parse_mode(mode->get<std::string>()),
                     count("bits"), count("group_size"));
  } catch (const Error& error) {
    fail(ErrorCode::corrupt, "{}: {}", what, error.what());
  }
}

}  // namespace

Config Config::read(const std::string& folder) {
  const std::string path = folder + "/config.json";
  Config config = from_json(read_json(path), path);
  const std::string generation = folder + "/generation_config.json";
  if (!is_listed(generation)) return config;
  config.generation_ = read_json(generation);
  if (!config.generation_.is_object())
    fail(ErrorCode::corrupt, "{}: not a JSON object", generation);
  return config;
}

Config Config::from_json(Json json, std::string what) {
  Config config;
  config.json_ = std::move(json);
  config.what_ = std::move(what);
  if (!config.json_.is_object()) fail(ErrorCode::corrupt, "{}: not a JSON object", config.what_);
  const auto type = config.text("model_type");
  if (!type) fail(ErrorCode::corrupt, "{}: no model_type; it names the family", config.what_);
  config.model_type_ = *type;
  if (config.has("model_file"))
    fail(ErrorCode::unsupported,
         "{}: model_file names code to run; Stepless never runs code a checkpoint brings",
         config.what_);
  return config;
}

const Json* Config::find(const char* name) const {
  const auto at = json_.find(name);
  return at == json_.end() || at->is_null() ? nullptr : &*at;
}

bool Config::has(const char* name) const { return find(name) != nullptr; }

std::int64_t Config::integer(const char* name, std::int64_t least, std::int64_t most) const {
  const Json* value = find(name);
  if (value == nullptr)
    fail(ErrorCode::corrupt, "{}: no {}; a whole number from {} to {}", what_, name, least, most);
  const bool whole = value->is_number_integer() &&
                     !(value->is_number_unsigned() && value->get<std::uint64_t>() > INT64_MAX);
  if (!whole || value->get<std::int64_t>() < least || value->get<std::int64_t>() > most)
    fail(ErrorCode::corrupt, "{}: {} is {}; a whole number from {} to {}", what_, name,
         value->dump(), least, most);
  return value->get<std::int64_t>();
}

std::int64_t Config::integer_or(const char* name, std::int64_t fallback, std::int64_t least,
                                std::int64_t most) const {
  return has(name) ? integer(name, least, most) : fallback;
}

double Config::number(const char* name, double least, double most) const {
  const Json* value = find(name);
  if (value == nullptr)
    fail(ErrorCode::corrupt, "{}: no {}; a number from {} to {}", what_, name, least, most);
  if (!value->is_number() || !std::isfinite(value->get<double>()) || value->get<double>() < least ||
      value->get<double>() > most)
    fail(ErrorCode::corrupt, "{}: {} is {}; a number from {} to {}", what_, name, value->dump(),
         least, most);
  return value->get<double>();
}

double Config::number_or(const char* name, double fallback, double least, double most) const {
  return has(name) ? number(name, least, most) : fallback;
}

bool Config::flag_or(const char* name, bool fallback) const {
  const Json* value = find(name);
  if (value == nullptr) return fallback;
  if (!value->is_boolean())
    fail(ErrorCode::corrupt, "{}: {} is {}; true or false", what_, name, value->dump());
  return value->get<bool>();
}

std::optional<std::string> Config::text(const char* name) const {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string())
    fail(ErrorCode::corrupt, "{}: {} is {}; a string", what_, name, value->dump());
  return value->get<std::string>();
}

std::vector<std::string> Config::texts(const char* name) const {
  std::vector<std::string> all;
  const Json* value = find(name);
  if (value == nullptr) return all;
  if (!value->is_array()) fail(ErrorCode::corrupt, "{}: {} is not a list of strings", what_, name);
  for (const Json& item : *value) {
    if (!item.is_string())
      fail(ErrorCode::corrupt, "{}: {} holds {}; strings", what_, name, item.dump());
    all.push_back(item.get<std::string>());
  }
  return all;
}

const Json* Config::object(const char* name) const {
  const Json* value = find(name);
  if (value != nullptr && !value->is_object())
    fail(ErrorCode::corrupt, "{}: {} is {}; an object", what_, name, value->dump());
  return value;
}

const Json* Config::list(const char* name) const {
  const Json* value = find(name);
  if (value != nullptr && !value->is_array())
    fail(ErrorCode::corrupt, "{}: {} is {}; a list", what_, name, value->dump());
  return value;
}

bool Config::quantized() const { return has("quantization"); }

std::optional<QuantEntry> Config::quantization_of(const std::string& layer) const {
  const Json* block = object("quantization");
  if (block == nullptr) return std::nullopt;
  const auto at = block->find(layer);
  if (at == block->end()) return std::nullopt;
  const std::string what = what_ + ": quantization." + layer;
  if (at->is_boolean() && !at->get<bool>()) return QuantEntry{false, {}};
  if (at->is_boolean()) return QuantEntry{true, spec_of(*block, what)};
  if (!at->is_object()) fail(ErrorCode::corrupt, "{} is {}; an object or false", what, at->dump());
  return QuantEntry{true, spec_of(*at, what)};
}

std::vector<std::int32_t> Config::eos_ids() const {
  const Json* value = find("eos_token_id");
  std::string file = what_;
  if (const auto other = generation_.find("eos_token_id");
      generation_.is_object() && other != generation_.end() && !other->is_null()) {
    value = &*other;
    file = std::filesystem::path(what_).replace_filename("generation_config.json").string();
  }
  std::vector<std::int32_t> ids;
  if (value == nullptr) return ids;
  const auto take = [&](const Json& id) {
    if (!id.is_number_integer() || id.get<std::int64_t>() < 0 || id.get<std::int64_t>() > INT32_MAX)
      fail(ErrorCode::corrupt, "{}: eos_token_id holds {}; token ids", file, id.dump());
    ids.push_back(id.get<std::int32_t>());
  };
  if (value->is_array())
    for (const Json& id : *value) take(id);
  else
    take(*value);
  return ids;
}

}  // namespace stepless
