// Asking DRAM for packed codes ahead of their use. Static only: nothing here is exported.
#pragma once
#include "kernels/args.hpp"

namespace stepless::kernels {

/// Asks for a later strip's codes, into L2, while one is decoded: its rows are read in step, and as
/// many short streams are too many for the hardware to follow. Four streams, a quarter of the
/// strips each, are how DRAM reads fastest (Emerald Rapids, strips of sixteen, m = 1: one stream 64
/// % of the ceiling, two 75, four 91).
struct Streams {
  const uint8_t* codes;
  int64_t quarter;      // bytes
  int64_t piece_bytes;  // of a strip's quarter, in the elements of a piece

  /// A line of each quarter. Inlined first of all: gcc 12 thinks that a function which does nothing
  /// but this does nothing, and drops calls of it.
  __attribute__((always_inline)) inline void ask(int64_t at) const {
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) __builtin_prefetch(codes + q * quarter + at, 0, 2);
  }

  /// The lines that begin in a piece of the strip.
  __attribute__((always_inline)) inline void ask_piece(int64_t piece) const {
    const int64_t end = (piece + 1) * piece_bytes;
    for (int64_t at = (piece * piece_bytes + 63) / 64 * 64; at < end; at += 64) ask(at);
  }
};

/// Rows of weights that share streams: as many strips as are 16 KiB or more, a multiple of those
/// read in step. What is asked for is as many rows further on.
static inline int64_t rows_ahead(const MatmulArgs& args, int64_t strip, int64_t together) {
  const int64_t rows = strip * together, bytes = rows * args.w_row_bytes;
  return rows * (bytes >= 16384 ? 1 : 16383 / bytes + 1);
}

/// For the strip from row n0 on, a multiple of the strip.
static inline Streams streams_ahead(const MatmulArgs& args, int64_t n0, int64_t strip,
                                    int64_t together, int64_t piece) {
  const int64_t row = args.w_row_bytes, rows = rows_ahead(args, strip, together);
  const int64_t within = n0 % rows;
  return {args.w + (n0 - within + rows + within / 4) * row, rows / 4 * row,
          strip / 4 * piece * args.bits / 8};
}

}  // namespace stepless::kernels
