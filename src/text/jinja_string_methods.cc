// The methods of strings that a template may call.
#include <algorithm>
#include <array>
#include <string_view>

#include "text/jinja_filters.hpp"
#include "text/jinja_format.hpp"
#include "text/jinja_print.hpp"
#include "text/jinja_strings.hpp"
#include "text/jinja_unicode.hpp"

namespace stepless::jinja {
namespace {

const Text& text_argument(const Params& params, std::size_t i, std::string_view method) {
  need_defined(params.at(i));
  if (!params.at(i).is(Kind::string))
    stop("{} needs a str, not a {}", method, type_name(params.at(i)));
  return params.at(i).text();
}

std::optional<std::string> optional_string(const Params& params, std::size_t i) {
  if (!params.has(i) || params.at(i).is(Kind::none)) return std::nullopt;
  return params.string(i, "");
}

Value list_of(std::vector<Text> texts, Meter& meter) {
  meter.step(std::ssize(texts));
  std::vector<Value> items;
  items.reserve(texts.size());
  for (Text& text : texts) items.push_back(Value::string(std::move(text)));
  return Value::list(std::move(items));
}

template <Side side>
Value strip_method(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "strip", {"chars"});
  interp.meter().step(self.text().size() / 64);
  return Value::string(strip(self.text(), optional_string(params, 0), side));
}

template <Side from>
Value split_method(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "split", {"sep", "maxsplit"});
  interp.meter().step(self.text().size() / 64);
  return list_of(split(self.text(), optional_string(params, 0), params.integer(1, -1), from),
                 interp.meter());
}

Value split_lines_method(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "splitlines", {"keepends"});
  return list_of(split_lines(self.text(), params.flag(0)), interp.meter());
}

/// The bytes [begin, end) that the optional arguments `first` and `first + 1` of find, count,
/// startswith … select.
struct Window {
  std::int64_t begin, end, first_char;
};

Window window(const Text& text, const Params& params, std::size_t first) {
  const std::int64_t chars = text.chars();
  const auto place = [&](std::size_t i, std::int64_t absent) {
    const bool given = params.has(i) && !params.at(i).is(Kind::none);
    const std::int64_t at = given ? params.integer(i, absent) : absent;
    return at < 0 ? std::max<std::int64_t>(at + chars, 0) : at;
  };
  const std::int64_t begin = place(first, 0);
  const std::int64_t end = std::min(place(first + 1, chars), chars);
  if (begin > end) return {0, -1, begin};
  return {text.offset(begin), text.offset(end), begin};
}

std::string_view viewed(const Text& text, const Window& w) {
  return std::string_view(text.bytes())
      .substr(static_cast<std::size_t>(w.begin), static_cast<std::size_t>(w.end - w.begin));
}

template <bool at_end>
Value starts_or_ends(Interp&, const Value& self, const Args& args) {
  const Params params(args, at_end ? "endswith" : "startswith", {"text", "start", "end"}, 1);
  const Window w = window(self.text(), params, 1);
  const auto matches = [&](const Value& candidate) {
    need_defined(candidate);
    if (!candidate.is(Kind::string))
      stop("startswith and endswith need a str or a tuple, not a {}", type_name(candidate));
    if (w.end < w.begin) return false;
    const std::string_view text = viewed(self.text(), w);
    return at_end ? text.ends_with(candidate.bytes()) : text.starts_with(candidate.bytes());
  };
  if (!params.at(0).is(Kind::tuple)) return Value::boolean(matches(params.at(0)));
  const auto& candidates = params.at(0).items();
  return Value::boolean(std::any_of(candidates.begin(), candidates.end(), matches));
}

template <bool from_right, bool must_find>
Value find_method_of(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "find", {"sub", "start", "end"}, 1);
  const Text& part = text_argument(params, 0, "find");
  const Window w = window(self.text(), params, 1);
  interp.meter().step(self.text().size() / 64);
  std::size_t at = std::string_view::npos;
  if (w.end >= w.begin)
    at = from_right ? viewed(self.text(), w).rfind(part.bytes())
                    : viewed(self.text(), w).find(part.bytes());
  if (at != std::string_view::npos)
    return Value::integer(w.first_char + count_chars(viewed(self.text(), w).substr(0, at)));
  if (must_find) stop("index: '{}' is not in the str", part.bytes());
  return Value::integer(-1);
}

