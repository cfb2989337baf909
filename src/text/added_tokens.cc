#include "text/added_tokens.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "base/error.hpp"
#include "base/quote.hpp"
#include "text/json_field.hpp"
#include "text/unicode.hpp"
#include "text/utf8.hpp"

namespace stepless {
namespace {

// Bounds the work per byte of text.
constexpr std::size_t kContentBytes = 4096;

bool is_word_before(std::string_view text, std::size_t at) {
  return at > 0 && is_word(read_utf8(text, last_char(text, at)).value);
}

bool is_word_after(std::string_view text, std::size_t at) {
  return at < text.size() && is_word(read_utf8(text, at).value);
}

// White space that ends at `at`, no further back than `least`.
std::size_t strip_left(std::string_view text, std::size_t at, std::size_t least) {
  while (at > least) {
    const std::size_t before = last_char(text, at);
    if (!is_white_space(read_utf8(text, before).value)) break;
    at = before;
  }
  return at;
}

std::size_t strip_right(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    const Utf8Char c = read_utf8(text, at);
    if (!is_white_space(c.value)) break;
    at += c.bytes;
  }
  return at;
}

}  // namespace

TokenMatcher::TokenMatcher() { root_.fill(-1); }

void TokenMatcher::add(const AddedToken& token) {
  std::int32_t node = -1;
  for (const char c : token.pattern) {
    const auto byte = static_cast<unsigned char>(c);
    std::int32_t to = node < 0 ? root_[byte] : child(node, byte);
    if (to < 0) {
      to = static_cast<std::int32_t>(nodes_.size());
      nodes_.emplace_back();
      if (node < 0) {
        root_[byte] = to;
      } else {
        nodes_[static_cast<std::size_t>(node)].edges.push_back({byte, to});
      }
    }
    node = to;
  }
  if (node < 0) return;
  std::int32_t& owner = nodes_[static_cast<std::size_t>(node)].token;
  if (owner < 0) {
    owner = static_cast<std::int32_t>(tokens_.size());
    tokens_.push_back(token);
  }
}

void TokenMatcher::finish() {
  for (Node& node : nodes_)
    std::sort(node.edges.begin(), node.edges.end(),
              [](const Edge& a, const Edge& b) { return a.byte < b.byte; });
}

std::int32_t TokenMatcher::child(std::int32_t node, unsigned char byte) const {
  for (const Edge& edge : nodes_[static_cast<std::size_t>(node)].edges)
    if (edge.byte == byte) return edge.node;
  return -1;
}

bool TokenMatcher::find(std::string_view text, std::size_t from, const Refuse& refuse,
                        Found& found) const {
  for (std::size_t begin = from; begin < text.size(); ++begin) {
    std::int32_t node = root_[static_cast<unsigned char>(text[begin])];
    const AddedToken* longest = nullptr;
    for (std::size_t end = begin + 1; node >= 0; ++end) {
      if (const std::int32_t index = nodes_[static_cast<std::size_t>(node)].token; index >= 0) {
        const AddedToken& token = tokens_[static_cast<std::size_t>(index)];
        if (!refuse || !refuse(token, begin, end)) {
          longest = &token;
          found = {begin, end, longest};
        }
      }
      if (end >= text.size()) break;
      node = child(node, static_cast<unsigned char>(text[end]));
    }
    if (longest != nullptr) return true;
  }
  return false;
}

std::vector<TextPart> TokenMatcher::cut(std::string_view text, const Refuse& refuse) const {
  std::vector<TextPart> parts;
  std::size_t done = 0;  // text before this belongs to a part
  TextRange white{
      0, 0};  // the last run of white space behind a token, so that a long one is walked once
  Found found{};
  for (std::size_t from = 0; !empty() && find(text, from, refuse, found); from = found.end) {
    const AddedToken& token = *found.token;
    if (token.single_word && (is_word_before(text, found.begin) || is_word_after(text, found.end)))
      continue;
    std::size_t begin = found.begin, end = found.end;
    if (token.lstrip) begin = std::max(strip_left(text, begin, done), done);
    if (token.rstrip) {
      if (end < white.begin || end > white.end) white = {end, strip_right(text, end)};
      end = white.end;
    }
    if (done < begin) parts.push_back({done, begin, nullptr});
    // Nothing is left of a token inside white space that the one before has taken.
    if (begin < end) parts.push_back({begin, end, &token});
    if (begin > end) continue;
    done = end;
  }
  if (done < text.size()) parts.push_back({done, text.size(), nullptr});
  return parts;
}

