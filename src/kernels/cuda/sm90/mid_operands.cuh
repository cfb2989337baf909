// x of flat_mid as the operands it multiplies, with its units' sums, where whoever makes x leaves
// it so: a block then copies what is otherwise prepared in every one of them.
#pragma once
#include "kernels/cuda/sm90/mid_copies.cuh"
#include "kernels/cuda/sm90/prompt_operands.cuh"

namespace stepless::kernels::sm90 {

/// Rows in at most two ways of `cols`, ways in units of 256 k: four steps as operand_at() has them,
/// then a SumBlock for each 8 rows. Rows that the last way is short of are never written.
template <int kGroup>
struct MidX {
  uint8_t* at;  // null: nobody makes operands
  int cols, units;

  static constexpr int kSumBytes = SumBlock<kGroup>::kBytes;
  __host__ __device__ static constexpr int operand_bytes(int cols) { return cols * kUnitK * 2; }
  __host__ __device__ static constexpr int unit_bytes(int cols) {
    return operand_bytes(cols) + cols / 8 * kSumBytes;
  }
  /// How far a unit is from the first one: 9 k m / 4 bytes in all.
  __device__ __forceinline__ int place_of(int way, int unit) const {
    return (way * units + unit) * unit_bytes(cols);
  }
};

/// Of a unit, where eight rows that begin at a multiple of 8 have their operands and sums.
struct MidEight {
  uint8_t *operands, *sums;
  int step_bytes;

  template <int kGroup>
  static __device__ __forceinline__ MidEight of(const MidX<kGroup>& x, int row, int unit) {
    const int way = row < x.cols ? 0 : 1, block = (row - way * x.cols) / 8;
    uint8_t* const first = x.at + x.place_of(way, unit);
    return {first + block * 1024, first + x.operand_bytes(x.cols) + block * x.kSumBytes,
            x.cols * kStepK * 2};
  }
};

/// The sums of a row's unit, of which each lane has eight elements as four words of operands: as
/// columns of one product there stand its four steps, twice.
template <int kGroup, class Type>
static __device__ __forceinline__ UnitSums<kGroup, Type> sums_of_row(const uint32_t (&words)[4]) {
  using Sums = UnitSums<kGroup, Type>;
  const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
  const uint32_t ones[4] = {Type::kOnes, Type::kOnes, Type::kOnes, Type::kOnes};
  float sums[4] = {0, 0, 0, 0};  // of steps 2t, 2t + 1, lanes 2 and 3 as 0 and 1
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int from = g % 4 * 8 + t * 2 + j / 2;
    const uint32_t low = __shfl_sync(~0u, words[j % 2 * 2], from);
    const uint32_t high = __shfl_sync(~0u, words[j % 2 * 2 + 1], from);
    Type::multiply_add(sums, sums, ones, low, high);
  }
  if constexpr (kGroup == 64) return Sums::template split<kCodeOffset>(sums[0], sums[1], t);
  const float own = sums[0] + sums[1], other = __shfl_xor_sync(~0u, own, 1);
  return Sums::template split<kCodeOffset>(t % 2 == 0 ? own : other, t % 2 == 0 ? other : own, t);
}

/// Stores a unit of a row, of which each lane has eight elements, and its sums.
template <class Type, int kGroup>
static __device__ __forceinline__ void store_as_mid_x(const MidX<kGroup>& x, int row, int unit,
                                                      uint4 elements) {
  const int lane = threadIdx.x & 31, step = lane >> 3, t = lane / 2 % 4, half = lane & 1;
  const int r = row % 8;
  const MidEight to = MidEight::of(x, row, unit);
  uint32_t b[8];
  permute_x(elements, elements, b);
  uint32_t v[4] = {b[0], b[1], b[2], b[3]};
  const auto sums = sums_of_row<kGroup, Type>(v);
  transpose_quad<2>(v, t);
  *reinterpret_cast<uint4*>(to.operands + step * to.step_bytes + r * 128 +
                            ((4 * half + t) ^ r) * 16) = make_uint4(v[0], v[1], v[2], v[3]);
  if (lane < 4)
    SumBlock<kGroup>::each(sums, [&](int at, uint32_t word) {
      *reinterpret_cast<uint32_t*>(to.sums + at + (r * 4 + lane) * 4) = word;
    });
}

/// Sends for x of the block's `units`, each of which a barrier tells; those of either chain in
/// turns. By one thread.
template <int kCols, int kGroup>
static __device__ __forceinline__ void fetch_operands(const uint8_t* from, int units,
                                                      uint32_t operands, uint32_t sums,
                                                      uint32_t barriers) {
  using X = MidX<kGroup>;
  constexpr int kBytes = X::operand_bytes(kCols), kSums = X::unit_bytes(kCols) - kBytes;
#pragma unroll 1
  for (int i = 0; i < kPartUnits; ++i) {
    const int unit = (i & 1) * kMidChainUnits + (i >> 1);
    if (unit >= units) continue;
    const uint8_t* const first = from + unit * X::unit_bytes(kCols);
    const uint32_t barrier = barriers + unit * 8;
    expect_bytes(barrier, kBytes + kSums);
    copy_expected(operands + unit * kBytes, first, kBytes, barrier);
    copy_expected(sums + unit * kSums, first + kBytes, kSums, barrier);
  }
}

}  // namespace stepless::kernels::sm90
