// The one door to nlohmann::json. Files and requests are parsed here only, with the guards of
// docs/hardening: valid UTF-8, bounded depth, no duplicate keys, finite numbers.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace stepless {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;  // keeps the order of keys, as templates print them

struct JsonLimits {
  int depth = 64;
  std::int64_t bytes = std::int64_t{256} << 20;
};

/// Parses `text`. Throws Error (corrupt) whose message starts with `what` (a file or field) and
/// tells the position.
Json parse_json(std::string_view text, std::string_view what, const JsonLimits& limits = {});
OrderedJson parse_ordered_json(std::string_view text, std::string_view what,
                               const JsonLimits& limits = {});

/// A whole regular file as it is. Throws Error: not_found, exhausted (larger than most_bytes),
/// corrupt (cannot be read).
std::string read_text(const std::string& path, std::int64_t most_bytes);

/// Reads and parses a whole file. Throws Error: not_found, corrupt, exhausted (larger than
/// limits.bytes).
Json read_json(const std::string& path, const JsonLimits& limits = {});

}  // namespace stepless
