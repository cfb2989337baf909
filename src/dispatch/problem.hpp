// One operation to be planned: shapes and types only, no pointer, so that it can be planned,
// printed and tested anywhere.
#pragma once
#include <cstdint>

#include "kernels/kernel.hpp"
#include "stepless/quant.hpp"

namespace stepless {

/// What rows are for. Rows of whole pages of prompt tokens may have an order of summation of their
/// own; all others have one order together.
enum class Role : std::uint8_t { decode, prompt };

/// Whether activations may be rounded to 8 bits (--fast-int8). A wish, not part of a problem.
enum class Precision : std::uint8_t { exact, int8 };

struct Problem {
  KernelOp op = KernelOp::qmm;
  QuantSpec quant = {};  // qmm, qmmn, embed of a packed table
  bool packed = true;    // false: dense weight of w_type (mm, embed)
  DType x_type = DType::bf16;
  DType w_type = DType::bf16;  // scale type (affine) or element type (dense)
  DType y_type = DType::bf16;
  std::int64_t m = 1, n = 1,
               k = 1;  // attn: m rows, n heads * head_dim, k context; elementwise: m rows, n width;
                       // conv: n channels, k taps; delta: n value columns, k rows of their state
  std::int64_t kv_n = 0;  // attn: kv_heads * head_dim, what is read per position; 0: as n
  std::int64_t head = 0;  // attn: elements of the larger of a key and a value; 0: not told
  Role role = Role::decode;
};

/// Whether a weight of n or k outputs is read at all: qmm, qmmn, mm and embed.
constexpr bool has_weight(KernelOp op) {
  return op == KernelOp::qmm || op == KernelOp::qmmn || op == KernelOp::mm || op == KernelOp::embed;
}

/// Bits of packed weights, keys or values; 0: plain.
constexpr int packed_bits(const Problem& p) { return p.packed ? p.quant.bits : 0; }

/// Where the scales run: along k, in qmmn along n.
constexpr std::int64_t group_axis(const Problem& p) { return p.op == KernelOp::qmmn ? p.n : p.k; }

}  // namespace stepless
