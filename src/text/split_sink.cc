#include "text/split_sink.hpp"

#include <algorithm>

namespace stepless {

// The rules work on all parts, empty matches included; the empty ones go at the end.
void SplitSink::put(TextRange range, bool delimiter) {
  switch (behavior_) {
    case SplitBehavior::removed:
      if (!delimiter) keep(range);
      return;
    case SplitBehavior::isolated:
      keep(range);
      return;
    case SplitBehavior::merged_with_previous:
      if (delimiter && !was_delimiter_ && has_previous()) {
        out_.back().end = range.end;
      } else {
        keep(range);
      }
      break;
    case SplitBehavior::merged_with_next:
      if (!delimiter && waiting_) {
        out_.back().end = range.end;
      } else {
        keep(range);
      }
      waiting_ = delimiter;
      break;
    case SplitBehavior::contiguous:
      if (delimiter == was_delimiter_ && has_previous()) {
        out_.back().end = range.end;
      } else {
        keep(range);
      }
      break;
  }
  was_delimiter_ = delimiter;
}

void SplitSink::end() {
  if (at_ != word_.end) put({at_, word_.end}, invert_);
  const auto first = out_.begin() + static_cast<std::ptrdiff_t>(first_);
  const auto is_empty = [](TextRange r) { return r.begin == r.end; };
  out_.erase(std::remove_if(first, out_.end(), is_empty), out_.end());
}

}  // namespace stepless