namespace {

// Reads the list and sees that every string has one id and every id one string, here and in the
// model.
class Reader {
 public:
  Reader(const Vocabulary& model, const Normalizer& normalizer, std::int64_t bound)
      : model_(model), normalizer_(normalizer), bound_(bound) {}

  void read(const Json& json, const std::string& name) {
    AddedToken token;
    token.content = string_field(json, "content", name);
    if (token.content.size() > kContentBytes)
      fail(ErrorCode::exhausted, "{}: a token of {} bytes; at most {} are taken", name,
           token.content.size(), kContentBytes);
    token.id = Vocabulary::id_from_json(field(json, "id", name), bound_, token.content, name);
    token.special = bool_field(json, "special", name, false);
    token.single_word = bool_field(json, "single_word", name, false);
    token.lstrip = bool_field(json, "lstrip", name, false);
    token.rstrip = bool_field(json, "rstrip", name, false);
    token.normalized = bool_field(json, "normalized", name, !token.special);
    if (token.content.empty()) return;
    check_model(token, name);
    token.pattern = token.content;
    if (token.normalized) {
      MarkedText text{.bytes = token.content, .marks = {}};
      normalizer_.apply(text, scratch_);
      token.pattern = text.bytes;
    }
    store(token, name);
  }
  std::vector<AddedToken> take() { return std::move(tokens_); }

 private:
  void check_model(const AddedToken& token, const std::string& name) const {
    const auto in_model = model_.find(token.content);
    if (in_model && *in_model != token.id)
      fail(ErrorCode::corrupt, "{}: {} has id {}, but {} in the vocabulary", name,
           in_quotes(token.content), token.id, *in_model);
    if (!in_model && model_.knows(token.id))
      fail(ErrorCode::corrupt, "{}: {} has id {}, which the vocabulary gives to {}", name,
           in_quotes(token.content), token.id, in_quotes(model_.token(token.id)));
  }

  // A token that is listed twice is what the later entry says.
  void store(const AddedToken& token, const std::string& name) {
    const auto [id, new_content] = ids_.emplace(token.content, token.id);
    if (id->second != token.id)
      fail(ErrorCode::corrupt, "{}: {} has ids {} and {}; expected one", name,
           in_quotes(token.content), id->second, token.id);
    const auto [place, new_id] = places_.emplace(token.id, tokens_.size());
    if (new_id) return tokens_.push_back(token);
    AddedToken& before = tokens_[place->second];
    if (before.content != token.content)
      fail(ErrorCode::corrupt, "{}: id {} belongs to {} and to {}; ids are unique", name, token.id,
           in_quotes(before.content), in_quotes(token.content));
    before = token;
  }

  const Vocabulary& model_;
  const Normalizer& normalizer_;
  std::int64_t bound_;
  MatchScratch scratch_;
  std::unordered_map<std::string, TokenId> ids_;
  std::unordered_map<TokenId, std::size_t> places_;
  std::vector<AddedToken> tokens_;
};

}  // namespace

AddedTokens AddedTokens::from_json(const Json& json, const Vocabulary& model,
                                   const Normalizer& normalizer, std::string_view what) {
  AddedTokens added;
  if (json.is_null()) return added;
  if (!json.is_array())
    fail(ErrorCode::corrupt, "{}: {}; expected an array", what, json.type_name());
  const auto entries = static_cast<std::int64_t>(json.size());
  Reader reader(model, normalizer, Vocabulary::id_bound(model.count() + entries));
  for (std::size_t i = 0; i < json.size(); ++i)
    reader.read(json[i], fmt::format("{}[{}]", what, i));
  added.all_ = reader.take();
  for (const AddedToken& token : added.all_)
    (token.normalized ? added.normalized_ : added.raw_).add(token);
  added.raw_.finish();
  added.normalized_.finish();
  return added;
}

}  // namespace stepless
