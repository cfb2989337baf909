#include "text/regex_dialect.hpp"

#include <optional>
#include <vector>

#include "base/error.hpp"
#include "base/quote.hpp"
#include "text/char_set.hpp"
#include "text/utf8.hpp"

namespace stepless {
namespace {

constexpr int kClassDepth = 32;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// A member of a class, or one escape: a character or a set.
struct Atom {
  std::optional<char32_t> one;
  CharSet set;
};

class Translator {
 public:
  Translator(std::string_view pattern, std::string_view what) : in_(pattern), what_(what) {}

  std::string run() {
    groups_.push_back({0, 0});
    while (!done()) step();
    if (groups_.size() != 1) broken("a group is not closed");
    out_.append(static_cast<std::size_t>(groups_[0].options), ')');
    return std::move(out_);
  }

 private:
  struct Group {
    std::size_t start;  // in out_
    int options;        // (?i) opened a group of its own; close as many
  };

  bool done() const { return at_ >= in_.size(); }
  char peek(std::size_t ahead = 0) const {
    return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0';
  }
  bool take(std::string_view text) {
    if (in_.substr(at_, text.size()) != text) return false;
    at_ += text.size();
    return true;
  }
  char32_t take_char() {
    const Utf8Char c = read_utf8(in_, at_);
    at_ += c.bytes;
    return c.value;
  }
  [[noreturn]] void broken(std::string_view why) const {
    fail(ErrorCode::corrupt, "{}: regex {}: {}, at byte {}", what_, in_quotes(in_), why, at_);
  }
  [[noreturn]] void unknown(std::string_view construct) const {
    fail(ErrorCode::unsupported, "{}: regex {}: {} is not supported, at byte {}", what_,
         in_quotes(in_), construct, at_);
  }

  void begin_atom() { atom_ = out_.size(); }
  void put_atom(std::string_view text) {
    begin_atom();
    out_.append(text);
  }

  void step() {
    const char c = peek();
    if (c == '\\') return escape();
    if (c == '[') {
      ++at_;
      return put_atom(parse_class(0).text);
    }
    if (c == '(') return open_group();
    if (c == ')') return close_group();
    if (c == '*' || c == '+' || c == '?') return simple_quantifier();
    if (c == '{') return interval();
    begin_atom();
    append_utf8(out_, take_char());
    if (c == '|') atom_ = std::string::npos;
  }

  // `+` after a quantifier is possessive and `?` lazy, as in PCRE2.
  void simple_quantifier() {
    out_.push_back(in_[at_++]);
    if (peek() == '+' || peek() == '?') out_.push_back(in_[at_++]);
  }

  // Ruby's {n,m}: {,m} counts from 0; a + behind it repeats the whole, as does a ? behind {n}.
  void interval() {
    std::size_t end = at_ + 1;
    std::string low, high;
    bool comma = false;
    while (end < in_.size() && (is_digit(in_[end]) || (in_[end] == ',' && !comma))) {
      if (in_[end] == ',') {
        comma = true;
      } else {
        (comma ? high : low).push_back(in_[end]);
      }
      ++end;
    }
    if (end >= in_.size() || in_[end] != '}' || (low.empty() && high.empty())) {
      ++at_;
      return put_atom("\\{");
    }
    if (atom_ == std::string::npos) broken("nothing to repeat");
    at_ = end + 1;
    out_.append(comma ? "{" + (low.empty() ? "0" : low) + "," + high + "}" : "{" + low + "}");
    const bool wrap = peek() == '+' || (peek() == '?' && !comma);
    if (wrap) {
      out_.insert(atom_, "(?:");
      out_.push_back(')');
    }
    if (peek() == '+' || peek() == '?') out_.push_back(in_[at_++]);
  }

  void open_group() {
    groups_.push_back({out_.size(), 0});
    ++at_;
    if (peek() != '?') {
      out_.push_back('(');
      return start_alternative();
    }
    if (take("?#")) return comment();
    for (const std::string_view plain : {"?:", "?=", "?!", "?>", "?<=", "?<!"}) {
      if (!take(plain)) continue;
      out_.push_back('(');
      out_.append(plain);
      return start_alternative();
    }
    if (peek(1) == '<' && is_letter(peek(2))) {
      const std::size_t end = in_.find('>', at_);
      if (end == std::string_view::npos) broken("the name of a group is not closed");
      out_.append("(").append(in_.substr(at_, end + 1 - at_));
      at_ = end + 1;
      return start_alternative();
    }
    options();
  }
  void start_alternative() { atom_ = std::string::npos; }

