#include "text/jinja_lexer.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "text/jinja_unicode.hpp"

namespace stepless::jinja {
namespace {

bool is_digit_char(char c) { return c >= '0' && c <= '9'; }

/// \r\n and \r become \n; one newline at the very end goes.
std::string normalized(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out.push_back('\n');
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out.push_back(source[i]);
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalized(source)) {}

  std::vector<Token> run() {
    while (pos_ < source_.size()) outside();
    put(TokenKind::end);
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void error(const std::string& message) const { throw SyntaxError(line_, message); }

  bool at(std::string_view text) const {
    return std::string_view(source_).substr(pos_, text.size()) == text;
  }

  void advance(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) line_ += source_[pos_ + i] == '\n' ? 1 : 0;
    pos_ += count;
  }

  void put(TokenKind kind, std::string value = {}) {
    tokens_.push_back({kind, line_, std::move(value)});
  }

  void skip_spaces() {
    while (pos_ < source_.size()) {
      std::size_t after = pos_;
      if (!is_space(next_char(source_, after))) return;
      advance(after - pos_);
    }
  }

  /// Text up to the next opening tag, and then that tag.
  void outside() {
    const std::size_t begin = pos_;
    std::size_t tag = source_.find('{', pos_);
    while (tag != std::string::npos &&
           (tag + 1 >= source_.size() ||
            std::string_view("{%#").find(source_[tag + 1]) == std::string_view::npos))
      tag = source_.find('{', tag + 1);
    if (tag == std::string::npos) {
      add_text(source_.substr(begin));
      return advance(source_.size() - begin);
    }
    const char kind = source_[tag + 1];
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    add_text(source_.substr(begin, kept_before(begin, tag, sign, kind != '{') - begin));
    advance(tag + 2 - begin);
    if (kind == '#') return comment(sign);
    if (sign == '-' || sign == '+') advance(1);
    if (kind == '{') return inside(TokenKind::variable_begin, TokenKind::variable_end, "}}");
    if (starts_raw()) return raw();
    inside(TokenKind::block_begin, TokenKind::block_end, "%}");
  }

  void add_text(std::string text) {
    if (!text.empty()) put(TokenKind::text, std::move(text));
  }

  /// Where the text [begin, tag) ends once the tag's sign and lstrip_blocks have had their way.
  std::size_t kept_before(std::size_t begin, std::size_t tag, char sign, bool strips_line) const {
    if (sign == '-') {
      std::size_t end = tag;
      while (end > begin) {
        std::size_t before = end;
        if (!is_space(last_char(source_, before))) break;
        end = before;
      }
      return end;
    }
    if (sign == '+' || !strips_line) return tag;
    std::size_t line_begin = begin;
    for (std::size_t i = begin; i < tag; ++i)
      if (source_[i] == '\n') line_begin = i + 1;
    if (line_begin == begin && !line_starts_) return tag;
    for (std::size_t i = line_begin; i < tag;)
      if (!is_space(next_char(source_, i))) return tag;
    return line_begin;
  }

  /// Behind a closing delimiter: `-` takes all spaces, `+` none, else trim_blocks takes one newline
  /// if `trims`.
  void after_tag(char sign, bool trims) {
    const std::size_t begin = pos_;
    if (sign == '-')
      skip_spaces();
    else if (sign != '+' && trims && at("\n"))
      advance(1);
    line_starts_ = pos_ > begin && source_[pos_ - 1] == '\n';
  }

  void comment(char sign) {
    if (sign == '-' || sign == '+') advance(1);
    if (pos_ == source_.size()) return;  // Jinja accepts a comment that opens at the very end
    const std::size_t end = source_.find("#}", pos_);
    if (end == std::string::npos) error("a comment is not closed; #} is missing");
    const char last = end > pos_ ? source_[end - 1] : '\0';
    advance(end + 2 - pos_);
    after_tag(last, true);
  }

