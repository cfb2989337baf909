// What rows with a state per sequence share: where a row's state comes from, and when it must be
// stored.
#pragma once
#include "kernels/cuda/any/launch.cuh"
#include "kernels/cuda/any/numbers.cuh"

namespace stepless::kernels {
namespace {

/// Whether row i goes on from what the row before it left, so that nothing has to be loaded.
inline __device__ bool continues(const SeqRow* seq, int64_t i) {
  return i > 0 && seq[i].state_in != 0 && seq[i].state_in == seq[i - 1].state_out;
}

/// Whether row i's state must be stored: not if the next row replaces it in its slot.
inline __device__ bool is_left(const SeqRow* seq, int64_t rows, int64_t i) {
  if (seq[i].state_out == 0) return false;
  return i + 1 == rows || !continues(seq, i + 1) || seq[i + 1].state_out != seq[i].state_out;
}

/// Element `at` of a slot; slot 0 is all zeros.
inline __device__ float state_at(const StateLayer& layer, int32_t slot, int64_t at) {
  return slot == 0 ? 0.0f : layer.slots[(slot - 1) * layer.width + at];
}

}  // namespace
}  // namespace stepless::kernels