Value count_method(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "count", {"sub", "start", "end"}, 1);
  const Text& part = text_argument(params, 0, "count");
  const Window w = window(self.text(), params, 1);
  interp.meter().step(self.text().size() / 64);
  if (w.end < w.begin) return Value::integer(0);
  const std::string_view text = viewed(self.text(), w);
  if (part.size() == 0) return Value::integer(count_chars(text) + 1);
  std::int64_t count = 0;
  for (std::size_t at = text.find(part.bytes()); at != std::string_view::npos;
       at = text.find(part.bytes(), at + part.bytes().size()))
    ++count;
  return Value::integer(count);
}

Value replace_method(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "replace", {"old", "new", "count"}, 2);
  const std::int64_t most = params.integer(2, -1);
  Text out = replace(self.text(), text_argument(params, 0, "replace"),
                     text_argument(params, 1, "replace"), most, interp.meter());
  out.set_markup(self.text().is_markup());
  return Value::string(std::move(out));
}

template <std::string (*map)(std::string_view)>
Value case_method(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "this method of a str", {});
  return Value::string(map_case(self.text(), map, interp.meter()));
}

Value join_method(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "join", {"iterable"}, 1);
  TextBuilder out(interp.meter());
  bool first = true;
  for (const Value& item : collect(params.at(0), interp.meter())) {
    need_defined(item);
    if (!item.is(Kind::string))
      stop("join: an item is a {}; only str can be joined", type_name(item));
    if (!first) out.add(self.text());
    first = false;
    out.add(item.text());
  }
  return Value::string(out.take());
}

template <bool (*is)(char32_t)>
Value all_chars(Interp&, const Value& self, const Args&) {
  const std::string& bytes = self.bytes();
  for (std::size_t pos = 0; pos < bytes.size();)
    if (!is(next_char(bytes, pos))) return Value::boolean(false);
  return Value::boolean(!bytes.empty());
}

bool is_alphanumeric(char32_t c) { return is_alpha(c) || is_numeric(c); }

template <bool upper>
Value is_cased_method(Interp&, const Value& self, const Args&) {
  return Value::boolean(is_all_case(self.bytes(), upper));
}

Value is_title_method(Interp&, const Value& self, const Args&) {
  bool inside = false;
  bool any = false;
  for (std::size_t pos = 0; pos < self.bytes().size();) {
    const char32_t c = next_char(self.bytes(), pos);
    const bool starts = is_upper(c) || is_title(c);
    if (starts ? inside : is_lower(c) && !inside) return Value::boolean(false);
    inside = starts || is_lower(c);
    any = any || inside;
  }
  return Value::boolean(any);
}

Value is_ascii_method(Interp&, const Value& self, const Args&) {
  return Value::boolean(self.text().is_ascii());
}

Value is_printable_method(Interp& interp, const Value& self, const Args& args) {
  return self.bytes().empty() ? Value::boolean(true) : all_chars<is_printable>(interp, self, args);
}

template <bool from_right>
Value partition_method(Interp&, const Value& self, const Args& args) {
  const Params params(args, "partition", {"sep"}, 1);
  const Text& separator = text_argument(params, 0, "partition");
  if (separator.size() == 0) stop("partition: an empty separator");
  const Text& text = self.text();
  const std::size_t at =
      from_right ? text.bytes().rfind(separator.bytes()) : text.bytes().find(separator.bytes());
  const Value empty = Value::string("");
  if (at == std::string::npos)
    return from_right ? Value::tuple({empty, empty, self}) : Value::tuple({self, empty, empty});
  const auto begin = static_cast<std::int64_t>(at);
  const std::int64_t end = begin + separator.size();
  return Value::tuple({Value::string(text.slice(0, begin)), Value::string(text.slice(begin, end)),
                       Value::string(text.slice(end, text.size()))});
}

template <char side>
Value pad_method(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "padding", {"width", "fillchar"}, 1);
  const Text fill = params.has(1) ? text_argument(params, 1, "padding") : Text(" ");
  const std::int64_t width = params.integer(0, 0);
  const std::int64_t missing = std::max<std::int64_t>(width - self.text().chars(), 0);
  if (side == 'c') return Value::string(center(self.text(), width, fill, interp.meter()));
  return Value::string(
      pad(self.text(), side == 'r' ? missing : 0, side == 'l' ? missing : 0, fill, interp.meter()));
}

Value zfill_method(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "zfill", {"width"}, 1);
  const Text& text = self.text();
  const bool has_sign = text.size() > 0 && (text.bytes()[0] == '+' || text.bytes()[0] == '-');
  TextBuilder out(interp.meter());
  out.add_slice(text, 0, has_sign ? 1 : 0);
  for (std::int64_t i = text.chars(); i < params.integer(0, 0); ++i) out.add("0");
  out.add_slice(text, has_sign ? 1 : 0, text.size());
  return Value::string(out.take());
}

