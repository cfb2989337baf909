// The words of one call that were tokenized before. English repeats itself: nine words in ten come
// from here. Each call owns its cache, so a tokenizer shared by threads has no lock.
#pragma once
#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "text/token_id.hpp"

namespace stepless {

class WordCache {
 public:
  static constexpr std::size_t kWordBytes = 22;
  static constexpr std::size_t kTokens = 6;

  /// Off until enabled: a short text does not pay for clearing it.
  void enable() { slots_.resize(kSlots); }
  bool enabled() const { return !slots_.empty(); }

  /// The slot of a word of 1 to kWordBytes bytes; holds(word) tells whether it is the word's own.
  struct Slot {
    std::uint8_t bytes = 0, count = 0;
    std::array<char, kWordBytes> word{};
    std::array<TokenId, kTokens> ids{};

    bool holds(std::string_view other) const {
      return bytes == other.size() && std::memcmp(word.data(), other.data(), bytes) == 0;
    }
    void store(std::string_view other, std::span<const TokenId> tokens) {
      if (tokens.size() > kTokens) return;
      bytes = static_cast<std::uint8_t>(other.size());
      count = static_cast<std::uint8_t>(tokens.size());
      std::memcpy(word.data(), other.data(), other.size());
      for (std::size_t i = 0; i < tokens.size(); ++i) ids[i] = tokens[i];
    }
  };
  Slot& slot(std::string_view word) { return slots_[hash(word) >> (64 - kBits)]; }

 private:
  static constexpr int kBits = 13;
  static constexpr std::size_t kSlots = std::size_t{1} << kBits;

  static std::uint64_t hash(std::string_view word) {
    std::uint64_t h = word.size();
    for (std::size_t at = 0; at < word.size(); at += 8) {
      std::uint64_t part = 0;
      std::memcpy(&part, word.data() + at, word.size() - at < 8 ? word.size() - at : 8);
      h = (h ^ part) * 0x9E3779B97F4A7C15U;
      h ^= h >> 29;
    }
    return h * 0xBF58476D1CE4E5B9U;
  }

  std::vector<Slot> slots_;
};

}  // namespace stepless
