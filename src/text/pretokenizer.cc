#include "text/pretokenizer.hpp"

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/quote.hpp"
#include "text/byte_level.hpp"
#include "text/json_field.hpp"
#include "text/split_sink.hpp"
#include "text/unicode.hpp"
#include "text/utf8.hpp"

namespace stepless {
namespace {

constexpr std::string_view kGpt2 =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

SplitBehavior behavior_of(const Json& json, std::string_view what) {
  const std::string& name = string_field(json, "behavior", what);
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  fail(ErrorCode::corrupt,
       "{}: behavior {}; expected Removed, Isolated, MergedWithPrevious, MergedWithNext or "
       "Contiguous",
       what, in_quotes(name));
}

char32_t one_char(const std::string& text, const char* name, std::string_view what) {
  if (!text.empty()) {
    const Utf8Char c = read_utf8(text, 0);
    if (c.bytes == text.size()) return c.value;
  }
  fail(ErrorCode::corrupt, "{}: \"{}\" is {}; expected one character", what, name, in_quotes(text));
}

}  // namespace

void Words::reset(std::string_view whole, bool starts_input) {
  text = whole;
  at_start = starts_input;
  ranges.clear();
  if (!whole.empty()) ranges.push_back({0, whole.size()});
}

PreTokenizer PreTokenizer::from_json(const Json& json, std::string_view what) {
  PreTokenizer result;
  if (json.is_null()) return result;
  result.add(json, std::string(what));
  if (!result.steps_.empty() && std::holds_alternative<ByteLevel>(result.steps_.back())) {
    result.steps_.pop_back();
    result.ends_in_bytes_ = true;
  }
  return result;
}

void PreTokenizer::add(const Json& json, const std::string& what) {
  const std::string type = type_of(json, what);
  const std::string name = fmt::format("{} {}", what, in_quotes(type));
  if (type == "Sequence") {
    for (const Json& part : array_field(json, "pretokenizers", name)) add(part, what);
  } else if (type == "ByteLevel") {
    add_byte_level(json, name);
  } else if (type == "Split") {
    steps_.emplace_back(Split{Pattern::from_json(field(json, "pattern", name), name),
                              behavior_of(json, name), bool_field(json, "invert", name, false)});
  } else if (type == "Digits") {
    const bool each = bool_field(json, "individual_digits", name, false);
    steps_.emplace_back(SplitChars{CharClass::numeric, 0,
                                   each ? SplitBehavior::isolated : SplitBehavior::contiguous});
  } else if (type == "Punctuation") {
    const bool given = !field_or_null(json, "behavior").is_null();
    steps_.emplace_back(SplitChars{CharClass::punctuation, 0,
                                   given ? behavior_of(json, name) : SplitBehavior::isolated});
  } else if (type == "Whitespace") {
    steps_.emplace_back(WordsAndMarks{});
  } else if (type == "WhitespaceSplit" || type == "BertPreTokenizer") {
    steps_.emplace_back(SplitChars{CharClass::white_space, 0, SplitBehavior::removed});
    if (type == "BertPreTokenizer")
      steps_.emplace_back(SplitChars{CharClass::punctuation, 0, SplitBehavior::isolated});
  } else if (type == "CharDelimiterSplit") {
    const char32_t c = one_char(string_field(json, "delimiter", name), "delimiter", name);
    steps_.emplace_back(SplitChars{CharClass::one, c, SplitBehavior::removed});
  } else if (type == "Metaspace") {
    add_metaspace(json, name);
  } else {
    fail(ErrorCode::unsupported,
         "{}: type {} is not supported; ByteLevel, Split, Digits, Punctuation, Whitespace, "
         "WhitespaceSplit, BertPreTokenizer, CharDelimiterSplit, Metaspace and Sequence are",
         what, in_quotes(type));
  }
}

void PreTokenizer::add_byte_level(const Json& json, const std::string& name) {
  if (bool_field(json, "add_prefix_space", name, true)) steps_.emplace_back(PrefixSpace{});
  if (bool_field(json, "use_regex", name, true))
    steps_.emplace_back(Split{Pattern::regex(kGpt2, name), SplitBehavior::isolated, false});
  steps_.emplace_back(ByteLevel{});
}

void PreTokenizer::add_metaspace(const Json& json, const std::string& name) {
  const std::string& mark = string_field(json, "replacement", name);
  one_char(mark, "replacement", name);
  const Json& given = field_or_null(json, "prepend_scheme");
  const std::string scheme = given.is_null() ? "always" : as_string(given, "prepend_scheme", name);
  Prepend prepend = Prepend::always;
  if (scheme == "first") {
    prepend = Prepend::first;
  } else if (scheme == "never") {
    prepend = Prepend::never;
  } else if (scheme != "always") {
    fail(ErrorCode::corrupt, "{}: prepend_scheme {}; expected first, never or always", name,
         in_quotes(scheme));
  }
  if (!bool_field(json, "add_prefix_space", name, true)) {  // the spelling of older files
    if (!given.is_null() && prepend != Prepend::never)
      fail(ErrorCode::corrupt, "{}: add_prefix_space false contradicts prepend_scheme \"{}\"", name,
           scheme);
    prepend = Prepend::never;
  }
  steps_.emplace_back(Metaspace{mark, prepend, bool_field(json, "split", name, true)});
}

void PreTokenizer::run(Words& words, MatchScratch& scratch) const {
  for (const Step& step : steps_) std::visit([&](const auto& s) { run(s, words, scratch); }, step);
}

template <class Cut>
void PreTokenizer::cut_each(Words& words, SplitBehavior behavior, Cut&& cut) {
  words.spare_.clear();
  for (const TextRange word : words.ranges) {
    const std::string_view text = words.text.substr(word.begin, word.end - word.begin);
    cut(text, word, behavior, words.spare_);
  }
  words.ranges.swap(words.spare_);
}

// Replaces the text: write(word, out, first) appends what becomes of a word.
template <class Write>
void PreTokenizer::rewrite_each(Words& words, Write&& write) {
  std::string& out = words.spare_text_;
  out.clear();
  for (TextRange& word : words.ranges) {
    const std::size_t begin = out.size();
    const bool first = words.at_start && word.begin == 0;
    write(words.text.substr(word.begin, word.end - word.begin), out, first);
    word = {begin, out.size()};
  }
  words.owned_.swap(out);
  words.text = words.owned_;
}

void PreTokenizer::run(const Split& step, Words& words, MatchScratch& scratch) {
  cut_each(words, step.behavior,
           [&](std::string_view text, TextRange word, SplitBehavior behavior,
               std::vector<TextRange>& out) {
             SplitSink sink(out, word, behavior, step.invert);
             step.pattern.for_each(text, scratch, [&](TextRange match) {
               sink.match(word.begin + match.begin, word.begin + match.end);
             });
             sink.end();
           });
}

void PreTokenizer::run(const SplitChars& step, Words& words, MatchScratch&) {
  const auto is_delimiter = [&](char32_t c) {
    switch (step.kind) {
      case CharClass::white_space:
        return is_white_space(c);
      case CharClass::punctuation:
        return is_punctuation(c);
      case CharClass::numeric:
        return is_numeric(c);
      case CharClass::one:
        return c == step.one;
    }
    return false;
  };
  cut_each(words, step.behavior,
           [&](std::string_view text, TextRange word, SplitBehavior behavior,
               std::vector<TextRange>& out) {
             SplitSink sink(out, word, behavior, false);
             for (std::size_t at = 0; at < text.size();) {
               const Utf8Char c = read_utf8(text, at);
               if (is_delimiter(c.value)) sink.match(word.begin + at, word.begin + at + c.bytes);
               at += c.bytes;
             }
             sink.end();
           });
}

void PreTokenizer::run(WordsAndMarks, Words& words, MatchScratch&) {
  enum class Kind { space, word, mark };
  const auto kind_at = [](std::string_view text, std::size_t at, std::size_t& bytes) {
    const Utf8Char c = read_utf8(text, at);
    bytes = c.bytes;
    if (is_word(c.value)) return Kind::word;
    return is_white_space(c.value) ? Kind::space : Kind::mark;
  };
  cut_each(words, SplitBehavior::removed,
           [&](std::string_view text, TextRange word, SplitBehavior, std::vector<TextRange>& out) {
             for (std::size_t at = 0; at < text.size();) {
               const std::size_t begin = at;
               std::size_t bytes = 0;
               const Kind kind = kind_at(text, at, bytes);
               do {
                 at += bytes;
               } while (at < text.size() && kind_at(text, at, bytes) == kind);
               if (kind != Kind::space) out.push_back({word.begin + begin, word.begin + at});
             }
           });
}

void PreTokenizer::run(const Metaspace& step, Words& words, MatchScratch&) {
  rewrite_each(words, [&](std::string_view word, std::string& out, bool first) {
    const bool marked = word.front() == ' ' || word.substr(0, step.mark.size()) == step.mark;
    const bool wanted =
        step.prepend == Prepend::always || (step.prepend == Prepend::first && first);
    if (wanted && !marked) out.append(step.mark);
    for (std::size_t at = 0; at < word.size();) {
      const std::size_t space = std::min(word.find(' ', at), word.size());
      out.append(word.substr(at, space - at));
      if (space < word.size()) out.append(step.mark);
      at = space + 1;
    }
  });
  if (!step.split) return;
  cut_each(words, SplitBehavior::merged_with_next,
           [&](std::string_view text, TextRange word, SplitBehavior behavior,
               std::vector<TextRange>& out) {
             SplitSink sink(out, word, behavior, false);
             for (std::size_t at = text.find(step.mark); at != std::string_view::npos;
                  at = text.find(step.mark, at + step.mark.size()))
               sink.match(word.begin + at, word.begin + at + step.mark.size());
             sink.end();
           });
}

void PreTokenizer::run(PrefixSpace, Words& words, MatchScratch&) {
  rewrite_each(words, [](std::string_view word, std::string& out, bool) {
    if (word.front() != ' ') out.push_back(' ');
    out.append(word);
  });
}

void PreTokenizer::run(ByteLevel, Words& words, MatchScratch&) {
  rewrite_each(words, [](std::string_view word, std::string& out, bool) {
    for (const char byte : word) out.append(byte_level_char(static_cast<unsigned char>(byte)));
  });
}

}  // namespace stepless
