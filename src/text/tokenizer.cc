#include "text/tokenizer.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.hpp"
#include "text/json_field.hpp"
#include "text/tokenizer_parts.hpp"
#include "text/utf8.hpp"

namespace stepless {
namespace {

constexpr std::int64_t kFileBytes = std::int64_t{128} << 20;
// From here on a cache of words pays for itself.
constexpr std::size_t kCachedBytes = 2048;

// A text of segments, and which of its bytes are a user's.
class Input {
 public:
  explicit Input(std::span<const TextSegment> segments) {
    if (segments.size() == 1 && is_utf8(segments[0].text)) {
      text_ = segments[0].text;
      note(text_.size(), segments[0].special);
      return;
    }
    for (const TextSegment& segment : segments) {
      if (is_utf8(segment.text)) {
        owned_.append(segment.text);
      } else {
        owned_.append(repair_utf8(segment.text));
      }
      note(owned_.size(), segment.special);
    }
    text_ = owned_;
  }
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;

  std::string_view text() const { return text_; }
  bool has_user_text() const { return has_user_text_; }
  bool user_between(std::size_t begin, std::size_t end) const {
    if (!has_user_text_) return false;
    auto at = std::upper_bound(runs_.begin(), runs_.end(), begin,
                               [](std::size_t value, const Run& run) { return value < run.end; });
    for (; at != runs_.end() && begin < end; begin = at->end, ++at)
      if (at->user) return true;
    return false;
  }
  std::string marks(std::size_t begin, std::size_t end) const {
    std::string marks(end - begin, '\0');
    for (std::size_t i = 0; i < marks.size(); ++i)
      marks[i] = user_between(begin + i, begin + i + 1) ? 1 : 0;
    return marks;
  }

 private:
  struct Run {
    std::size_t end;
    bool user;
  };
  void note(std::size_t end, SpecialTokens special) {
    const bool user = special == SpecialTokens::as_text;
    const std::size_t begin = runs_.empty() ? 0 : runs_.back().end;
    if (end == begin) return;
    has_user_text_ = has_user_text_ || user;
    runs_.push_back({end, user});
  }

  std::string owned_;
  std::string_view text_;
  std::vector<Run> runs_;
  bool has_user_text_ = false;
};

}  // namespace

struct Tokenizer::Scratch {
  MatchScratch match;
  BpeScratch bpe;
  Words words;
};

namespace {

// One call of encode.
template <class Parts, class Scratch>
class Encoding {
 public:
  Encoding(const Parts& parts, const Input& input) : parts_(parts), input_(input) {
    if (input.text().size() >= kCachedBytes) scratch_.bpe.cache.enable();
    ids_.reserve(input.text().size() / 4 + 8);
  }

  std::vector<TokenId> run() {
    TokenMatcher::Refuse refuse;
    if (input_.has_user_text())
      refuse = [this](const AddedToken& token, std::size_t begin, std::size_t end) {
        return token.special && input_.user_between(begin, end);
      };
    for (const TextPart& part : parts_.added.in_raw_text().cut(input_.text(), refuse)) {
      if (part.token != nullptr) {
        ids_.push_back(part.token->id);
      } else {
        stretch(part.begin, part.end);
      }
    }
    return std::move(ids_);
  }

 private:
  // Text between added tokens: normalize, look for added tokens of normalized text, tokenize the
  // rest.
  void stretch(std::size_t begin, std::size_t end) {
    const std::string_view raw = input_.text().substr(begin, end - begin);
    const bool user = input_.user_between(begin, end);
    special_ = user ? Bpe::Special::refused : Bpe::Special::allowed;
    if (parts_.normalizer.is_identity() && parts_.added.in_normalized_text().empty())
      return tokenize(raw, begin == 0);
    MarkedText text{.bytes = std::string(raw), .marks = {}};
    if (user && !parts_.added.in_normalized_text().empty()) text.marks = input_.marks(begin, end);
    parts_.normalizer.apply(text, scratch_.match);
    TokenMatcher::Refuse refuse;
    if (!text.marks.empty())
      refuse = [&](const AddedToken& token, std::size_t from, std::size_t to) {
        return token.special && text.marks.find('\1', from) < to;
      };
    for (const TextPart& part : parts_.added.in_normalized_text().cut(text.bytes, refuse)) {
      if (part.token != nullptr) {
        ids_.push_back(part.token->id);
      } else {
        tokenize(std::string_view(text.bytes).substr(part.begin, part.end - part.begin),
                 begin == 0 && part.begin == 0 && text.from_start);
      }
    }
  }