template <bool at_end>
Value remove_method(Interp&, const Value& self, const Args& args) {
  const Params params(args, at_end ? "removesuffix" : "removeprefix", {"text"}, 1);
  const Text& part = text_argument(params, 0, "removeprefix");
  const Text& text = self.text();
  const bool has =
      at_end ? text.bytes().ends_with(part.bytes()) : text.bytes().starts_with(part.bytes());
  if (!has) return self;
  return Value::string(at_end ? text.slice(0, text.size() - part.size())
                              : text.slice(part.size(), text.size()));
}

Value expand_tabs_method(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "expandtabs", {"tabsize"});
  const std::int64_t tab = params.integer(0, 8);
  TextBuilder out(interp.meter());
  std::int64_t column = 0;
  const Text& text = self.text();
  for (std::int64_t at = 0; at < text.size();) {
    const std::int64_t end = offset_of_char(text.bytes(), 1, at);
    const char c = text.bytes()[static_cast<std::size_t>(at)];
    if (c == '\t') {
      for (std::int64_t i = tab > 0 ? tab - column % tab : 0; i > 0; --i, ++column) out.add(" ");
    } else {
      out.add_slice(text, at, end);
      column = c == '\n' || c == '\r' ? 0 : column + 1;
    }
    at = end;
  }
  return Value::string(out.take());
}

Value format_method(Interp& interp, const Value& self, const Args& args) {
  return Value::string(format_braces(interp, self.text(), args));
}

constexpr std::array kMethods = {
    NativeRow{"strip", strip_method<Side::both>},
    NativeRow{"lstrip", strip_method<Side::left>},
    NativeRow{"rstrip", strip_method<Side::right>},
    NativeRow{"split", split_method<Side::left>},
    NativeRow{"rsplit", split_method<Side::right>},
    NativeRow{"splitlines", split_lines_method},
    NativeRow{"startswith", starts_or_ends<false>},
    NativeRow{"endswith", starts_or_ends<true>},
    NativeRow{"find", find_method_of<false, false>},
    NativeRow{"rfind", find_method_of<true, false>},
    NativeRow{"index", find_method_of<false, true>},
    NativeRow{"rindex", find_method_of<true, true>},
    NativeRow{"count", count_method},
    NativeRow{"replace", replace_method},
    NativeRow{"upper", case_method<to_upper>},
    NativeRow{"lower", case_method<to_lower>},
    NativeRow{"title", case_method<to_title>},
    NativeRow{"capitalize", case_method<to_capitalized>},
    NativeRow{"swapcase", case_method<to_swapped_case>},
    NativeRow{"casefold", case_method<to_folded>},
    NativeRow{"join", join_method},
    NativeRow{"isalnum", all_chars<is_alphanumeric>},
    NativeRow{"isalpha", all_chars<is_alpha>},
    NativeRow{"isdigit", all_chars<is_digit>},
    NativeRow{"isdecimal", all_chars<is_decimal>},
    NativeRow{"isnumeric", all_chars<is_numeric>},
    NativeRow{"isspace", all_chars<is_space>},
    NativeRow{"isprintable", is_printable_method},
    NativeRow{"isascii", is_ascii_method},
    NativeRow{"isupper", is_cased_method<true>},
    NativeRow{"islower", is_cased_method<false>},
    NativeRow{"istitle", is_title_method},
    NativeRow{"partition", partition_method<false>},
    NativeRow{"rpartition", partition_method<true>},
    NativeRow{"ljust", pad_method<'l'>},
    NativeRow{"rjust", pad_method<'r'>},
    NativeRow{"center", pad_method<'c'>},
    NativeRow{"zfill", zfill_method},
    NativeRow{"removeprefix", remove_method<false>},
    NativeRow{"removesuffix", remove_method<true>},
    NativeRow{"expandtabs", expand_tabs_method},
    NativeRow{"format", format_method},
};

}  // namespace

bool is_all_case(std::string_view text, bool upper) {
  bool any = false;
  for (std::size_t pos = 0; pos < text.size();) {
    const char32_t c = next_char(text, pos);
    if (is_title(c) || (upper ? is_lower(c) : is_upper(c))) return false;
    any = any || (upper ? is_upper(c) : is_lower(c));
  }
  return any;
}

Native find_string_method(std::string_view name) { return find_row(kMethods, name); }

}  // namespace stepless::jinja
