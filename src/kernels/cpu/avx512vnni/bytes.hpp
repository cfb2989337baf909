// x as one plane of bytes (any/byte_scale.hpp). Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avx512vnni/planes.hpp"

namespace stepless::kernels {

static inline void store_bytes(__m512i words, uint8_t* to) {
  _mm256_store_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi16_epi8(words));
}

}  // namespace stepless::kernels