  void comment() {
    const std::size_t end = in_.find(')', at_);
    if (end == std::string_view::npos) broken("a comment is not closed");
    at_ = end + 1;
    groups_.pop_back();
  }

  // (?i-m:…) and (?i): Ruby's m is "dot matches newline", which PCRE2 calls s.
  void options() {
    ++at_;
    std::string flags;
    while (!done() && peek() != ':' && peek() != ')') {
      const char flag = in_[at_];
      if (flag == 'i' || flag == '-') {
        flags.push_back(flag);
      } else if (flag == 'm') {
        flags.push_back('s');
      } else {
        unknown(std::string("the group option ") + flag);
      }
      ++at_;
    }
    if (done()) broken("a group is not closed");
    out_.append("(?").append(flags).append(":");
    if (in_[at_++] == ')') {  // until the end of the group around it, alternatives included
      groups_.pop_back();
      ++groups_.back().options;
    }
    start_alternative();
  }

  void close_group() {
    if (groups_.size() == 1) broken("a parenthesis closes nothing");
    const Group group = groups_.back();
    groups_.pop_back();
    out_.append(static_cast<std::size_t>(group.options) + 1, ')');
    atom_ = group.start;
    ++at_;
  }

  // \ outside a class.
  void escape() {
    const char c = peek(1);
    if (c == '\0' && at_ + 1 >= in_.size()) broken("a backslash ends the pattern");
    const auto pass = [&](std::string_view text) {
      at_ += 2;
      put_atom(text);
    };
    const std::string word = one_of(shorthand_set('w'), false);
    switch (c) {
      case 'b':
        return pass("(?:(?<=" + word + ")(?!" + word + ")|(?<!" + word + ")(?=" + word + "))");
      case 'B':
        return pass("(?:(?<=" + word + ")(?=" + word + ")|(?<!" + word + ")(?!" + word + "))");
      case 'A':
      case 'Z':
      case 'z':
      case 'G':
      case 'K':
      case 'R':
      case 'X':
        return pass(in_.substr(at_, 2));
      case 'y':
      case 'Y':
      case 'N':
      case 'O':
      case 'g':
        unknown(in_.substr(at_, 2));
      case 'k': {
        const std::size_t end = in_.find('>', at_);
        if (end == std::string_view::npos) broken("the name of a group is not closed");
        put_atom(in_.substr(at_, end + 1 - at_));
        at_ = end + 1;
        return;
      }
      default:
        break;
    }
    if (c >= '1' && c <= '9') return pass(in_.substr(at_, 2));
    const Atom atom = escaped_atom();
    if (atom.one) {
      CharSet set;
      set.add_char(*atom.one);
      return put_atom(set.inside);
    }
    put_atom(one_of(atom.set, false));
  }

  // \ inside or outside a class: what is one character or one set in both.
  Atom escaped_atom() {
    ++at_;
    const char c = peek();
    const CharSet shorthand = shorthand_set(lower(c));
    if (!shorthand.empty()) {
      ++at_;
      Atom atom;
      if (c == lower(c)) {
        atom.set = shorthand;
      } else {
        atom.set.add_complement(shorthand);
      }
      return atom;
    }
    if (c == 'p' || c == 'P') return property();
    if (c == 'x') return hexadecimal();
    if (c == 'u') {
      ++at_;
      return code_point(4, 4);
    }
    static constexpr std::string_view kNames = "nrtfvae";
    static constexpr char32_t kValues[] = {0x0A, 0x0D, 0x09, 0x0C, 0x0B, 0x07, 0x1B};
    if (const std::size_t i = kNames.find(c); i != std::string_view::npos) {
      ++at_;
      return {kValues[i], {}};
    }
    if (c == '0') {
      ++at_;
      char32_t value = 0;
      for (int i = 0; i < 2 && peek() >= '0' && peek() <= '7'; ++i) {
        value = value * 8 + static_cast<char32_t>(in_[at_++] - '0');
      }
      return {value, {}};
    }
    return {take_char(), {}};
  }

