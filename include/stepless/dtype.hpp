// Element types and quantization modes: the two enumerations everything shares, kernels included.
// No code here.
#pragma once
#include <cstdint>

namespace stepless {

/// The branches are the tokens used in JSON, kernel names and on the command line. complex64 is two
/// f32, real first.
enum class DType : std::uint8_t {
  f32,
  f16,
  bf16,
  f64,
  u8,
  u16,
  u32,
  u64,
  i8,
  i16,
  i32,
  i64,
  boolean,
  complex64
};

/// How packed codes become numbers: affine s*q+b; mxfp4/mxfp8/nvfp4 scale*element.
enum class Mode : std::uint8_t { affine, mxfp4, mxfp8, nvfp4 };

}  // namespace stepless
