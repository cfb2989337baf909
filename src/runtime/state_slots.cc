#include "runtime/state_slots.hpp"

#include <cassert>
#include <utility>

namespace stepless {

void StateSlots::bind(kernels::SeqRow& row, std::int64_t first, std::int64_t j,
                      RowsAre rows) const {
  if (ids_.empty()) return;
  const auto left_by = [&](std::int64_t i) {
    if (rows == RowsAre::certain) return ids_[0];
    assert(i < static_cast<std::int64_t>(ids_.size()));
    return ids_[static_cast<std::size_t>(i)];
  };
  if (first + j == 0)
    row.state_in = 0;
  else
    row.state_in = j == 0 ? ids_[0] : left_by(j - 1);
  row.state_out = left_by(j);
}

void StateSlots::keep(std::int64_t kept) {
  assert(kept >= 1);
  if (ids_.empty()) return;
  assert(kept <= static_cast<std::int64_t>(ids_.size()));
  std::swap(ids_[0], ids_[static_cast<std::size_t>(kept - 1)]);
}

}  // namespace stepless
