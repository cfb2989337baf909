#include "text/normalizer.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.hpp"
#include "base/quote.hpp"
#include "text/byte_level.hpp"
#include "text/json_field.hpp"
#include "text/unicode.hpp"
#include "text/unicode_form.hpp"
#include "text/utf8.hpp"

namespace stepless {
namespace {

// Collects a step's output; marks only when the input has them.
class Output {
 public:
  explicit Output(const MarkedText& in) : in_(in) { out_.bytes.reserve(in.bytes.size()); }

  void keep(std::size_t begin, std::size_t end) {
    out_.bytes.append(in_.bytes, begin, end - begin);
    if (!in_.marks.empty()) out_.marks.append(in_.marks, begin, end - begin);
  }
  bool marked(std::size_t begin, std::size_t end) const {
    if (in_.marks.empty()) return false;
    const auto mark = [](char m) { return m != 0; };
    return std::any_of(in_.marks.begin() + static_cast<std::ptrdiff_t>(begin),
                       in_.marks.begin() + static_cast<std::ptrdiff_t>(end), mark);
  }
  std::string& bytes() { return out_.bytes; }
  // Marks what was appended to bytes() since the last call.
  void mark_rest(bool mark) {
    if (!in_.marks.empty()) out_.marks.resize(out_.bytes.size(), mark ? 1 : 0);
  }
  void store(MarkedText& text) {
    out_.from_start = text.from_start;
    text = std::move(out_);
  }

