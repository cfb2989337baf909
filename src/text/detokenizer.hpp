// Text from tokens as they are sampled: never half a character, nothing that may be the start of a
// stop string.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "text/tokenizer.hpp"

namespace stepless {

/// Copyable (a draft may be tried and thrown away); keeps its tokenizer alive. One thread at a
/// time.
class Detokenizer {
 public:
  /// Stop strings are not empty. Throws Error: invalid_argument.
  Detokenizer(const Tokenizer& tokenizer, std::vector<std::string> stops, bool skip_special);
  Detokenizer(const Detokenizer&);
  Detokenizer(Detokenizer&&) noexcept;
  Detokenizer& operator=(const Detokenizer&);
  Detokenizer& operator=(Detokenizer&&) noexcept;
  ~Detokenizer();

  /// The text that this token releases. Empty once stopped, and for an unknown id.
  std::string push(TokenId id);
  /// The rest: a character that never ended becomes U+FFFD, what looked like a stop string is text
  /// after all.
  std::string finish();
  /// A stop string was seen. The one that ends first counts, wherever tokens part; it and all
  /// behind it are cut.
  bool stopped() const { return stopped_; }

 private:
  struct State;
  std::string release(std::string&& fresh, bool last);

  std::shared_ptr<const Tokenizer::Parts> parts_;
  std::shared_ptr<const std::vector<std::string>> stops_;
  std::unique_ptr<State> state_;
  std::string held_;  // may be the start of a stop string
  bool skip_special_;
  bool stopped_ = false;
};

}  // namespace stepless
