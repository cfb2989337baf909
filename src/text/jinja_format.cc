// The % operator of strings.
#include <algorithm>

#include "text/jinja_format.hpp"
#include "text/jinja_format_spec.hpp"
#include "text/jinja_print.hpp"
#include "text/jinja_unicode.hpp"

namespace stepless::jinja {
namespace {

/// Reads the pattern of % and its values one after the other.
class Percent {
 public:
  Percent(Interp& interp, const Text& pattern, const Value& values)
      : interp_(interp),
        pattern_(pattern),
        bytes_(pattern.bytes()),
        values_(values),
        out_(interp.meter()) {}

  Text run() {
    std::size_t done = 0;
    for (pos_ = bytes_.find('%'); pos_ != std::string::npos; pos_ = bytes_.find('%', done)) {
      out_.add_slice(pattern_, static_cast<std::int64_t>(done), static_cast<std::int64_t>(pos_));
      ++pos_;
      conversion();
      done = pos_;
    }
    out_.add_slice(pattern_, static_cast<std::int64_t>(done), pattern_.size());
    const bool indexable = values_.is(Kind::dict) || values_.is(Kind::list) ||
                           values_.is(Kind::range) ||
                           values_.is(Kind::undefined);  // Python takes these for mappings
    if (values_.is(Kind::tuple) ? used_ < values_.items().size() : used_ == 0 && !indexable)
      stop("'%': not all values are used by the pattern");
    return out_.take();
  }

 private:
  char peek() const { return pos_ < bytes_.size() ? bytes_[pos_] : '\0'; }

  const Value& next_value() {
    const bool is_tuple = values_.is(Kind::tuple);
    if (used_ >= (is_tuple ? values_.items().size() : 1))
      stop("'%': the pattern needs more values");
    ++used_;
    return is_tuple ? values_.items()[used_ - 1] : values_;
  }

  std::int64_t number() {
    if (peek() == '*') {
      ++pos_;
      const Value& value = next_value();
      if (!value.is_integral()) stop("'%': * needs an int");
      return static_cast<std::int64_t>(std::clamp<Int>(value.integer(), -1'000'000, 1'000'000));
    }
    std::int64_t out = 0;
    for (; peek() >= '0' && peek() <= '9'; ++pos_)
      out = std::min<std::int64_t>(out * 10 + (peek() - '0'), 1'000'000);
    return out;
  }

  void conversion() {
    Value named;
    bool is_named = false;
    if (peek() == '(') {
      const std::size_t close = bytes_.find(')', pos_);
      if (close == std::string::npos || !values_.is(Kind::dict)) stop("'%': %(name) needs a dict");
      const Value* found =
          values_.dict().find(std::string_view(bytes_).substr(pos_ + 1, close - pos_ - 1));
      if (found == nullptr)
        stop("'%': the dict has no '{}'", bytes_.substr(pos_ + 1, close - pos_ - 1));
      named = *found;
      is_named = true;
      pos_ = close + 1;
    }
    Spec spec;
    for (; std::string_view("#0- +").find(peek()) != std::string_view::npos && peek() != '\0';
         ++pos_)
      flag(spec);
    spec.width = number();
    if (spec.width < 0) spec.align = '<', spec.width = -spec.width;
    if (peek() == '.') {
      ++pos_;
      spec.precision = number();
    }
    while (peek() == 'l' || peek() == 'h' || peek() == 'L') ++pos_;
    spec.type = peek();
    ++pos_;
    if (spec.type == '%') return out_.add("%");
    add(is_named ? named : next_value(), spec);
  }

  void flag(Spec& spec) const {
    if (peek() == '#') spec.alternate = true;
    if (peek() == '-') spec.align = '<';
    if (peek() == '+') spec.sign = '+';
    if (peek() == ' ' && spec.sign == '-') spec.sign = ' ';
    if (peek() == '0' && spec.align == '\0') spec.align = '=', spec.fill = "0";
  }

  void add(const Value& value, Spec spec) {
    const auto plain = [&spec] {
      if (spec.align == '=') spec.align = '\0', spec.fill = " ";
    };
    if (spec.type == 's' || spec.type == 'r' || spec.type == 'a') {
      plain();
      const Text text =
          spec.type == 's' ? to_text(value, interp_.meter()) : repr(value, interp_.meter());
      return add_padded(out_, cut(text, spec.precision), spec, '>');
    }
    need_defined(value);
    if (spec.type == 'c') return add_padded(out_, character(value), spec, '>');
    if (!value.is_number()) stop("'%': %{} needs a number, not a {}", spec.type, type_name(value));
    if (is_real_type(spec.type)) return add_number(out_, value, spec);
    if (spec.type == 'i' || spec.type == 'u') spec.type = 'd';
    if (!is_integer_type(spec.type) || spec.type == 'b')
      stop("'%': there is no conversion %{}", spec.type);
    if (spec.type != 'd' && value.is(Kind::real)) stop("'%': %{} needs an int", spec.type);
    const Int whole = value.is(Kind::real) ? truncate_real(value.real()) : value.integer();
    add_number(out_, Value::integer(whole).mark_user(value.user()), spec);
  }

  static Text character(const Value& value) {
    if (value.is(Kind::string) && value.text().chars() == 1) return value.text();
    if (!value.is_integral() || value.integer() < 0 || value.integer() > 0x10FFFF ||
        (value.integer() >= 0xD800 && value.integer() < 0xE000))
      stop("'%': %c needs one character");
    std::string bytes;
    append_char(bytes, static_cast<char32_t>(value.integer()));
    return Text(std::move(bytes), value.user());
  }

  Interp& interp_;
  const Text& pattern_;
  const std::string& bytes_;
  const Value& values_;
  TextBuilder out_;
  std::size_t pos_ = 0;
  std::size_t used_ = 0;
};

}  // namespace

Text format_percent(Interp& interp, const Text& pattern, const Value& values) {
  Text text = Percent(interp, pattern, values).run();
  if (pattern.has_user_bytes()) text = Text(text.bytes(), true);  // its padding is the user's, too
  text.set_markup(pattern.is_markup());
  return text;
}

}  // namespace stepless::jinja