 private:
  const MarkedText& in_;
  MarkedText out_;
};

// Calls per_char(out, char) for each character and marks what it appends like the character.
template <class PerChar>
void map_chars(MarkedText& text, PerChar&& per_char) {
  Output out(text);
  for (std::size_t at = 0; at < text.bytes.size();) {
    const Utf8Char c = read_utf8(text.bytes, at);
    per_char(out.bytes(), c.value);
    out.mark_rest(out.marked(at, at + c.bytes));
    at += c.bytes;
  }
  out.store(text);
}

}  // namespace

Normalizer Normalizer::from_json(const Json& json, std::string_view what) {
  Normalizer normalizer;
  if (!json.is_null()) normalizer.add(json, std::string(what));
  return normalizer;
}

void Normalizer::add(const Json& json, const std::string& what) {
  const std::string type = type_of(json, what);
  const std::string name = fmt::format("{} {}", what, in_quotes(type));
  if (type == "Sequence") {
    for (const Json& part : array_field(json, "normalizers", name)) add(part, what);
  } else if (type == "NFC") {
    steps_.emplace_back(Form::nfc);
  } else if (type == "NFD") {
    steps_.emplace_back(Form::nfd);
  } else if (type == "NFKC") {
    steps_.emplace_back(Form::nfkc);
  } else if (type == "NFKD") {
    steps_.emplace_back(Form::nfkd);
  } else if (type == "Lowercase") {
    steps_.emplace_back(Lowercase{});
  } else if (type == "StripAccents") {
    steps_.emplace_back(StripAccents{});
  } else if (type == "ByteLevel") {
    steps_.emplace_back(ByteLevel{});
  } else if (type == "Replace") {
    steps_.emplace_back(Replace{Pattern::from_json(field(json, "pattern", name), name),
                                string_field(json, "content", name)});
  } else if (type == "Prepend") {
    steps_.emplace_back(Prepend{string_field(json, "prepend", name)});
  } else if (type == "Strip") {
    steps_.emplace_back(
        Strip{bool_field(json, "strip_left", name), bool_field(json, "strip_right", name)});
  } else {
    fail(ErrorCode::unsupported,
         "{}: type {} is not supported; NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, ByteLevel, "
         "Replace, Prepend, Strip and Sequence are",
         what, in_quotes(type));
  }
}

void Normalizer::apply(MarkedText& text, MatchScratch& scratch) const {
  for (const Step& step : steps_) std::visit([&](const auto& s) { run(s, text, scratch); }, step);
}

// Only what lies between inert runs goes through the tables, with the inert character before it,
// which it may combine with.
void Normalizer::run(Form form, MarkedText& text, MatchScratch&) {
  const UnicodeForm how{form == Form::nfkc || form == Form::nfkd,
                        form == Form::nfc || form == Form::nfkc};
  const std::string& in = text.bytes;
  std::size_t at = inert_run(in, 0, how);
  if (at == in.size()) return;
  Output out(text);
  std::size_t kept = 0;
  while (at < in.size()) {
    std::size_t start = at;
    while (start > kept && (static_cast<unsigned char>(in[--start]) & 0xC0U) == 0x80U) continue;
    out.keep(kept, start);
    // Characters up to the next two inert ones; the second is a border no composition crosses.
    std::size_t end = at;
    while (end < in.size()) {
      const std::size_t inert = inert_run(in, end, how);
      if (inert > 0) break;
      end += read_utf8(in, end).bytes;
    }
    const std::size_t before = out.bytes().size();
    append_normal_form(out.bytes(), std::string_view(in).substr(start, end - start), how);
    // An ASCII character that did not combine keeps its own mark.
    if (start < at && out.bytes()[before] == in[start] &&
        static_cast<unsigned char>(in[start]) < 0x80) {
      std::string rest = out.bytes().substr(before + 1);
      out.bytes().resize(before + 1);
      out.mark_rest(out.marked(start, at));
      out.bytes().append(rest);
      out.mark_rest(out.marked(at, end));
    } else {
      out.mark_rest(out.marked(start, end));
    }
    kept = end;
    at = end + inert_run(in, end, how);
  }
  out.keep(kept, in.size());
  out.store(text);
}

void Normalizer::run(Lowercase, MarkedText& text, MatchScratch&) {
  map_chars(text, [](std::string& out, char32_t c) { append_lower(out, c); });
}

void Normalizer::run(StripAccents, MarkedText& text, MatchScratch&) {
  const bool first = !text.bytes.empty() && !is_mark(read_utf8(text.bytes, 0).value);
  map_chars(text, [](std::string& out, char32_t c) {
    if (!is_mark(c)) append_utf8(out, c);
  });
  text.from_start = text.from_start && first;
}

void Normalizer::run(ByteLevel, MarkedText& text, MatchScratch&) {
  Output out(text);
  for (std::size_t at = 0; at < text.bytes.size(); ++at) {
    out.bytes().append(byte_level_char(static_cast<unsigned char>(text.bytes[at])));
    out.mark_rest(out.marked(at, at + 1));
  }
  out.store(text);
}

void Normalizer::run(const Replace& step, MarkedText& text, MatchScratch& scratch) {
  if (text.bytes.empty()) return;
  Output out(text);
  std::size_t kept = 0;
  bool from_start = text.from_start;
  step.pattern.for_each(text.bytes, scratch, [&](TextRange match) {
    if (match.begin == 0 && match.end > 0) from_start = !step.content.empty();
    out.keep(kept, match.begin);
    out.bytes().append(step.content);
    out.mark_rest(out.marked(match.begin, match.end));
    kept = match.end;
  });
  if (kept == 0 && out.bytes().empty()) return;
  out.keep(kept, text.bytes.size());
  out.store(text);
  text.from_start = from_start;
}

void Normalizer::run(const Prepend& step, MarkedText& text, MatchScratch&) {
  if (text.bytes.empty()) return;
  text.from_start = true;
  text.bytes.insert(0, step.text);
  if (!text.marks.empty()) text.marks.insert(0, step.text.size(), text.marks.front());
}

void Normalizer::run(const Strip& step, MarkedText& text, MatchScratch&) {
  std::size_t begin = 0, end = text.bytes.size();
  while (step.left && begin < end) {
    const Utf8Char c = read_utf8(text.bytes, begin);
    if (!is_white_space(c.value)) break;
    begin += c.bytes;
  }
  while (step.right && end > begin) {
    const std::size_t at = last_char(text.bytes, end);
    if (!is_white_space(read_utf8(text.bytes, at).value)) break;
    end = at;
  }
  Output out(text);
  out.keep(begin, end);
  out.store(text);
  if (begin > 0) text.from_start = false;
}

}  // namespace stepless
