// The model of tokenizer.json: byte-pair encoding. Gives the ids of Hugging Face's BPE for each
// word, in O(n log n) for a word of any length.
#pragma once
#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/json.hpp"
#include "text/merge_table.hpp"
#include "text/token_id.hpp"
#include "text/vocabulary.hpp"
#include "text/word_cache.hpp"

namespace stepless {

/// What one call of the tokenizer keeps between words.
struct BpeScratch {
  WordCache cache;
  std::vector<TokenId> symbols;
  std::vector<std::uint32_t> ranks;
  std::vector<std::uint32_t> next, previous;
  std::vector<std::uint64_t> heap;
  std::string mapped;
};

class Bpe {
 public:
  enum class Input { text, bytes };  // bytes: words are read as the characters of byte_level.hpp
  /// Special ids may come out of merges and whole words, or (user text) may not.
  enum class Special { allowed, refused };

  /// The "model" object. Throws Error: unsupported (another model, dropout, affixes), corrupt.
  static Bpe from_json(const Json& json, Input input, std::string_view what);

  const Vocabulary& vocabulary() const { return vocabulary_; }
  /// Which ids Special::refused keeps out; called once, at load.
  void set_special(const std::vector<TokenId>& ids);

  /// Appends the ids of one word (valid UTF-8, not empty).
  void encode(std::string_view word, Special special, BpeScratch& scratch,
              std::vector<TokenId>& out) const;

 private:
  void read_vocabulary(const Json& json, const std::string& what);
  void read_merges(const Json& json, const std::string& what);
  void read_options(const Json& json, const std::string& what);
  void index_symbols();
  void note_joined(const std::string& token);
  void check_byte_tokens(const std::string& what) const;

  void encode_fresh(std::string_view word, Special special, BpeScratch& scratch,
                    std::vector<TokenId>& out) const;
  void encode_part(std::string_view word, Special special, BpeScratch& scratch,
                   std::vector<TokenId>& out) const;
  bool byte_symbols(std::string_view word, std::vector<TokenId>& symbols) const;
  void char_symbols(std::string_view word, std::vector<TokenId>& symbols) const;
  TokenId symbol_of(char32_t c) const;
  bool never_joined(char32_t left, char32_t right) const;
  bool is_special(TokenId id) const {
    return static_cast<std::size_t>(id) < special_.size() && special_[static_cast<std::size_t>(id)];
  }
  Merge merge_of(TokenId left, TokenId right, Special special) const;
  void merge_short(Special special, BpeScratch& scratch) const;
  void merge_long(Special special, BpeScratch& scratch) const;

  Vocabulary vocabulary_;
  MergeTable merges_;
  Input input_ = Input::text;
  bool ignore_merges_ = false, byte_fallback_ = false, fuse_unknown_ = false;
  TokenId unknown_ = -1;
  std::array<TokenId, 256> byte_symbol_{};  // Input::bytes: the symbol of each byte, or -1
  std::array<TokenId, 256> fallback_{};     // <0xNN>, or -1
  std::array<TokenId, 128> ascii_symbol_{};
  std::unordered_map<char32_t, TokenId> char_symbol_;
  std::unordered_set<std::uint64_t>
      joined_;  // pairs of characters that stand side by side in some merge's result
  std::vector<bool> special_;
};

}  // namespace stepless
