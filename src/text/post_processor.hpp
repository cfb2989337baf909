// The "post_processor" of tokenizer.json: the special tokens put around an encoded text.
#pragma once
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "text/token_id.hpp"

namespace stepless {

class PostProcessor {
 public:
  /// null gives the identity. `known(id)` tells whether an id exists. Throws Error: unsupported,
  /// corrupt.
  template <class Known>
  static PostProcessor from_json(const Json& json, Known&& known, std::string_view what) {
    PostProcessor result;
    result.add(json, what);
    for (const auto& steps : result.templates_)
      for (const TokenId id : steps)
        if (id != kText && !known(id)) unknown_id(id, what);
    return result;
  }

  std::vector<TokenId> apply(std::vector<TokenId> ids) const;

 private:
  static constexpr TokenId kText = -1;  // where the text goes

  void add(const Json& json, std::string_view what);
  void add_template(const Json& json, std::string_view what);
  void add_pair(const Json& json, std::string_view what);
  [[noreturn]] static void unknown_id(TokenId id, std::string_view what);

  std::vector<std::vector<TokenId>> templates_;  // applied one after the other
};

}  // namespace stepless
