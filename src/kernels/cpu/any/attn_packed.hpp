// Decodes packed keys or values of a chunk into float32 rows, in the order of elements in which
// attention reads the plain cache of the same type. T is that of attn_frame.hpp.
#pragma once
#include "kernels/cpu/any/convert.hpp"
#include "kernels/cpu/any/vector_math.hpp"

namespace stepless::kernels {
namespace {

constexpr int64_t kChunk =
    64;  // positions that attention sums on their own; a page's end cuts, too
constexpr int64_t kLeastGroup = 32;

/// Keys or values of one head from one position on.
struct PackedRows {
  const uint8_t *codes, *scales, *biases;
  const uint8_t*
      next;  // what is read after them: the values of the keys, the keys after the values
  int64_t dim;
  int32_t bits, group;
};

template <class T, DType type>
struct Packed {
  static constexpr int L = T::L;
  using F = Floats<L>;
  static constexpr int64_t kSize = type == DType::f32 ? 4 : 2;

  static PackedRows keys(const PackedKv& from, int64_t dim, int64_t place) {
    const int64_t groups = place * dim / from.group_size * kSize, at = place * dim * from.bits / 8;
    return {from.k + at, from.k_scales + groups, from.k_biases + groups, from.v + at, dim,
            from.bits,   from.group_size};
  }
  /// The page after this one lies anywhere; the hardware finds it soon enough.
  static PackedRows values(const PackedKv& from, int64_t dim, int64_t place) {
    const int64_t groups = place * dim / from.group_size * kSize, at = place * dim * from.bits / 8;
    return {from.v + at, from.v_scales + groups, from.v_biases + groups, from.v + at, dim,
            from.bits,   from.group_size};
  }

  template <int bits>
  static void decode_rows(const PackedRows& rows, int64_t begin, int64_t end, float* to) {
    const int64_t groups = rows.dim / rows.group, bytes = rows.dim * bits / 8;
    alignas(64) float scales[kChunk * kMaxHeadDim / kLeastGroup];
    alignas(64) float biases[kChunk * kMaxHeadDim / kLeastGroup];
    widen(element(rows.scales, type, begin * groups), type, (end - begin) * groups, scales);
    widen(element(rows.biases, type, begin * groups), type, (end - begin) * groups, biases);
    const float *scale = scales, *bias = biases;
    for (int64_t row = begin; row < end; ++row) {
      const uint8_t* from = rows.codes + row * bytes;
      for (int64_t line = 0; line < bytes; line += 64)
        __builtin_prefetch(rows.next + row * bytes + line);
      float* out = to + (row - begin) * rows.dim;
      for (int64_t g = 0; g < groups; ++g, ++scale, ++bias)
        for (int64_t i = 0; i < rows.group; i += 2 * L, from += 2 * L * bits / 8, out += 2 * L) {
          F a, b;
          T::template codes2<bits, type>(from, a, b);
          store<L>(out, T::template decode<type>(a, *scale, *bias));
          store<L>(out + L, T::template decode<type>(b, *scale, *bias));
        }
    }
  }

  /// Rows [begin, end) to `to` (end - begin, dim).
  static void decode(const PackedRows& rows, int64_t begin, int64_t end, float* to) {
    if (rows.bits == 4) return decode_rows<4>(rows, begin, end, to);
    decode_rows<8>(rows, begin, end, to);
  }
};

}  // namespace
}  // namespace stepless::kernels
