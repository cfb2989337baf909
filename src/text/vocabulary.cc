#include "text/vocabulary.hpp"

#include "base/error.hpp"
#include "base/quote.hpp"

namespace stepless {

TokenId Vocabulary::id_from_json(const Json& json, std::int64_t bound, std::string_view token,
                                 std::string_view what) {
  if (!json.is_number_integer())
    fail(ErrorCode::corrupt, "{}: token {} has id {}; expected an integer", what, in_quotes(token),
         json.dump());
  // Above 2^63 only an unsigned number is not negative when read as a signed one.
  const bool huge = json.is_number_unsigned() && json.get<std::uint64_t>() >> 63 != 0;
  const auto id = json.get<std::int64_t>();
  if (huge || id < 0 || id >= bound)
    fail(ErrorCode::corrupt,
         "{}: token {} has id {}, outside the vocabulary; ids from 0 to {} are plausible here",
         what, in_quotes(token), json.dump(), bound - 1);
  return static_cast<TokenId>(id);
}

void Vocabulary::add(std::string_view token, TokenId id, std::string_view what) {
  if (const auto taken = find(token))
    fail(ErrorCode::corrupt, "{}: token {} has ids {} and {}; expected one", what, in_quotes(token),
         *taken, id);
  if (knows(id))
    fail(ErrorCode::corrupt, "{}: id {} belongs to {} and to {}; ids are unique", what, id,
         in_quotes(this->token(id)), in_quotes(token));
  storage_.emplace_back(token);
  ids_.emplace(storage_.back(), id);
  const auto at = static_cast<std::size_t>(id);
  if (at >= tokens_.size()) tokens_.resize(at + 1, nullptr);
  tokens_[at] = &storage_.back();
}

}  // namespace stepless
