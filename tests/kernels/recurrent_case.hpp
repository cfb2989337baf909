// Rows of several sequences for kernels that keep a state per sequence: how they may be cut into
// steps, and slots whose bytes are poison until a row has left its state there.
#pragma once
#include <algorithm>
#include <vector>

#include "kernels/kernel.hpp"
#include "tests/support/guard.hpp"
#include "tests/support/random.hpp"

namespace stepless::test {

/// Positions [first, first + count) of a sequence, as rows of one step.
struct Piece {
  std::size_t sequence;
  std::int64_t first, count;
};
using Step = std::vector<Piece>;

/// Each sequence whole, one after another, a row a step.
inline std::vector<Step> row_by_row(const std::vector<std::int64_t>& lengths) {
  std::vector<Step> steps;
  for (std::size_t s = 0; s < lengths.size(); ++s)
    for (std::int64_t p = 0; p < lengths[s]; ++p) steps.push_back({{s, p, 1}});
  return steps;
}

/// Steps that hold pieces of some of the sequences, cut and ordered at random.
inline std::vector<Step> random_steps(const std::vector<std::int64_t>& lengths, Random& random) {
  std::vector<Step> steps;
  std::vector<std::int64_t> done(lengths.size(), 0);
  while (done != lengths) {
    Step step;
    std::vector<std::size_t> order(lengths.size());
    for (std::size_t s = 0; s < order.size(); ++s) order[s] = s;
    for (std::size_t s = order.size(); s > 1; --s)
      std::swap(order[s - 1],
                order[static_cast<std::size_t>(random.below(static_cast<std::int64_t>(s)))]);
    for (const std::size_t s : order) {
      const std::int64_t left = lengths[s] - done[s];
      if (left == 0 || random.below(3) == 0) continue;
      const std::int64_t count = 1 + random.below(std::min<std::int64_t>(left, 7));
      step.push_back({s, done[s], count});
      done[s] += count;
    }
    if (!step.empty()) steps.push_back(step);
  }
  return steps;
}

/// Rows that read and leave the state of their sequence in slot sequence + 1.
inline std::vector<kernels::SeqRow> rows_of(const Step& step) {
  std::vector<kernels::SeqRow> rows;
  for (const Piece& piece : step)
    for (std::int64_t i = 0; i < piece.count; ++i) {
      const std::int64_t position = piece.first + i;
      const auto slot = static_cast<std::int32_t>(piece.sequence + 1);
      rows.push_back({nullptr, position, position == 0 ? 0 : slot, slot});
    }
  return rows;
}

/// Slots of a layer; NaN until something is left in them.
class Slots {
 public:
  Slots(std::int64_t count, std::int64_t width)
      : width_(width), memory_(std::max<std::int64_t>(count * width, 1) * 4) {}
  kernels::StateLayer layer() const { return {reinterpret_cast<float*>(memory_.data()), width_}; }
  std::vector<std::uint8_t> bytes(std::int32_t slot) const {
    const auto* at = memory_.data() + (slot - 1) * width_ * 4;
    return {at, at + width_ * 4};
  }
  bool surroundings_intact() const { return memory_.surroundings_intact(); }

 private:
  std::int64_t width_;
  Guarded memory_;
};

/// How many slices the units of a run are cut into, at multiples of the row's tile.
enum class Cut { whole, tiles };

inline std::vector<kernels::Slice> slices_of(const Kernel& row, std::int64_t units, Cut cut) {
  if (cut == Cut::whole) return {{0, units}};
  std::vector<kernels::Slice> slices;
  for (std::int64_t at = 0; at < units; at += row.is.tile_n)
    slices.push_back({at, std::min(units, at + row.is.tile_n)});
  std::reverse(slices.begin(), slices.end());
  return slices;
}

}  // namespace stepless::test
