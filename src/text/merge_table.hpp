// BPE's merges: which two neighbours join, how early, and into what. A flat hash table; looked up
// for every pair of symbols, so it stays in as few cache lines as possible.
#pragma once
#include <cstdint>
#include <vector>

#include "text/token_id.hpp"

namespace stepless {

struct Merge {
  std::uint32_t rank = kNone;  // lower joins first
  TokenId result = -1;

  static constexpr std::uint32_t kNone = 0xFFFFFFFFU;
  explicit operator bool() const { return rank != kNone; }
};

class MergeTable {
 public:
  explicit MergeTable(std::size_t merges = 0);

  /// A pair that is named again takes the later rank, as Hugging Face's library has it.
  void set(TokenId left, TokenId right, Merge merge);

  Merge find(TokenId left, TokenId right) const {
    const std::uint64_t key = key_of(left, right);
    for (std::size_t at = slot_of(key);; at = (at + 1) & mask_) {
      const Slot& slot = slots_[at];
      if (slot.key == key) return slot.merge;
      if (slot.key == kEmpty) return {};
    }
  }

 private:
  struct Slot {
    std::uint64_t key = kEmpty;
    Merge merge;
  };
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};

  static std::uint64_t key_of(TokenId left, TokenId right) {
    return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 |
           static_cast<std::uint32_t>(right);
  }
  std::size_t slot_of(std::uint64_t key) const {
    return static_cast<std::size_t>((key * 0x9E3779B97F4A7C15U) >> shift_);
  }

  std::vector<Slot> slots_;
  std::size_t mask_ = 0;
  int shift_ = 0;
};

}  // namespace stepless
