// What is fuzzed: one function per parser, in <name>_fuzz.cc. Input that is refused by an Error is
// fine; anything else that goes wrong is a finding: a crash, a sanitizer's report, a time-out, or
// an exception, which is also how a broken property shows.
#pragma once
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

namespace stepless::fuzz {

using Input = std::span<const std::uint8_t>;

void safetensors(Input input);    // a whole file
void config(Input input);         // config.json NUL generation_config.json, over a tiny checkpoint
void tokenizer(Input input);      // tokenizer.json, then a text through it
void encode(Input input);         // which tokenizer, how cut, the text
void prompt_cache(Input input);   // a whole file, and changes of a good one
void chat_template(Input input);  // a template's source NUL variables

inline std::string_view text_of(Input input) {
  return {reinterpret_cast<const char*>(input.data()), input.size()};
}

/// The part before the first NUL, and the part behind it.
inline std::pair<std::string_view, std::string_view> halves_of(Input input) {
  const std::string_view all = text_of(input);
  const std::size_t nul = all.find('\0');
  if (nul == std::string_view::npos) return {all, {}};
  return {all.substr(0, nul), all.substr(nul + 1)};
}

/// A property that must hold whatever the input is.
inline void require(bool holds, const std::string& property) {
  if (!holds) throw std::logic_error("does not hold: " + property);
}

}  // namespace stepless::fuzz
