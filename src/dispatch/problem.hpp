// One operation to be planned: shapes and types only, no pointer, so that it can be planned, printed and tested anywhere.
#pragma once
#include <cstdint>

#include "kernels/kernel.hpp"
#include "stepless/quant.hpp"

namespace stepless {

enum class Role : std::uint8_t { decode, prompt };

struct Problem {
  KernelOp op = KernelOp::qmm;
  QuantSpec quant = {};            // qmm, qmmn, embed of a packed table
  bool packed = true;              // false: dense weight of w_type (mm, embed)
  DType x_type = DType::bf16;
  DType w_type = DType::bf16;      // scale type (affine) or element type (dense)
  DType y_type = DType::bf16;
  std::int64_t m = 1, n = 1, k = 1;  // attn: m rows, n heads * head_dim, k context; elementwise: m rows, n width
  Role role = Role::decode;
};

}  // namespace stepless
