#include "text/post_processor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/error.hpp"
#include "base/quote.hpp"
#include "text/json_field.hpp"
#include "text/vocabulary.hpp"

namespace stepless {
namespace {

constexpr std::int64_t kAnyId = std::numeric_limits<TokenId>::max();

}  // namespace

void PostProcessor::unknown_id(TokenId id, std::string_view what) {
  fail(ErrorCode::corrupt, "{}: id {} is no token's", what, id);
}

void PostProcessor::add(const Json& json, std::string_view what) {
  if (json.is_null()) return;
  const std::string type = type_of(json, what);
  const std::string name = fmt::format("{} {}", what, in_quotes(type));
  if (type == "Sequence") {
    for (const Json& part : array_field(json, "processors", name)) add(part, what);
  } else if (type == "ByteLevel") {
    // Moves offsets only.
  } else if (type == "TemplateProcessing") {
    add_template(json, name);
  } else if (type == "RobertaProcessing" || type == "BertProcessing") {
    add_pair(json, name);
  } else {
    fail(ErrorCode::unsupported,
         "{}: type {} is not supported; TemplateProcessing, RobertaProcessing, BertProcessing, "
         "ByteLevel and Sequence are",
         what, in_quotes(type));
  }
}

void PostProcessor::add_template(const Json& json, std::string_view what) {
  std::vector<TokenId> steps;
  const Json& special = field(json, "special_tokens", what);
  for (const Json& piece : array_field(json, "single", what)) {
    if (piece.is_object() && piece.contains("Sequence")) {
      const std::string& id = string_field(piece["Sequence"], "id", what);
      if (id != "A")
        fail(ErrorCode::corrupt, "{}: single uses sequence {}; there is only A", what,
             in_quotes(id));
      steps.push_back(kText);
      continue;
    }
    const std::string& id = string_field(field(piece, "SpecialToken", what), "id", what);
    const Json& entry = field_or_null(special, id.c_str());
    if (entry.is_null())
      fail(ErrorCode::corrupt, "{}: single uses {}, which special_tokens does not list", what,
           in_quotes(id));
    for (const Json& number : array_field(entry, "ids", what))
      steps.push_back(Vocabulary::id_from_json(number, kAnyId, id, what));
  }
  templates_.push_back(std::move(steps));
}

// "cls" and "sep" are [token, id].
void PostProcessor::add_pair(const Json& json, std::string_view what) {
  const auto id = [&](const char* name) {
    const Json& pair = array_field(json, name, what);
    if (pair.size() != 2)
      fail(ErrorCode::corrupt, "{}: \"{}\" is {}; expected [token, id]", what, name, pair.dump());
    return Vocabulary::id_from_json(pair[1], kAnyId, as_string(pair[0], name, what), what);
  };
  templates_.push_back({id("cls"), kText, id("sep")});
}

std::vector<TokenId> PostProcessor::apply(std::vector<TokenId> ids) const {
  for (const std::vector<TokenId>& steps : templates_) {
    std::vector<TokenId> around;
    around.reserve(ids.size() + steps.size());
    for (const TokenId step : steps) {
      if (step == kText) {
        around.insert(around.end(), ids.begin(), ids.end());
      } else {
        around.push_back(step);
      }
    }
    ids = std::move(around);
  }
  return ids;
}

}  // namespace stepless
