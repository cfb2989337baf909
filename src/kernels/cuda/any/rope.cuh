// Rotary embedding of one row, pair by pair: for the row that does only this, and for the one that
// puts what was turned into the cache.
#pragma once
#include "kernels/cuda/any/numbers.cuh"

namespace stepless::kernels {
namespace {

/// Units of a row: a pair, or one of the elements beyond the pairs, which are copied.
inline __host__ __device__ int64_t rope_units(const RopeArgs& args) {
  return args.heads * (args.head_dim - args.pairs);
}

/// put(element of the row's heads, value) for what unit `unit` of the row gives. Both elements of a
/// pair are read before either is put.
template <class Put>
__device__ void turn_unit(const RopeArgs& args, int64_t row, int unit, Put put) {
  const int pairs = static_cast<int>(args.pairs), head_dim = static_cast<int>(args.head_dim);
  const int each = head_dim - pairs, head = unit / each, i = unit % each;
  const int64_t first_of_head = static_cast<int64_t>(head) * head_dim;
  const int64_t x = row * args.x_stride + first_of_head;
  if (i >= pairs) {
    put(first_of_head + i + pairs, load(args.x, args.type, x + i + pairs));
    return;
  }
  const float* const cosines = args.angles + row * 2 * pairs;
  const int first = args.interleaved ? 2 * i : i, second = args.interleaved ? first + 1 : i + pairs;
  const float a = load(args.x, args.type, x + first), b = load(args.x, args.type, x + second);
  const float cosine = cosines[i], sine = cosines[pairs + i];
  put(first_of_head + first, a * cosine - b * sine);
  put(first_of_head + second, a * sine + b * cosine);
}

/// Blocks of `threads` that serve a row's units once each.
inline unsigned blocks_for_units(int64_t units, int threads) {
  const int64_t blocks = (units + threads - 1) / threads;
  return static_cast<unsigned>(blocks < 1024 ? blocks : 1024);
}

}  // namespace
}  // namespace stepless::kernels
