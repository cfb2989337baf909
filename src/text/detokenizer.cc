#include "text/detokenizer.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "text/tokenizer_parts.hpp"

namespace stepless {

struct Detokenizer::State {
  DecoderState decoder;
};

Detokenizer::Detokenizer(const Tokenizer& tokenizer, std::vector<std::string> stops,
                         bool skip_special)
    : parts_(tokenizer.parts_),
      state_(std::make_unique<State>(State{parts_->decoder.start()})),
      skip_special_(skip_special) {
  for (const std::string& stop : stops)
    if (stop.empty())
      fail(ErrorCode::invalid_argument, "stop: an empty string; expected text to stop at");
  stops_ = std::make_shared<const std::vector<std::string>>(std::move(stops));
}

Detokenizer::Detokenizer(const Detokenizer& other)
    : parts_(other.parts_),
      stops_(other.stops_),
      state_(std::make_unique<State>(*other.state_)),
      held_(other.held_),
      skip_special_(other.skip_special_),
      stopped_(other.stopped_) {}

Detokenizer& Detokenizer::operator=(const Detokenizer& other) {
  if (this != &other) *this = Detokenizer(other);
  return *this;
}

Detokenizer::Detokenizer(Detokenizer&&) noexcept = default;
Detokenizer& Detokenizer::operator=(Detokenizer&&) noexcept = default;
Detokenizer::~Detokenizer() = default;

std::string Detokenizer::push(TokenId id) {
  const Tokenizer::Parts::Entry* entry = parts_->entry(id);
  if (stopped_ || entry == nullptr || (skip_special_ && entry->special)) return {};
  std::string fresh;
  parts_->decoder.push(state_->decoder, entry->decoded, Decoder::Mode::stream, fresh);
  return release(std::move(fresh), false);
}

std::string Detokenizer::finish() {
  if (stopped_) return {};
  std::string fresh;
  parts_->decoder.finish(state_->decoder, fresh);
  return release(std::move(fresh), true);
}

// Of the stops that end first the longest counts; this does not depend on where the tokens part.
std::string Detokenizer::release(std::string&& fresh, bool last) {
  if (stops_->empty()) return std::move(fresh);
  std::string text = std::move(held_);
  held_.clear();
  text.append(fresh);
  std::size_t cut = std::string::npos, cut_end = std::string::npos;
  std::size_t open = 0;
  for (const std::string& stop : *stops_) {
    const std::size_t at = text.find(stop);
    if (at != std::string::npos) {
      const std::size_t end = at + stop.size();
      if (end < cut_end || (end == cut_end && at < cut)) {
        cut = at;
        cut_end = end;
      }
      continue;
    }
    for (std::size_t n = std::min(text.size(), stop.size() - 1); n > open; --n) {
      if (text.compare(text.size() - n, n, stop, 0, n) != 0) continue;
      open = n;
      break;
    }
  }
  if (cut != std::string::npos) {
    stopped_ = true;
    text.resize(cut);
    return text;
  }
  if (!last) {
    held_ = text.substr(text.size() - open);
    text.resize(text.size() - open);
  }
  return text;
}

}  // namespace stepless
