// Filters that make text of text.
#include <algorithm>
#include <array>

#include "text/jinja_filters.hpp"
#include "text/jinja_format.hpp"
#include "text/jinja_print.hpp"
#include "text/jinja_strings.hpp"
#include "text/jinja_unicode.hpp"

namespace stepless::jinja {
namespace {

/// soft_str(value)
Text text_of(Interp& interp, const Value& value) { return to_text(value, interp.meter()); }

const Text& need_text(const Value& value, std::string_view filter) {
  need_defined(value);
  if (!value.is(Kind::string)) stop("{} of a {}; a str is possible", filter, type_name(value));
  return value.text();
}

template <std::string (*map)(std::string_view)>
Value map_filter(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "this filter", {});
  return Value::string(map_case(text_of(interp, self), map, interp.meter()));
}

/// Words start behind spaces and - ( { [ <, unlike those of str.title().
std::string title_words(std::string_view text) {
  std::string out;
  for (std::size_t pos = 0; pos < text.size();) {
    const auto is_gap = [](char32_t c) {
      return is_space(c) || (c < 0x80 && std::string_view("-({[<").find(static_cast<char>(c)) !=
                                             std::string_view::npos);
    };
    std::size_t after = pos;
    const char32_t first = next_char(text, after);
    if (is_gap(first)) {
      out.append(text.substr(pos, after - pos));
      pos = after;
      continue;
    }
    std::size_t end = after;
    for (std::size_t ahead = end; end < text.size() && !is_gap(next_char(text, ahead)); end = ahead)
      continue;
    out += to_upper(text.substr(pos, after - pos)) + to_lower(text.substr(after, end - after));
    pos = end;
  }
  return out;
}

Value trim_filter(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "trim", {"chars"});
  std::optional<std::string> chars;
  if (params.has(0) && !params.at(0).is(Kind::none)) chars = params.string(0, "");
  const Text text = text_of(interp, self);
  interp.meter().step(text.size() / 64);
  return Value::string(strip(text, chars, Side::both));
}

Value replace_filter(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "replace", {"old", "new", "count"}, 2);
  const std::int64_t most =
      params.has(2) && params.at(2).is(Kind::none) ? -1 : params.integer(2, -1);
  return Value::string(replace(text_of(interp, self), text_of(interp, params.at(0)),
                               text_of(interp, params.at(1)), most, interp.meter()));
}

Value string_filter(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "string", {});
  return Value::string(text_of(interp, self));
}

Value indent_filter(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "indent", {"width", "first", "blank"});
  const Text& text = need_text(self, "indent");
  Text margin(params.has(0) && params.at(0).is(Kind::string)
                  ? params.at(0).text()
                  : Text(std::string(static_cast<std::size_t>(std::clamp<std::int64_t>(
                                         params.integer(0, 4), 0, 100'000)),
                                     ' ')));
  TextBuilder with_newline(interp.meter());
  with_newline.add(text);
  with_newline.add("\n");
  const std::vector<Text> lines = split_lines(with_newline.take(), false);
  TextBuilder out(interp.meter());
  if (params.flag(1)) out.add(margin);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out.add("\n");
    if (i > 0 && (lines[i].size() > 0 || params.flag(2))) out.add(margin);
    out.add(lines[i]);
  }
  return Value::string(out.take());
}

Value truncate_filter(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "truncate", {"length", "killwords", "end", "leeway"});
  const std::int64_t length = params.integer(0, 255);
  const Text end = params.has(2) ? text_of(interp, params.at(2)) : Text("...");
  const std::int64_t leeway =
      params.has(3) && !params.at(3).is(Kind::none) ? params.integer(3, 5) : 5;
  if (length < end.chars() || leeway < 0)
    stop("truncate: to {} characters, of which the end takes {}", length, end.chars());
  const auto size = length_of(self);
  if (size && *size <= length + leeway) return self;
  const Text& text = need_text(self, "truncate");
  const Text kept = text.slice(0, text.offset(length - end.chars()));
  TextBuilder out(interp.meter());
  out.add(params.flag(1) ? kept : split(kept, " ", 1, Side::right)[0]);
  out.add(end);
  return Value::string(out.take());
}

Value center_filter(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "center", {"width"});
  return Value::string(
      center(text_of(interp, self), params.integer(0, 80), Text(" "), interp.meter()));
}

Value word_count_filter(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "wordcount", {});
  const Text text = text_of(interp, self);
  std::int64_t count = 0;
  bool inside = false;
  for (std::size_t pos = 0; pos < text.bytes().size();) {
    const bool word = is_word(next_char(text.bytes(), pos));
    count += word && !inside ? 1 : 0;
    inside = word;
  }
  return Value::integer(count);
}

