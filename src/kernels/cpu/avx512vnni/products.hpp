// VPDPBUSD. Static only: nothing here is exported.
#pragma once
#include <immintrin.h>

namespace stepless::kernels {

/// Codes times x, four neighbours in every lane. From the intrinsic gcc 12 makes loops that keep
/// most of 24 sums in memory.
static inline void add_products(__m512i& sums, __m512i codes, __m512i x) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(codes), "v"(x));
}

}  // namespace stepless::kernels