  /// At the inside of `{% raw %}`, whose closing delimiter may have a sign.
  bool starts_raw() const {
    std::size_t p = skip_blank(pos_);
    if (source_.compare(p, 3, "raw") != 0) return false;
    p = skip_blank(p + 3);
    if (p < source_.size() && source_[p] == '-') ++p;
    return source_.compare(p, 2, "%}") == 0;
  }

  std::size_t skip_blank(std::size_t p) const {
    while (p < source_.size()) {
      std::size_t after = p;
      if (!is_space(next_char(source_, after))) break;
      p = after;
    }
    return p;
  }

  void raw() {
    const std::size_t close = source_.find("%}", pos_);
    const char sign = source_[close - 1];
    advance(close + 2 - pos_);
    after_tag(sign, false);
    const std::size_t begin = pos_;
    for (std::size_t tag = source_.find("{%", begin); tag != std::string::npos;
         tag = source_.find("{%", tag + 1)) {
      std::size_t p = tag + 2;
      const char open_sign = p < source_.size() ? source_[p] : '\0';
      if (open_sign == '-' || open_sign == '+') ++p;
      p = skip_blank(p);
      if (source_.compare(p, 6, "endraw") != 0) continue;
      p = skip_blank(p + 6);
      const char close_sign = p < source_.size() ? source_[p] : '\0';
      if (close_sign == '-' || close_sign == '+') ++p;
      if (source_.compare(p, 2, "%}") != 0) continue;
      add_text(source_.substr(begin, kept_before(begin, tag, open_sign, true) - begin));
      advance(p + 2 - begin);
      return after_tag(close_sign, true);
    }
    error("{% raw %} is not closed; {% endraw %} is missing");
  }

  /// The tokens of a tag up to its closing delimiter, which counts as such only outside of
  /// brackets.
  void inside(TokenKind open, TokenKind close, std::string_view delimiter) {
    put(open);
    brackets_.clear();
    while (true) {
      skip_spaces();
      if (pos_ >= source_.size())
        error(fmt::format("a tag is not closed; {} is missing", delimiter));
      if (brackets_.empty()) {
        const char sign = source_[pos_];
        const bool signed_end = (sign == '-' || (sign == '+' && close == TokenKind::block_end)) &&
                                std::string_view(source_).substr(pos_ + 1, 2) == delimiter;
        if (signed_end || at(delimiter)) {
          put(close);
          advance(delimiter.size() + (signed_end ? 1 : 0));
          return after_tag(signed_end ? sign : '\0', close == TokenKind::block_end);
        }
      }
      one_token();
    }
  }

  void one_token() {
    std::size_t after = pos_;
    const char32_t c = next_char(source_, after);
    if (c < 0x80 && is_digit_char(static_cast<char>(c))) return number();
    if (c == '"' || c == '\'') return string(static_cast<char>(c));
    if (is_word(c)) return name();
    sign();
  }

  void name() {
    const std::size_t begin = pos_;
    std::size_t end = pos_;
    while (end < source_.size()) {
      std::size_t after = end;
      if (!is_word(next_char(source_, after))) break;
      end = after;
    }
    put(TokenKind::name, source_.substr(begin, end - begin));
    advance(end - begin);
  }

  std::size_t digits(std::size_t p) const {
    while (p < source_.size() &&
           (is_digit_char(source_[p]) ||
            (source_[p] == '_' && p + 1 < source_.size() && is_digit_char(source_[p + 1]))))
      ++p;
    return p;
  }

  /// The end of a fraction and exponent from `p`, or `p` when the number is an integer.
  std::size_t real_end(std::size_t p) const {
    std::size_t end = p;
    if (p + 1 < source_.size() && source_[p] == '.' && is_digit_char(source_[p + 1]))
      end = digits(p + 1);
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      std::size_t exponent = end + 1;
      if (exponent < source_.size() && (source_[exponent] == '+' || source_[exponent] == '-'))
        ++exponent;
      if (exponent < source_.size() && is_digit_char(source_[exponent])) end = digits(exponent);
    }
    return end;
  }

