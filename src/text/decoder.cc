#include "text/decoder.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.hpp"
#include "base/quote.hpp"
#include "text/byte_level.hpp"
#include "text/json_field.hpp"

namespace stepless {
namespace {

std::int64_t count_field(const Json& json, const char* name, const std::string& what) {
  const Json& value = field(json, name, what);
  const bool fits = value.is_number_integer() && value >= 0 && value <= 1024;
  if (!fits) fail(ErrorCode::corrupt, "{}: {} {}; expected 0 to 1024", what, name, value.dump());
  return value.get<std::int64_t>();
}

std::string replace_all(std::string_view text, const Pattern& pattern, const std::string& content) {
  std::string out;
  std::size_t kept = 0;
  MatchScratch scratch;
  pattern.for_each(text, scratch, [&](TextRange match) {
    out.append(text.substr(kept, match.begin - kept)).append(content);
    kept = match.end;
  });
  return out.append(text.substr(kept));
}

// Length of the longest end of `text` that a longer text may complete to `wanted`.
std::size_t open_end(std::string_view text, std::string_view wanted) {
  for (std::size_t n = std::min(text.size(), wanted.size() - 1); n > 0; --n)
    if (text.substr(text.size() - n) == wanted.substr(0, n)) return n;
  return 0;
}

}  // namespace

Decoder Decoder::from_json(const Json& json, std::string_view what) {
  Decoder decoder;
  if (json.is_null()) {
    decoder.join_ = Join::spaces;
    return decoder;
  }
  decoder.add(json, std::string(what));
  return decoder;
}

void Decoder::add(const Json& json, const std::string& what) {
  const std::string type = type_of(json, what);
  const std::string name = fmt::format("{} {}", what, in_quotes(type));
  if (type == "Sequence") {
    for (const Json& part : array_field(json, "decoders", name)) add(part, what);
  } else if (type == "ByteLevel") {
    join(Join::byte_level, name);
  } else if (type == "Fuse") {
    if (!one_text_) join(Join::fuse, name);
  } else if (type == "Replace") {
    add_step(Replace{Pattern::from_json(field(json, "pattern", name), name),
                     string_field(json, "content", name)},
             name);
  } else if (type == "ByteFallback") {
    add_step(ByteFallback{}, name);
  } else if (type == "Strip") {
    add_step(Strip{string_field(json, "content", name), count_field(json, "start", name),
                   count_field(json, "stop", name)},
             name);
  } else if (type == "Metaspace") {
    const Json& scheme = field_or_null(json, "prepend_scheme");
    const bool never =
        (!scheme.is_null() && as_string(scheme, "prepend_scheme", name) == "never") ||
        !bool_field(json, "add_prefix_space", name, true);
    add_step(Metaspace{Pattern::literal(string_field(json, "replacement", name), name), !never},
             name);
  } else {
    fail(ErrorCode::unsupported,
         "{}: type {} is not supported; ByteLevel, Fuse, Replace, ByteFallback, Strip, Metaspace "
         "and Sequence are",
         what, in_quotes(type));
  }
}

// Behind Fuse or ByteLevel there is one text that arrives in pieces: steps there must work on
// pieces.
void Decoder::add_step(Step step, const std::string& what) {
  const auto* replace = std::get_if<Replace>(&step);
  const auto* strip = std::get_if<Strip>(&step);
  if (strip != nullptr) {
    if (strip->content.empty() || read_utf8(strip->content, 0).bytes != strip->content.size())
      fail(ErrorCode::corrupt, "{}: content {}; expected one character", what,
           in_quotes(strip->content));
  }
  if (!one_text_) {
    const bool twice = std::any_of(per_token_.begin(), per_token_.end(), [&](const Step& s) {
      return s.index() == step.index() && replace == nullptr && strip == nullptr;
    });
    if (twice) fail(ErrorCode::unsupported, "{}: twice in one decoder", what);
    per_token_.push_back(std::move(step));
    return;
  }
  if (std::holds_alternative<ByteFallback>(step) ||
      (replace != nullptr && !replace->pattern.is_literal()))
    fail(ErrorCode::unsupported, "{}: not supported behind Fuse or ByteLevel", what);
  on_text_.push_back(std::move(step));
}

void Decoder::join(Join how, const std::string& what) {
  if (one_text_) fail(ErrorCode::unsupported, "{}: not supported behind Fuse or ByteLevel", what);
  one_text_ = true;
  join_ = how;
}

DecoderState Decoder::start() const {
  DecoderState state;
  state.tails.resize(on_text_.size());
  return state;
}

void Decoder::push(DecoderState& state, std::string_view token, Mode mode, std::string& out) const {
  token_step(state, 0, token, mode, out);
}

void Decoder::token_step(DecoderState& state, std::size_t step, std::string_view token, Mode mode,
                         std::string& out) const {
  if (step == per_token_.size()) return joined(state, token, out);
  const Step& now = per_token_[step];
  if (const auto* replace = std::get_if<Replace>(&now))
    return token_step(state, step + 1, replace_all(token, replace->pattern, replace->content), mode,
                      out);
  if (const auto* strip = std::get_if<Strip>(&now)) {
    const std::size_t unit = strip->content.size();
    for (std::int64_t i = 0; i < strip->start && token.substr(0, unit) == strip->content; ++i)
      token.remove_prefix(unit);
    const auto ends = [&] {
      return token.size() >= unit && token.substr(token.size() - unit) == strip->content;
    };
    for (std::int64_t i = 0; i < strip->stop && ends(); ++i) token.remove_suffix(unit);
    return token_step(state, step + 1, token, mode, out);
  }
  if (const auto* metaspace = std::get_if<Metaspace>(&now)) {
    const bool drop = metaspace->drop_first && !state.metaspace;
    state.metaspace = true;
    const std::string text = replace_all(token, metaspace->mark, drop ? "" : " ");
    return token_step(state, step + 1, text, mode, out);
  }
  if (const int byte = byte_token_value(token); byte >= 0)
    return byte_token(state, step, static_cast<unsigned char>(byte), mode, out);
  end_bytes(state, step, mode, out);
  token_step(state, step + 1, token, mode, out);
}

// A run of byte tokens that is not UTF-8 as a whole gives one U+FFFD per byte. In a stream,
// characters that are whole have left already, so "as a whole" starts behind them; a broken run
// releases each byte at once.
void Decoder::byte_token(DecoderState& state, std::size_t step, unsigned char byte, Mode mode,
                         std::string& out) const {
  state.bytes.push_back(static_cast<char>(byte));
  if (mode == Mode::whole) return;
  const Utf8Char c = read_utf8(state.bytes, 0);
  const bool whole = c.kind == Utf8Kind::valid && c.bytes == state.bytes.size();
  if (!state.broken && whole) {
    const std::string text = std::move(state.bytes);
    state.bytes.clear();
    return token_step(state, step + 1, text, mode, out);
  }
  state.broken = state.broken || c.kind != Utf8Kind::incomplete;
  if (!state.broken) return;
  const std::size_t count = state.bytes.size();
  state.bytes.clear();
  for (std::size_t i = 0; i < count; ++i) token_step(state, step + 1, kReplacementUtf8, mode, out);
}

void Decoder::end_bytes(DecoderState& state, std::size_t step, Mode mode, std::string& out) const {
  const std::string bytes = std::move(state.bytes);
  state.bytes.clear();
  state.broken = false;
  if (bytes.empty()) return;
  if (is_utf8(bytes)) return token_step(state, step + 1, bytes, mode, out);
  for (std::size_t i = 0; i < bytes.size(); ++i)
    token_step(state, step + 1, kReplacementUtf8, mode, out);
}

void Decoder::joined(DecoderState& state, std::string_view token, std::string& out) const {
  std::string text;
  switch (join_) {
    case Join::spaces:
      if (state.started) text.push_back(' ');
      text.append(token);
      break;
    case Join::fuse:
      text_step(state, 0, token, false, out);
      state.started = true;
      return;
    case Join::byte_level: {
      std::string bytes;
      if (!append_byte_level_bytes(bytes, token)) bytes = token;
      state.utf8.push(bytes, text);
      break;
    }
  }
  state.started = true;
  text_step(state, 0, text, false, out);
}

// Strips the start of a text once, and holds back what may turn out to be its end.
std::string Decoder::strip_text(const Strip& step, DecoderState::Tail& tail, std::string ready,
                                bool last) {
  const std::string& unit = step.content;
  while (!tail.begun && tail.stripped < step.start && ready.compare(0, unit.size(), unit) == 0) {
    ready.erase(0, unit.size());
    ++tail.stripped;
  }
  tail.begun = tail.begun || !ready.empty();
  std::size_t trailing = 0;
  for (std::int64_t i = 0; i < step.stop && trailing + unit.size() <= ready.size(); ++i) {
    if (ready.compare(ready.size() - trailing - unit.size(), unit.size(), unit) != 0) break;
    trailing += unit.size();
  }
  if (!last) tail.held = ready.substr(ready.size() - trailing);
  ready.resize(ready.size() - trailing);
  return ready;
}

// Holds back what may be the start of a match, unless a match has used it up.
std::string Decoder::replace_text(const Replace& step, DecoderState::Tail& tail,
                                  const std::string& ready, bool last) {
  const std::string& wanted = step.pattern.text();
  std::string done;
  std::size_t kept = 0;
  for (std::size_t at = ready.find(wanted); at != std::string::npos;
       at = ready.find(wanted, kept)) {
    done.append(ready, kept, at - kept).append(step.content);
    kept = at + wanted.size();
  }
  const std::string_view rest = std::string_view(ready).substr(kept);
  const std::size_t open = last ? 0 : open_end(rest, wanted);
  tail.held = rest.substr(rest.size() - open);
  return done.append(rest.substr(0, rest.size() - open));
}

void Decoder::text_step(DecoderState& state, std::size_t step, std::string_view text, bool last,
                        std::string& out) const {
  if (step == on_text_.size()) {
    out.append(text);
    return;
  }
  DecoderState::Tail& tail = state.tails[step];
  std::string ready = std::move(tail.held);
  tail.held.clear();
  ready.append(text);
  const Step& now = on_text_[step];
  if (const auto* strip = std::get_if<Strip>(&now)) {
    ready = strip_text(*strip, tail, std::move(ready), last);
  } else if (const auto* replace = std::get_if<Replace>(&now)) {
    ready = replace_text(*replace, tail, ready, last);
  } else if (const auto* metaspace = std::get_if<Metaspace>(&now)) {
    // The whole text is the first token.
    ready = replace_all(ready, metaspace->mark, metaspace->drop_first ? "" : " ");
  }
  text_step(state, step + 1, ready, last, out);
}

void Decoder::finish(DecoderState& state, std::string& out) const {
  for (std::size_t i = 0; i < per_token_.size(); ++i)
    if (std::holds_alternative<ByteFallback>(per_token_[i])) end_bytes(state, i, Mode::whole, out);
  std::string rest;
  if (join_ == Join::byte_level) state.utf8.finish(rest);
  text_step(state, 0, rest, true, out);
}

}  // namespace stepless
