// Rows of keys or values, in whichever form attention reads them: as the cache holds them, packed,
// or decoded to float32 before. T is that of attn_frame.hpp.
#pragma once
#include "kernels/cpu/any/convert.hpp"
#include "kernels/cpu/any/vector_math.hpp"

namespace stepless::kernels {
namespace {

constexpr int64_t kChunk =
    64;  // positions that attention sums on their own; a page's end cuts, too
constexpr int64_t kLeastGroup = 32;
/// Scales of a chunk, at most.
constexpr int64_t kChunkGroups = kChunk * kMaxHeadDim / kLeastGroup;

/// Decoded rows are float32 in the order in which elements of the cache are read, padded with zeros
/// to whole steps.
enum class From : uint8_t { cache, decoded, packed4, packed8 };

/// Where a position's keys or values of one head lie, those of the next positions behind them.
struct Place {
  const uint8_t* at;
  const uint8_t *scales = nullptr, *biases = nullptr;  // packed: (positions, dim / group)
};

/// Keys or values of one head, from the first position of a chunk on.
struct Rows {
  Place here, next;                                  // and what is read after them
  int64_t dim;                                       // elements of a row
  const float *scales = nullptr, *biases = nullptr;  // as float32
  int32_t bits = 0, group = 0;                       // packed, else zeros
};

struct Row {
  const uint8_t* at;
  const float *scale, *bias;
};

template <class T, DType type, From from>
struct Reader {
  static constexpr int L = T::L;
  using F = Floats<L>;
  static constexpr int64_t kStep = 2 * L;
  static constexpr bool kPacked = from == From::packed4 || from == From::packed8;
  static constexpr DType kType = from == From::decoded ? DType::f32 : type;
  static constexpr int64_t kBits = from == From::packed4   ? 4
                                   : from == From::packed8 ? 8
                                   : kType == DType::f32   ? 32
                                                           : 16;

  static int64_t bytes(int64_t elements) { return elements * kBits >> 3; }

  static Row row(const Rows& rows, int64_t j) {
    const uint8_t* const at = rows.here.at + bytes(j * rows.dim);
    if constexpr (!kPacked) return {at, nullptr, nullptr};
    const int64_t groups = rows.dim / rows.group;
    return {at, rows.scales + j * groups, rows.biases + j * groups};
  }

  /// A whole step of a row from element i on.
  static void load2(const Rows& rows, const Row& row, int64_t i, F& a, F& b) {
    if constexpr (kPacked) {
      const int64_t g = i / rows.group;
      T::template decode2<static_cast<int>(kBits), type>(row.at + bytes(i), row.scale[g],
                                                         row.bias[g], a, b);
    } else {
      T::template load2<kType>(row.at + bytes(i), a, b);
    }
  }

  /// The same, of which there may be less; zeros are added. Packed rows consist of whole steps.
  static void load2_part(const Rows& rows, const Row& row, int64_t i, F& a, F& b) {
    if (kPacked || rows.dim - i >= kStep) return load2(rows, row, i, a, b);
    if constexpr (!kPacked) T::template load2_part<kType>(row.at + bytes(i), rows.dim - i, a, b);
  }

  /// Rows [begin, end) as float32 to `to` (end - begin, padded dim).
  static void decode(const Rows& rows, int64_t begin, int64_t end, float* to) {
    for (int64_t j = begin; j < end; ++j) {
      const Row one = row(rows, j);
      for (int64_t i = 0; i < rows.dim; i += kStep, to += kStep) {
        F a, b;
        load2_part(rows, one, i, a, b);
        store<L>(to, a);
        store<L>(to + L, b);
      }
    }
  }
};

/// Calls visit<form>() for the form of packed rows.
template <class Visit>
void by_bits(int32_t bits, Visit visit) {
  if (bits == 4) return visit.template operator()<From::packed4>();
  visit.template operator()<From::packed8>();
}

/// Widens the scales and biases of positions [begin, end) to float32, at the same places.
inline void widen_groups(Rows& rows, DType type, int64_t begin, int64_t end, float* scales,
                         float* biases) {
  const int64_t groups = rows.dim / rows.group, at = begin * groups, count = (end - begin) * groups;
  widen(element(rows.here.scales, type, at), type, count, scales + at);
  widen(element(rows.here.biases, type, at), type, count, biases + at);
  rows.scales = scales, rows.biases = biases;
}

}  // namespace
}  // namespace stepless::kernels