  void number() {
    const bool after_dot =
        pos_ > 0 && source_[pos_ - 1] == '.';  // x.0.1 is two subscripts, not 0.1
    std::size_t end = digits(pos_);
    const char second =
        pos_ + 1 < source_.size() ? static_cast<char>(source_[pos_ + 1] | 0x20) : '\0';
    const bool prefixed = source_[pos_] == '0' && (second == 'x' || second == 'o' || second == 'b');
    if (prefixed) {
      end = pos_ + 2;
      while (end < source_.size() && is_word(static_cast<unsigned char>(source_[end])) &&
             source_[end] < 0x7F)
        ++end;
    }
    const std::size_t real = prefixed || after_dot ? end : real_end(end);
    const std::string_view text = std::string_view(source_).substr(pos_, real - pos_);
    if (real != end) {
      put(TokenKind::real);
      tokens_.back().real = parse_real(text).value_or(0);
    } else {
      const auto value = parse_int(text, prefixed ? 0 : 10);
      if (!value) error(fmt::format("{} is not a number", text));
      put(TokenKind::integer);
      tokens_.back().integer = *value;
    }
    advance(real - pos_);
  }

  void string(char quote) {
    std::size_t end = pos_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) error(fmt::format("a string is not closed; {} is missing", quote));
    put(TokenKind::string, unescape(std::string_view(source_).substr(pos_ + 1, end - pos_ - 1)));
    advance(end + 1 - pos_);
  }

  std::string unescape(std::string_view text) const {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\' || i + 1 == text.size()) {
        out.push_back(text[i]);
        continue;
      }
      const char c = text[++i];
      static constexpr std::string_view kFrom = "\\'\"abfnrtv";
      static constexpr std::string_view kTo = "\\'\"\a\b\f\n\r\t\v";
      if (const auto known = kFrom.find(c); known != std::string_view::npos)
        out.push_back(kTo[known]);
      else if (c == 'x' || c == 'u' || c == 'U')
        code_point(text, i, c == 'x' ? 2 : c == 'u' ? 4 : 8, 16, out);
      else if (c >= '0' && c <= '7')
        octal(text, i, out);
      else if (c != '\n')
        out.append({'\\', c});
    }
    return out;
  }

  /// `i` stands on the letter before the digits and moves to the last digit.
  void code_point(std::string_view text, std::size_t& i, std::size_t count, int base,
                  std::string& out) const {
    const auto value =
        i + count < text.size() ? parse_int(text.substr(i + 1, count), base) : std::nullopt;
    if (!value || *value > 0x10FFFF || (*value >= 0xD800 && *value < 0xE000))
      error(fmt::format("the escape \\{} is not followed by {} hex digits of a character", text[i],
                        count));
    append_char(out, static_cast<char32_t>(*value));
    i += count;
  }

  static void octal(std::string_view text, std::size_t& i, std::string& out) {
    char32_t value = 0;
    std::size_t end = i;
    for (; end < text.size() && end < i + 3 && text[end] >= '0' && text[end] <= '7'; ++end)
      value = value * 8 + static_cast<char32_t>(text[end] - '0');
    append_char(out, value);
    i = end - 1;
  }

  void sign() {
    static constexpr std::array<std::string_view, 26> kSigns = {
        "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    for (const std::string_view text : kSigns) {
      if (!at(text)) continue;
      balance(text[0]);
      put(TokenKind::sign, std::string(text));
      return advance(text.size());
    }
    std::size_t after = pos_;
    next_char(source_, after);
    error(fmt::format("unexpected character '{}'", source_.substr(pos_, after - pos_)));
  }

  void balance(char c) {
    if (c == '(' || c == '[' || c == '{')
      return brackets_.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    if (c != ')' && c != ']' && c != '}') return;
    if (brackets_.empty()) error(fmt::format("'{}' closes nothing", c));
    if (brackets_.back() != c)
      error(fmt::format("'{}' stands where '{}' is expected", c, brackets_.back()));
    brackets_.pop_back();
  }

  std::string source_;
  std::size_t pos_ = 0;
  int line_ = 1;
  bool line_starts_ =
      true;  // the last tag ended with a newline: blanks up to the next tag are a whole line
  std::string brackets_;  // the closing brackets still to come
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace stepless::jinja
