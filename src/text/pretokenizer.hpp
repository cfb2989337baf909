// The "pre_tokenizer" of tokenizer.json: cuts a stretch of text into the words that BPE never
// merges across.
#pragma once
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json.hpp"
#include "text/regex.hpp"

namespace stepless {

/// A stretch of text and its words, none empty, in order. Reused from stretch to stretch.
struct Words {
  std::string_view text;
  std::vector<TextRange> ranges;
  bool at_start = false;  // text starts where the whole input starts

  /// Starts over with `whole` as the only word.
  void reset(std::string_view whole, bool starts_input);
  std::string_view operator[](std::size_t i) const {
    return text.substr(ranges[i].begin, ranges[i].end - ranges[i].begin);
  }

 private:
  friend class PreTokenizer;
  std::vector<TextRange> spare_;
  std::string owned_, spare_text_;  // `text` points into owned_ once a step has rewritten it
};

/// What a delimiter becomes.
enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

class PreTokenizer {
 public:
  /// null gives the identity. Throws Error: unsupported (naming the type), corrupt.
  static PreTokenizer from_json(const Json& json, std::string_view what);

  /// True when the last step is ByteLevel. run() then leaves words as plain bytes; the model reads
  /// them as the characters of byte_level.hpp.
  bool ends_in_bytes() const { return ends_in_bytes_; }

  void run(Words& words, MatchScratch& scratch) const;

 private:
  enum class CharClass { white_space, punctuation, numeric, one };
  struct Split {
    Pattern pattern;
    SplitBehavior behavior;
    bool invert;
  };
  struct SplitChars {
    CharClass kind;
    char32_t one;  // CharClass::one
    SplitBehavior behavior;
  };
  struct WordsAndMarks {};  // type Whitespace: \w+|[^\w\s]+
  enum class Prepend { first, never, always };
  struct Metaspace {
    std::string mark;
    Prepend prepend;
    bool split;
  };
  struct PrefixSpace {};
  struct ByteLevel {};
  using Step = std::variant<Split, SplitChars, WordsAndMarks, Metaspace, PrefixSpace, ByteLevel>;

  void add(const Json& json, const std::string& what);
  void add_byte_level(const Json& json, const std::string& name);
  void add_metaspace(const Json& json, const std::string& name);

  static void run(const Split& step, Words& words, MatchScratch& scratch);
  static void run(const SplitChars& step, Words& words, MatchScratch& scratch);
  static void run(WordsAndMarks, Words& words, MatchScratch& scratch);
  static void run(const Metaspace& step, Words& words, MatchScratch& scratch);
  static void run(PrefixSpace, Words& words, MatchScratch& scratch);
  static void run(ByteLevel, Words& words, MatchScratch& scratch);
  template <class Cut>
  static void cut_each(Words& words, SplitBehavior behavior, Cut&& cut);
  template <class Write>
  static void rewrite_each(Words& words, Write&& write);

  std::vector<Step> steps_;
  bool ends_in_bytes_ = false;
};

}  // namespace stepless