Value format_filter(Interp& interp, const Value& self, const Args& args) {
  if (!args.list.empty() && !args.named.empty()) stop("format: values with and without names");
  if (args.named.empty())
    return Value::string(format_percent(interp, text_of(interp, self), Value::tuple(args.list)));
  Dict named;
  for (const auto& [name, value] : args.named) named.set(Value::string(name), value);
  return Value::string(
      format_percent(interp, text_of(interp, self), Value::dict(std::move(named))));
}

Value escape_filter(Interp& interp, const Value& self, const Args&) {
  return Value::string(to_markup(text_of(interp, self), interp.meter()));
}

Value force_escape_filter(Interp& interp, const Value& self, const Args&) {
  Text text = text_of(interp, self);
  text.set_markup(false);
  return Value::string(to_markup(text, interp.meter()));
}

Value safe_filter(Interp& interp, const Value& self, const Args&) {
  Text text = text_of(interp, self);
  text.set_markup(true);
  return Value::string(std::move(text));
}

Value strip_tags_filter(Interp& interp, const Value& self, const Args&) {
  return Value::string(strip_tags(text_of(interp, self), interp.meter()));
}

Value url_filter(Interp& interp, const Value& self, const Args&) {
  Meter& meter = interp.meter();
  if (!self.is(Kind::dict) && (self.is(Kind::string) || !is_iterable(self)))
    return Value::string(quoted_for_url(text_of(interp, self), true, meter));
  TextBuilder out(meter);
  for (const Value& item : collect(self, meter)) {
    const std::vector<Value> pair = self.is(Kind::dict)
                                        ? std::vector<Value>{item, *self.dict().find(item)}
                                        : collect(item, meter);
    if (pair.size() != 2) stop("urlencode: an item of {} values is not a pair", pair.size());
    if (out.size() > 0) out.add("&");
    out.add(quoted_for_url(text_of(interp, pair[0]), false, meter));
    out.add("=");
    out.add(quoted_for_url(text_of(interp, pair[1]), false, meter));
  }
  return Value::string(out.take());
}

JsonStyle json_style(const Params& params) {
  JsonStyle style;
  style.ensure_ascii = params.flag(0);
  style.sort_keys = params.flag(3);
  const bool indented = params.has(1) && !params.at(1).is(Kind::none);
  if (indented) {
    style.pretty = true;
    style.item_separator = ",";
    const bool is_text = params.at(1).is(Kind::string);
    style.indent = is_text ? params.string(1, "")
                           : std::string(static_cast<std::size_t>(std::clamp<std::int64_t>(
                                             params.integer(1, 0), 0, 1000)),
                                         ' ');
  }
  if (params.has(2) && !params.at(2).is(Kind::none)) {
    const Value& both = params.at(2);
    if (!both.is_items() || both.items().size() != 2 || !both.items()[0].is(Kind::string) ||
        !both.items()[1].is(Kind::string))
      stop("tojson: separators are two str, between items and behind keys");
    style.item_separator = both.items()[0].bytes();
    style.key_separator = both.items()[1].bytes();
  }
  return style;
}

Value json_filter(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "tojson", {"ensure_ascii", "indent", "separators", "sort_keys"});
  Text json = to_json(self, json_style(params), interp.meter());
  const auto holds_user_text = [&](std::size_t i) {
    return params.has(i) && repr(params.at(i), interp.meter()).has_user_bytes();
  };
  const bool user_style = holds_user_text(1) || holds_user_text(2);  // indent and separators
  return Value::string(user_style ? Text(json.bytes(), true) : std::move(json));
}

constexpr std::array kTextRows = {
    NativeRow{"upper", map_filter<to_upper>},
    NativeRow{"lower", map_filter<to_lower>},
    NativeRow{"capitalize", map_filter<to_capitalized>},
    NativeRow{"title", map_filter<title_words>},
    NativeRow{"trim", trim_filter},
    NativeRow{"replace", replace_filter},
    NativeRow{"string", string_filter},
    NativeRow{"indent", indent_filter},
    NativeRow{"truncate", truncate_filter},
    NativeRow{"center", center_filter},
    NativeRow{"wordcount", word_count_filter},
    NativeRow{"format", format_filter},
    NativeRow{"escape", escape_filter},
    NativeRow{"e", escape_filter},
    NativeRow{"forceescape", force_escape_filter},
    NativeRow{"safe", safe_filter},
    NativeRow{"striptags", strip_tags_filter},
    NativeRow{"urlencode", url_filter},
    NativeRow{"tojson", json_filter},
};

}  // namespace

std::span<const NativeRow> text_filters() { return kTextRows; }

}  // namespace stepless::jinja
