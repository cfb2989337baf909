// tokenizer.json run as Hugging Face's tokenizers library runs it: text to ids and back.
#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "text/token_id.hpp"

namespace stepless {

/// Whether special tokens written in a text become their ids. as_text: the text is a user's; it
/// never becomes one.
enum class SpecialTokens { parse, as_text };

struct TextSegment {
  std::string_view text;
  SpecialTokens special;
};

/// Immutable: every function may be called from many threads at once. Copies share one object.
/// Text that is not UTF-8 is read with U+FFFD for each maximal broken part.
/// Time is linear in the text for the regular expressions that model families use; a pattern that
/// backtracks without end is stopped with Error invalid_argument.
class Tokenizer {
 public:
  /// Reads a tokenizer.json. Throws Error: not_found, exhausted (larger than 128 MiB), corrupt
  /// (with the component, the token and the values), unsupported (naming the component).
  static Tokenizer load(const std::string& path);
  /// The same from a parsed file; `what` starts the messages.
  static Tokenizer from_json(const Json& json, std::string_view what);

  /// Ids without the special tokens of the post-processor. truncation and padding of the file are
  /// not applied, as transformers does not apply them either.
  std::vector<TokenId> encode(std::string_view text,
                              SpecialTokens special = SpecialTokens::parse) const;
  /// With them (add_special_tokens=True).
  std::vector<TokenId> encode_with_template(std::string_view text) const;
  /// Ids of the concatenation, where no special token is found that has a byte in an as_text
  /// segment. Added tokens that are not special are found everywhere.
  std::vector<TokenId> encode_segments(std::span<const TextSegment> segments) const;

  /// Unknown ids are left out. Valid UTF-8 always.
  std::string decode(std::span<const TokenId> ids, bool skip_special = false) const;

  std::int64_t vocab_size() const;  // highest id + 1
  std::optional<TokenId> id_of(std::string_view token) const;
  std::string_view token(TokenId id) const;  // the raw string; empty when the id is unknown
  bool is_special(TokenId id) const;

 private:
  friend class Detokenizer;
  struct Parts;
  struct Scratch;
  explicit Tokenizer(std::shared_ptr<const Parts> parts) : parts_(std::move(parts)) {}

  std::shared_ptr<const Parts> parts_;
};

}  // namespace stepless
