// The "normalizer" of tokenizer.json: what happens to text before it is cut. Keeps, when asked, a
// mark per byte that says which text came from a user, so that user text cannot be normalized into
// a special token.
#pragma once
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json.hpp"
#include "text/regex.hpp"

namespace stepless {

/// Text under way. `marks` is empty, or has a byte per byte of `bytes`: 1 where user text had a
/// part in it.
struct MarkedText {
  std::string bytes;
  std::string marks;
  bool from_start =
      true;  // the first character stands where the text started, or was put before it
};

class Normalizer {
 public:
  /// null gives the identity. Throws Error: unsupported (naming the type), corrupt.
  static Normalizer from_json(const Json& json, std::string_view what);

  bool is_identity() const { return steps_.empty(); }
  /// text.bytes must be valid UTF-8, and stays so.
  void apply(MarkedText& text, MatchScratch& scratch) const;

 private:
  enum class Form { nfc, nfd, nfkc, nfkd };
  struct Lowercase {};
  struct StripAccents {};
  struct ByteLevel {};
  struct Replace {
    Pattern pattern;
    std::string content;
  };
  struct Prepend {
    std::string text;
  };
  struct Strip {
    bool left, right;
  };
  using Step = std::variant<Form, Lowercase, StripAccents, ByteLevel, Replace, Prepend, Strip>;

  void add(const Json& json, const std::string& what);
  static void run(Form form, MarkedText& text, MatchScratch& scratch);
  static void run(Lowercase, MarkedText& text, MatchScratch& scratch);
  static void run(StripAccents, MarkedText& text, MatchScratch& scratch);
  static void run(ByteLevel, MarkedText& text, MatchScratch& scratch);
  static void run(const Replace& step, MarkedText& text, MatchScratch& scratch);
  static void run(const Prepend& step, MarkedText& text, MatchScratch& scratch);
  static void run(const Strip& step, MarkedText& text, MatchScratch& scratch);

  std::vector<Step> steps_;
};

}  // namespace stepless
