// How values become text: str(), repr() and json.dumps() of Python, with the provenance of every
// byte.
#pragma once
#include <string_view>

#include "text/jinja_value.hpp"

namespace stepless::jinja {

/// str(value). A text is passed on as it is, Markup included.
Text to_text(const Value& value, Meter& meter);
/// Adds str(value). Containers that hold anything of the user's count as the user's throughout.
void print(const Value& value, TextBuilder& out, Meter& meter);
Text repr(const Value& value, Meter& meter);

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool pretty = false;  // one item per line, behind `indent`
  std::string indent;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
Text to_json(const Value& value, const JsonStyle& style, Meter& meter);
/// Adds `text` with &, <, >, ' and " as HTML entities.
void add_escaped(const Text& text, TextBuilder& out);
/// `text` as Markup: escaped unless it is Markup already.
Text to_markup(const Text& text, Meter& meter);

}  // namespace stepless::jinja
