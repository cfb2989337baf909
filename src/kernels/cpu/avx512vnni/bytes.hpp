// x as one plane of bytes (any/byte_scale.hpp). Static only: nothing here is exported.
#pragma once
#include "kernels/cpu/avx512vnni/planes.hpp"

namespace stepless::kernels {

using Bytes = Form<1, Mode::affine>;

static inline void store_bytes(__m512i words, uint8_t* to) {
  store_plane<Bytes::kPlane>(_mm512_cvtepi16_epi8(words), to);
}

/// An entry's prepare().
template <Elements elements>
static constexpr auto prepare_bytes = prepare_planes<Bytes, elements, byte_scale, store_bytes>;

}  // namespace stepless::kernels
