// str.format().
#include <algorithm>
#include <cmath>

#include "text/jinja_format.hpp"
#include "text/jinja_format_spec.hpp"
#include "text/jinja_print.hpp"
#include "text/jinja_unicode.hpp"

namespace stepless::jinja {
namespace {

/// Reads the pattern of str.format().
class Braces {
 public:
  Braces(Interp& interp, const Text& pattern, const Args& args)
      : interp_(interp),
        pattern_(pattern),
        bytes_(pattern.bytes()),
        args_(args),
        out_(interp.meter()) {}

  Text run() {
    std::size_t done = 0;
    while (true) {
      const std::size_t brace = bytes_.find_first_of("{}", done);
      if (brace == std::string::npos) break;
      const bool doubled = brace + 1 < bytes_.size() && bytes_[brace + 1] == bytes_[brace];
      out_.add_slice(pattern_, static_cast<std::int64_t>(done),
                     static_cast<std::int64_t>(brace + (doubled ? 1 : 0)));
      done = brace + 2;
      if (doubled) continue;
      if (bytes_[brace] == '}') stop("format: a single }} in the pattern");
      const std::size_t close = bytes_.find('}', brace);
      if (close == std::string::npos) stop("format: a {{ that is not closed");
      field(std::string_view(bytes_).substr(brace + 1, close - brace - 1));
      done = close + 1;
    }
    out_.add_slice(pattern_, static_cast<std::int64_t>(done), pattern_.size());
    return out_.take();
  }

 private:
  void field(std::string_view text) {
    const std::size_t colon = text.find(':');
    std::string_view name = text.substr(0, colon);
    const std::string_view spec = colon == std::string_view::npos ? "" : text.substr(colon + 1);
    if (spec.find('{') != std::string_view::npos) stop("format: a field inside of a field");
    char conversion = '\0';
    if (const std::size_t mark = name.find('!'); mark != std::string_view::npos) {
      conversion = mark + 1 < name.size() ? name[mark + 1] : '?';
      name = name.substr(0, mark);
    }
    Value value = find(name);
    if (conversion == 's') value = Value::string(to_text(value, interp_.meter()));
    if (conversion == 'r') value = Value::string(repr(value, interp_.meter()));
    if (spec.empty()) return print(value, out_, interp_.meter());
    add(value, parse_spec(spec));
  }

  Value find(std::string_view name) {
    const std::size_t end = std::min(name.find_first_of(".["), name.size());
    Value value = first(name.substr(0, end));
    std::size_t pos = end;
    while (pos < name.size()) {
      if (name[pos] == '.') {
        const std::size_t stop_at = std::min(name.find_first_of(".[", pos + 1), name.size());
        value = get_attribute(value, std::string(name.substr(pos + 1, stop_at - pos - 1)));
        pos = stop_at;
      } else {
        const std::size_t close = name.find(']', pos);
        if (close == std::string_view::npos) stop("format: a [ that is not closed");
        const std::string_view key = name.substr(pos + 1, close - pos - 1);
        const auto index = parse_int(key);
        value = get_item(value, index ? Value::integer(*index) : Value::string(std::string(key)),
                         interp_.meter());
        pos = close + 1;
      }
    }
    return value;
  }

  Value first(std::string_view name) {
    const auto index = name.empty() ? std::optional<Int>(next_++) : parse_int(name);
    if (index) {
      if (*index < 0 || *index >= std::ssize(args_.list))
        stop("format: there is no argument {}", format_int(*index));
      return args_.list[static_cast<std::size_t>(*index)];
    }
    for (const auto& [known, value] : args_.named)
      if (known == name) return value;
    stop("format: there is no argument '{}'", name);
  }

  static Spec parse_spec(std::string_view text) {
    Spec spec;
    std::size_t pos = 0;
    const auto at = [&](std::size_t i) { return i < text.size() ? text[i] : '\0'; };
    const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
    std::size_t after = 0;
    if (!text.empty()) next_char(text, after);
    if (is_align(at(after)) && after > 0) {
      spec.fill = text.substr(0, after);
      spec.align = at(after);
      pos = after + 1;
    } else if (is_align(at(0))) {
      spec.align = at(pos++);
    }
    if (at(pos) == '+' || at(pos) == '-' || at(pos) == ' ') spec.sign = at(pos++);
    if (at(pos) == '#') spec.alternate = at(pos++) == '#';
    if (at(pos) == '0') {
      ++pos;
      if (spec.fill == " ") spec.fill = "0";
      if (spec.align == '\0') spec.align = '=';
    }
    const auto digits = [&] {
      std::int64_t out = 0;
      for (; at(pos) >= '0' && at(pos) <= '9'; ++pos)
        out = std::min<std::int64_t>(out * 10 + (at(pos) - '0'), 1'000'000);
      return out;
    };
    spec.width = digits();
    if (at(pos) == ',' || at(pos) == '_') spec.group = at(pos++);
    if (at(pos) == '.') {
      ++pos;
      spec.precision = digits();
    }
    spec.type = at(pos);
    if (pos + 1 < text.size()) stop("format: '{}' is not a format", text);
    return spec;
  }

  void add(const Value& value, Spec spec) {
    if (value.is(Kind::string)) {
      if (spec.align == '=' && spec.fill == "0") spec.align = '<';
      const bool numeric =
          spec.align == '=' || spec.sign != '-' || spec.alternate || spec.group != '\0';
      if (numeric || (spec.type != '\0' && spec.type != 's'))
        stop("format: a format of numbers for a str");
      return add_padded(out_, cut(value.text(), spec.precision), spec, '<');
    }
    if (!value.is_number()) stop("format: a {} takes no format", type_name(value));
    if (value.is(Kind::real) && spec.type == '\0' && spec.precision < 0)
      return add_digits(out_, spec, format_real(std::fabs(value.real())),
                        std::signbit(value.real()), value.user());
    if (spec.type == '\0' || spec.type == 'n') spec.type = value.is(Kind::real) ? 'g' : 'd';
    const bool fits =
        is_real_type(spec.type) || (!value.is(Kind::real) && is_integer_type(spec.type));
    if (!fits || (is_integer_type(spec.type) && spec.precision >= 0))
      stop("format: '{}' does not fit a {}", spec.type, type_name(value));
    add_number(out_, value, spec);
  }

  Interp& interp_;
  const Text& pattern_;
  const std::string& bytes_;
  const Args& args_;
  TextBuilder out_;
  std::int64_t next_ = 0;
};

}  // namespace

Text format_braces(Interp& interp, const Text& pattern, const Args& args) {
  Text text = Braces(interp, pattern, args).run();
  return pattern.has_user_bytes() ? Text(text.bytes(), true)
                                  : text;  // its padding is the user's, too
}

}  // namespace stepless::jinja