  void tokenize(std::string_view text, bool starts_input) {
    Words& words = scratch_.words;
    words.reset(text, starts_input);
    parts_.pretokenizer.run(words, scratch_.match);
    for (std::size_t i = 0; i < words.ranges.size(); ++i)
      parts_.model.encode(words[i], special_, scratch_.bpe, ids_);
  }

  const Parts& parts_;
  const Input& input_;
  Scratch scratch_;
  Bpe::Special special_ = Bpe::Special::allowed;
  std::vector<TokenId> ids_;
};

}  // namespace

Tokenizer Tokenizer::load(const std::string& path) {
  return from_json(read_json(path, {.bytes = kFileBytes}), path);
}

Tokenizer Tokenizer::from_json(const Json& json, std::string_view what) {
  if (!json.is_object())
    fail(ErrorCode::corrupt, "{}: {}; expected an object", what, json.type_name());
  const auto name = [&](const char* part) { return fmt::format("{}: {}", what, part); };
  auto parts = std::make_shared<Parts>();
  parts->normalizer = Normalizer::from_json(field_or_null(json, "normalizer"), name("normalizer"));
  parts->pretokenizer =
      PreTokenizer::from_json(field_or_null(json, "pre_tokenizer"), name("pre_tokenizer"));
  const Bpe::Input input =
      parts->pretokenizer.ends_in_bytes() ? Bpe::Input::bytes : Bpe::Input::text;
  parts->model = Bpe::from_json(field(json, "model", what), input, name("model"));
  parts->added =
      AddedTokens::from_json(field_or_null(json, "added_tokens"), parts->model.vocabulary(),
                             parts->normalizer, name("added_tokens"));
  parts->decoder = Decoder::from_json(field_or_null(json, "decoder"), name("decoder"));
  const Vocabulary& vocabulary = parts->model.vocabulary();
  parts->entries.resize(static_cast<std::size_t>(vocabulary.size()));
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const std::string token(vocabulary.token(id));
    parts->entries[static_cast<std::size_t>(id)] = {token, token, vocabulary.knows(id), false};
  }
  std::vector<TokenId> special;
  for (const AddedToken& token : parts->added.all()) {
    const auto at = static_cast<std::size_t>(token.id);
    if (at >= parts->entries.size()) parts->entries.resize(at + 1);
    parts->entries[at] = {token.content, token.pattern, true, token.special};
    parts->added_ids.emplace(token.content, token.id);
    if (token.special) special.push_back(token.id);
  }
  parts->model.set_special(special);
  parts->post_processor = PostProcessor::from_json(
      field_or_null(json, "post_processor"),
      [&](TokenId id) { return parts->entry(id) != nullptr; }, name("post_processor"));
  return Tokenizer(std::move(parts));
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, SpecialTokens special) const {
  const TextSegment segment{text, special};
  return encode_segments({&segment, 1});
}

std::vector<TokenId> Tokenizer::encode_segments(std::span<const TextSegment> segments) const {
  const Input input(segments);
  return Encoding<Parts, Scratch>(*parts_, input).run();
}

std::vector<TokenId> Tokenizer::encode_with_template(std::string_view text) const {
  return parts_->post_processor.apply(encode(text));
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
  std::string out;
  DecoderState state = parts_->decoder.start();
  for (const TokenId id : ids) {
    const Parts::Entry* entry = parts_->entry(id);
    if (entry == nullptr || (skip_special && entry->special)) continue;
    parts_->decoder.push(state, entry->decoded, Decoder::Mode::whole, out);
  }
  parts_->decoder.finish(state, out);
  return out;
}

std::int64_t Tokenizer::vocab_size() const {
  return static_cast<std::int64_t>(parts_->entries.size());
}

std::optional<TokenId> Tokenizer::id_of(std::string_view token) const {
  const auto added = parts_->added_ids.find(std::string(token));
  if (added != parts_->added_ids.end()) return added->second;
  return parts_->model.vocabulary().find(token);
}

std::string_view Tokenizer::token(TokenId id) const {
  const Parts::Entry* entry = parts_->entry(id);
  return entry == nullptr ? std::string_view() : std::string_view(entry->token);
}

bool Tokenizer::is_special(TokenId id) const {
  const Parts::Entry* entry = parts_->entry(id);
  return entry != nullptr && entry->special;
}

}  // namespace stepless