  Atom property() {
    const bool negated = in_[at_++] == 'P';
    std::string_view name = in_.substr(at_, 1);
    if (peek() == '{') {
      const std::size_t end = in_.find('}', at_);
      if (end == std::string_view::npos) broken("the name of a property is not closed");
      name = in_.substr(at_ + 1, end - at_ - 1);
      at_ = end + 1;
    } else {
      ++at_;
    }
    for (const char c : name.substr(name.empty() || name[0] != '^' ? 0 : 1)) {
      if (!is_letter(c) && !is_digit(c) && c != '_' && c != '-' && c != ' ')
        broken("a property's name is made of letters");
    }
    if (name.empty() || name == "^") broken("a property has no name");
    Atom atom;
    if (negated) {
      atom.set.add_complement(property_set(name));
    } else {
      atom.set = property_set(name);
    }
    return atom;
  }

  Atom hexadecimal() {
    ++at_;
    if (!take("{")) {
      Atom atom = code_point(1, 2);
      if (*atom.one >= 0x80) unknown("a raw byte above 7F");
      return atom;
    }
    Atom atom = code_point(1, 8);
    if (!take("}")) broken("\\x{ is not closed");
    return atom;
  }

  Atom code_point(int least, int most) {
    char32_t value = 0;
    int digits = 0;
    for (; digits < most; ++digits) {
      const char c = lower(peek());
      if (is_digit(c)) {
        value = value * 16 + static_cast<char32_t>(c - '0');
      } else if (c >= 'a' && c <= 'f') {
        value = value * 16 + static_cast<char32_t>(c - 'a' + 10);
      } else {
        break;
      }
      ++at_;
    }
    if (digits < least) broken("hexadecimal digits are missing");
    if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) broken("no such character");
    return {value, {}};
  }

  struct Class {
    CharSet set;
    std::string text;
  };

  // Behind the opening bracket, to behind the closing one.
  Class parse_class(int depth) {
    if (depth > kClassDepth) broken("classes are nested too deep");
    const bool negated = take("^");
    CharSet all, part;
    bool intersecting = false;
    const auto end_part = [&] {
      if (part.empty()) broken("an empty class");
      all = intersecting ? intersect(all, part) : part;
      part = {};
    };
    for (bool first = true;; first = false) {
      if (done()) broken("a class is not closed");
      if (peek() == ']' && !first) break;
      if (take("&&")) {
        end_part();
        intersecting = true;
        continue;
      }
      class_member(part, depth);
    }
    ++at_;
    end_part();
    Class result;
    if (negated) {
      result.set.add_complement(all);
    } else {
      result.set = all;
    }
    result.text = one_of(all, negated);
    return result;
  }

  void class_member(CharSet& part, int depth) {
    const Atom low = class_atom(depth);
    if (!low.one) return part.add(low.set);
    if (peek() != '-' || peek(1) == ']' || peek(1) == '\0') return part.add_char(*low.one);
    const std::size_t dash = at_++;
    const Atom high = class_atom(depth);
    if (!high.one) {  // a-\d: three members
      part.add_char(*low.one);
      part.add_char(in_[dash] == '-' ? U'-' : U'\0');
      return part.add(high.set);
    }
    if (*high.one < *low.one) broken("a range runs backwards");
    part.add_range(*low.one, *high.one);
  }

  Atom class_atom(int depth) {
    if (done()) broken("a class is not closed");
    if (peek() == '\\') {
      if (at_ + 1 >= in_.size()) broken("a class is not closed");
      if (peek(1) == 'b') {
        at_ += 2;
        return {char32_t{0x08}, {}};
      }
      return escaped_atom();
    }
    if (peek() != '[') return {take_char(), {}};
    ++at_;
    Atom atom;
    if (!take(":")) {
      atom.set = parse_class(depth + 1).set;
      return atom;
    }
    const bool negated = take("^");
    const std::size_t end = in_.find(":]", at_);
    if (end == std::string_view::npos) broken("[: is not closed");
    const CharSet named = property_set(in_.substr(at_, end - at_));
    at_ = end + 2;
    if (negated) {
      atom.set.add_complement(named);
    } else {
      atom.set = named;
    }
    return atom;
  }

  std::string_view in_, what_;
  std::size_t at_ = 0;
  std::string out_;
  std::size_t atom_ = std::string::npos;  // where the last atom starts in out_
  std::vector<Group> groups_;
};

}  // namespace

std::string pcre2_from_onig(std::string_view pattern, std::string_view what) {
  return Translator(pattern, what).run();
}

}  // namespace stepless
