// x of flat_lone that is the RMS norm of a sum: made by every block for itself while its first
// weights are on their way, in the order and with the bits of any/norm.cuh. A launch less stands
// between two products, and 9 KB of cold code.
#pragma once
#include "kernels/cuda/any/rms.cuh"
#include "kernels/cuda/sm90/lone_copies.cuh"

namespace stepless::kernels::sm90 {

/// x = norm(a + b), rows of x's type, k elements each; `sum` keeps a + b. a null: x is there.
struct LoneNorm {
  const uint8_t *a, *b, *weight;
  uint8_t* sum;
  int64_t a_row_bytes, b_row_bytes, sum_row_bytes;
  float epsilon, weight_offset;
  double per_element;  // 1 / elements of a row
};

/// A row's eight elements of a lane, 256 to a warp.
template <class Type>
static __device__ __forceinline__ float element(const uint4& v, int i) {
  const uint32_t word = i / 2 == 0 ? v.x : i / 2 == 1 ? v.y : i / 2 == 2 ? v.z : v.w;
  return i % 2 == 0 ? Type::low(word) : Type::high(word);
}
template <class Type, class F>
static __device__ __forceinline__ uint4 eight_of(F value) {
  return make_uint4(Type::pair(value(0), value(1)), Type::pair(value(2), value(3)),
                    Type::pair(value(4), value(5)), Type::pair(value(6), value(7)));
}

/// Of so many threads, by a barrier that others do not use.
static __device__ __forceinline__ void sync_threads(int barrier, int count) {
  asm volatile("bar.sync %0,%1;" ::"r"(barrier), "r"(count) : "memory");
}
static __device__ __forceinline__ void store_squares(uint32_t to, double squares) {
  asm volatile("st.shared.f64 [%0],%1;" ::"r"(to), "d"(squares) : "memory");
}
static __device__ __forceinline__ double load_squares(uint32_t from) {
  double squares;
  asm volatile("ld.shared.f64 %0,[%1];" : "=d"(squares) : "r"(from));
  return squares;
}

/// A warp's 256 elements of up to 2 rows, by way of shared memory and row after row: unrolled in
/// registers the code is 28 KB longer.
struct NormedUnit {
  static constexpr int kRows = 2, kRowPitch = 528;  // banks of staged rows differ
  static constexpr int kSquaresBytes = kRows * 8;   // of a unit
  /// Of a warp, for b's rows, then each lane's squares of each row.
  static constexpr int kSpareBytes(int rows) { return rows * (512 + 256); }

  const LoneNorm& norm;
  const int m, unit, units;
  const uint32_t staged;   // a's rows, then the sums, then x
  const uint32_t spare;    // kSpareBytes
  const uint32_t squares;  // of the first of the units, in order
  const int lane = threadIdx.x & 31;

  __device__ __forceinline__ uint32_t row(int r) const {
    return staged + r * kRowPitch + lane * 16;
  }
  __device__ __forceinline__ uint32_t own_squares(int r) const {
    return spare + m * 512 + r * 256 + lane * 8;
  }
  /// Starts the copies of the rows, one group.
  __device__ __forceinline__ void fetch() const {
    const int64_t at = unit * (kUnitK * 2) + lane * 16;
#pragma unroll 1
    for (int r = 0; r < m; ++r) {
      copy_async<16>(row(r), norm.a + r * norm.a_row_bytes + at);
      copy_async<16>(spare + r * 512 + lane * 16, norm.b + r * norm.b_row_bytes + at);
    }
    commit_copies();
  }
  /// a + b, which the block keeps of the rows that fall to it, and its squares.
  template <class Type>
  __device__ __forceinline__ void add_up(bool keeps) const {
    const int64_t at = unit * (kUnitK * 2) + lane * 16;
#pragma unroll 1
    for (int r = 0; r < m; ++r) {
      const uint4 a = load_shared16(row(r)), b = load_shared16(spare + r * 512 + lane * 16);
      const uint4 sums =
          eight_of<Type>([&](int i) { return element<Type>(a, i) + element<Type>(b, i); });
      store_shared16(row(r), sums);
      if (keeps && r % gridDim.x == blockIdx.x)
        *reinterpret_cast<uint4*>(norm.sum + r * norm.sum_row_bytes + at) = sums;
      double own = 0;
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const auto value = static_cast<double>(element<Type>(sums, i));
        own = fma(value, value, own);
      }
      store_squares(own_squares(r), own);
    }
    __syncwarp();
    // Halves of a row are added, halves of those ... as lanes with each other would: four lanes a
    // row, each every fourth.
    const int r = lane >> 2, each = lane & 3;
    double v[8];
#pragma unroll
    for (int i = 0; i < 8; ++i)
      v[i] = r < m ? load_squares(spare + m * 512 + r * 256 + (each + 4 * i) * 8) : 0;
#pragma unroll
    for (int half = 4; half > 0; half /= 2)
#pragma unroll
      for (int i = 0; i < half; ++i) v[i] += v[i + half];
    v[0] += __shfl_xor_sync(~0u, v[0], 2);
    v[0] += __shfl_xor_sync(~0u, v[0], 1);
    if (r < m && each == 0) store_squares(squares + unit * kSquaresBytes + r * 8, v[0]);
  }
  /// 1 / rms of row `lane`, once all units' squares are there.
  __device__ __forceinline__ float inverse() const {
    if (lane >= m) return 0;
    double total = load_squares(squares + lane * 8);
#pragma unroll 4
    for (int i = 1; i < units; ++i) total += load_squares(squares + i * kSquaresBytes + lane * 8);
    return inverse_rms(total, norm.per_element, norm.epsilon);
  }
  /// x as B operands; `weight`: the lane's eight.
  template <class Format>
  __device__ __forceinline__ void to_operands(float inverse, const uint4& weight,
                                              uint32_t (&b)[kSteps][8]) const {
    using Type = typename Format::Type;
#pragma unroll 1
    for (int r = 0; r < m; ++r) {
      const float own = __shfl_sync(~0u, inverse, r);
      const uint4 sums = load_shared16(row(r));
      store_shared16(row(r), eight_of<Type>([&](int i) {
                       return element<Type>(sums, i) * own *
                              (element<Type>(weight, i) + norm.weight_offset);
                     }));
    }
    __syncwarp();
    const int g = lane >> 2, t = lane & 3;
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      uint4 p = make_uint4(0, 0, 0, 0), q = p;
      const uint32_t from = staged + g * kRowPitch + (i * kStepK + t * 16) * 2;
      if (g < m) p = load_shared16(from), q = load_shared16(from + 16);
      Format::permute(p, q, b[i]);
    }
    __syncwarp();
  }
};

}  // namespace stepless::kernels::sm90
