// Which slots hold a sequence's recurrent state, and which of them each of its rows reads and
// leaves: a draft that is rejected leaves its state in a slot that nobody reads again.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/args.hpp"

namespace stepless {

/// Whether the rows of an item after its first may be rejected. If so each leaves its state in a
/// slot of its own, else all in the same.
enum class RowsAre : std::uint8_t { certain, drafts };

class StateSlots {
 public:
  StateSlots() = default;  // a model without recurrent state: every row reads and leaves 0
  /// One slot, and one more for each draft that an item may hold.
  explicit StateSlots(std::vector<std::int32_t> ids) : ids_(std::move(ids)) {}

  std::span<const std::int32_t> ids() const { return ids_; }

  /// Sets the slots of row j of an item that begins at position `first`. A sequence's first row
  /// reads zeros, whatever its slot was used for before.
  void bind(kernels::SeqRow& row, std::int64_t first, std::int64_t j, RowsAre rows) const;

  /// After a step with drafts: its first `kept` rows stand (at least one), and the sequence goes on
  /// from the state that the last of them left.
  void keep(std::int64_t kept);

 private:
  std::vector<std::int32_t> ids_;  // ids_[0]: the state of all positions computed
};

}  // namespace stepless
