// config.json behind a door: every value a family reads is asked for by name, with the range it
// must lie in.
#pragma once
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "stepless/quant.hpp"
#include "stepless/tensor.hpp"

namespace stepless {

/// What the `quantization` block says of one layer.
struct QuantEntry {
  bool quantized = true;  // false: the block says `false`
  QuantSpec spec;
};

class Config {
 public:
  /// Reads folder/config.json, and generation_config.json beside it for the stop tokens. Throws
  /// Error: not_found, corrupt, unsupported (a checkpoint that wants its own code to be run).
  static Config read(const std::string& folder);
  static Config from_json(Json json, std::string what);

  const std::string& what() const { return what_; }  // the file, for messages
  const std::string& model_type() const { return model_type_; }
  const Json& json() const { return json_; }

  std::int64_t integer(const char* name, std::int64_t least, std::int64_t most) const;
  std::int64_t integer_or(const char* name, std::int64_t fallback, std::int64_t least,
                          std::int64_t most) const;
  double number(const char* name, double least, double most) const;
  double number_or(const char* name, double fallback, double least, double most) const;
  bool flag_or(const char* name, bool fallback) const;
  std::optional<std::string> text(const char* name) const;
  std::vector<std::string> texts(const char* name) const;  // empty when absent or null
  /// Null when absent or null; Error (corrupt) when it is something else.
  const Json* list(const char* name) const;
  const Json* object(const char* name) const;
  bool has(const char* name) const;

  /// What the quantization block says of a layer by its full name; nothing when it does not name
  /// it.
  std::optional<QuantEntry> quantization_of(const std::string& layer) const;
  /// The block itself is there: layers with scales are expected.
  bool quantized() const;
  /// Ids that end a text: config.json's, or generation_config.json's where it has them.
  std::vector<std::int32_t> eos_ids() const;

 private:
  const Json* find(const char* name) const;

  Json json_, generation_;
  std::string what_, model_type_;
};

}  // namespace stepless
