// E4M3 weights for up to ten rows of x (few.hpp).
#include "kernels/cpu/avx512/few.hpp"

namespace stepless::kernels {

/// Whether none of `count` rows from n0 on has a scale of 2^120 or more, byte 247.
static bool have_room(const MatmulArgs& args, int64_t n0, int64_t count) {
  const int64_t groups = args.k / 32, bytes = count * groups;
  const uint8_t* at = args.scales + n0 * groups;
  __m512i most = _mm512_setzero_si512();
  for (int64_t i = 0; i < bytes; i += 64) {
    const __mmask64 left = bytes - i >= 64 ? ~0ull : (1ull << (bytes - i)) - 1;
    most = _mm512_max_epu8(most, _mm512_maskz_loadu_epi8(left, at + i));
  }
  return _mm512_cmpge_epu8_mask(most, _mm512_set1_epi8(static_cast<char>(247))) == 0;
}

static void run(const void* opaque, Slice units) {
  const MatmulArgs& args = *static_cast<const MatmulArgs*>(opaque);
  const int64_t most = outputs_at_once(args.m);
  for (int64_t n = units.begin; n < units.end; n += most) {
    const int64_t count = least(units.end - n, most);
    if (have_room(args, n, count))
      kRunRows<Form::e4m3_folded>[args.m - 1](args, n, count);
    else
      kRunRows<Form::e4m3>[args.m - 1](args, n, count);
  }
}

STEPLESS_KERNEL(qmm_mxfp8_b8_fany_m6n4_avx512) = {prepare_few<false>, run, nullptr};

}  // namespace stepless::kernels
