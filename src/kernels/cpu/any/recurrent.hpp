// What kernels with a state per sequence share: where a row's state comes from, and when it must be
// stored. Static on purpose: every kernel object keeps its own copy.
#pragma once
#include <string.h>

#include "kernels/args.hpp"

namespace stepless::kernels {

/// Whether row i goes on from what the row before it left, so that nothing has to be loaded.
static inline bool continues(const SeqRow* seq, int64_t i) {
  return i > 0 && seq[i].state_in != 0 && seq[i].state_in == seq[i - 1].state_out;
}

/// Whether row i's state must be stored: not if the next row replaces it in its slot.
static inline bool is_left(const SeqRow* seq, int64_t rows, int64_t i) {
  if (seq[i].state_out == 0) return false;
  return i + 1 == rows || !continues(seq, i + 1) || seq[i + 1].state_out != seq[i].state_out;
}

static inline float* slot_of(const StateLayer& layer, int32_t slot) {
  return layer.slots + (slot - 1) * layer.width;
}

/// `rows` runs of `count` floats, `stride` apart, into runs of `width` of which the rest is zero.
/// Slot 0 is all zeros.
static inline void load_runs(const StateLayer& layer, int32_t slot, int64_t at, int64_t stride,
                             int64_t rows, int64_t count, int64_t width, float* to) {
  for (int64_t i = 0; i < rows; ++i) {
    float* run = to + i * width;
    const int64_t held = slot == 0 ? 0 : count;
    if (held > 0)
      memcpy(run, slot_of(layer, slot) + at + i * stride, static_cast<size_t>(held) * 4);
    memset(run + held, 0, static_cast<size_t>(width - held) * 4);
  }
}

static inline void store_runs(const StateLayer& layer, int32_t slot, int64_t at, int64_t stride,
                              int64_t rows, int64_t count, int64_t width, const float* from) {
  for (int64_t i = 0; i < rows; ++i)
    memcpy(slot_of(layer, slot) + at + i * stride, from + i * width,
           static_cast<size_t>(count) * 4);
}

}  // namespace stepless::kernels
