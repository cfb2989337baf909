// Token strings and their ids, both ways. Ids need not be dense; each belongs to one string.
#pragma once
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/json.hpp"
#include "text/token_id.hpp"

namespace stepless {

class Vocabulary {
 public:
  /// An id must be below this for a file that names `entries` tokens: holes are allowed, absurd ids
  /// are not.
  static std::int64_t id_bound(std::int64_t entries) { return 2 * entries + 1024; }

  /// The id in a JSON value. Throws Error: corrupt when it is not an integer in [0, bound).
  static TokenId id_from_json(const Json& json, std::int64_t bound, std::string_view token,
                              std::string_view what);

  /// Throws Error: corrupt when the string or the id is taken.
  void add(std::string_view token, TokenId id, std::string_view what);

  std::optional<TokenId> find(std::string_view token) const {
    const auto at = ids_.find(token);
    if (at == ids_.end()) return std::nullopt;
    return at->second;
  }
  bool knows(TokenId id) const {
    return id >= 0 && id < size() && tokens_[static_cast<std::size_t>(id)] != nullptr;
  }
  /// Empty for an unknown id.
  std::string_view token(TokenId id) const {
    return knows(id) ? std::string_view(*tokens_[static_cast<std::size_t>(id)])
                     : std::string_view();
  }
  /// Highest id + 1.
  TokenId size() const { return static_cast<TokenId>(tokens_.size()); }
  std::int64_t count() const { return static_cast<std::int64_t>(ids_.size()); }

 private:
  std::deque<std::string> storage_;  // strings that never move
  std::unordered_map<std::string_view, TokenId> ids_;
  std::vector<const std::string*> tokens_;
};

}  // namespace stepless
