// Added tokens: strings that are found in the text before anything else, in one pass, and become
// one id each.
#pragma once
#include <array>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "text/normalizer.hpp"
#include "text/token_id.hpp"
#include "text/vocabulary.hpp"

namespace stepless {

struct AddedToken {
  std::string content;
  std::string pattern;  // what is searched: content, normalized when `normalized`
  TokenId id;
  bool single_word, lstrip, rstrip, normalized, special;
};

/// A part of the text: an added token, or (token null) text to tokenize.
struct TextPart {
  std::size_t begin, end;
  const AddedToken* token;
};

/// Finds the longest added token at the leftmost place; immutable.
class TokenMatcher {
 public:
  using Refuse = std::function<bool(const AddedToken&, std::size_t begin, std::size_t end)>;

  TokenMatcher();
  void add(const AddedToken& token);
  void finish();
  bool empty() const { return tokens_.empty(); }

  /// Cuts `text` into parts. `refuse` (may be empty) rejects a candidate, as if that token did not
  /// exist there.
  std::vector<TextPart> cut(std::string_view text, const Refuse& refuse) const;

 private:
  struct Edge {
    unsigned char byte;
    std::int32_t node;
  };
  struct Node {
    std::vector<Edge> edges;
    std::int32_t token = -1;
  };
  struct Found {
    std::size_t begin, end;
    const AddedToken* token;
  };
  std::int32_t child(std::int32_t node, unsigned char byte) const;
  bool find(std::string_view text, std::size_t from, const Refuse& refuse, Found& found) const;

  std::vector<Node> nodes_;
  std::array<std::int32_t, 256> root_{};
  std::vector<AddedToken> tokens_;
};

class AddedTokens {
 public:
  /// "added_tokens" (null: none). Ids of tokens the model has must agree with it. Throws Error:
  /// corrupt, exhausted.
  static AddedTokens from_json(const Json& json, const Vocabulary& model,
                               const Normalizer& normalizer, std::string_view what);

  const std::vector<AddedToken>& all() const { return all_; }
  const TokenMatcher& in_raw_text() const { return raw_; }
  const TokenMatcher& in_normalized_text() const { return normalized_; }

 private:
  std::vector<AddedToken> all_;
  TokenMatcher raw_, normalized_;
};

}  // namespace stepless
