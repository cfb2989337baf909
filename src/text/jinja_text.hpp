// A string of the interpreter: UTF-8 bytes and, for each byte, whether a user or the template wrote
// it. The ranges that came from a user survive cutting and joining; that is how the tokenizer knows
// where special tokens may stand.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_limits.hpp"

namespace stepless::jinja {

struct Span {
  std::int64_t begin, end;
};

class Text {
 public:
  Text() = default;
  explicit Text(std::string bytes, bool from_user = false);
  /// `spans`: sorted, disjoint, inside the bytes.
  Text(std::string bytes, std::vector<Span> spans);

  const std::string& bytes() const { return bytes_; }
  std::int64_t size() const { return static_cast<std::int64_t>(bytes_.size()); }
  std::int64_t chars() const { return chars_; }
  bool is_ascii() const { return chars_ == size(); }
  const std::vector<Span>& user_spans() const { return spans_; }
  bool has_user_bytes() const { return !spans_.empty(); }
  /// Markup: made by `safe` or `escape`; what is added to it later is escaped.
  bool is_markup() const { return markup_; }
  void set_markup(bool markup) { markup_ = markup; }

  /// Bytes [begin, end), with their provenance.
  Text slice(std::int64_t begin, std::int64_t end) const;
  /// The byte offset of a character; constant time when the text is ASCII.
  std::int64_t offset(std::int64_t char_index) const;

 private:
  std::string bytes_;
  std::vector<Span> spans_;
  std::int64_t chars_ = 0;
  bool markup_ = false;
};

/// Collects a text; every byte is paid for at the meter.
class TextBuilder {
 public:
  explicit TextBuilder(Meter& meter) : meter_(&meter) {}
  void add(std::string_view bytes, bool from_user = false);
  void add(const Text& text) { add_slice(text, 0, text.size()); }
  void add_slice(const Text& text, std::int64_t begin, std::int64_t end);
  std::int64_t size() const { return static_cast<std::int64_t>(bytes_.size()); }
  /// The text, with every byte marked as the user's if one was and `whole` is set.
  Text take(bool whole = false);

 private:
  void mark(std::int64_t begin, std::int64_t end);

  Meter* meter_;
  std::string bytes_;
  std::vector<Span> spans_;
};

/// `bytes` computed from `source` by other means than cutting: the user's throughout if any byte of
/// `source` was.
Text derived(std::string bytes, const Text& source);

}  // namespace stepless::jinja
