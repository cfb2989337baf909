#include "text/merge_table.hpp"

namespace stepless {

// At most half full, so that a miss, the common answer, ends after about one probe.
MergeTable::MergeTable(std::size_t merges) {
  int bits = 4;
  while ((std::size_t{1} << bits) < 2 * merges) ++bits;
  slots_.resize(std::size_t{1} << bits);
  mask_ = slots_.size() - 1;
  shift_ = 64 - bits;
}

void MergeTable::set(TokenId left, TokenId right, Merge merge) {
  const std::uint64_t key = key_of(left, right);
  std::size_t at = slot_of(key);
  while (slots_[at].key != kEmpty && slots_[at].key != key) at = (at + 1) & mask_;
  slots_[at] = {key, merge};
}

}  // namespace stepless
