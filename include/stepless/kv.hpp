// How keys and values are kept. Plain data, also for the inner folders.
#pragma once
#include <cstdint>

namespace stepless {

/// Positions of one page of the cache.
inline constexpr std::int64_t kKvPageTokens = 64;

/// The KV cache of a model. By default every position stays in the activations' type for good.
///
/// With bits, positions are kept in pages of kKvPageTokens, and a page is read quantized (affine,
/// per token and head in groups along head_dim, as mlx-lm's QuantizedKVCache) by every row whose
/// newest `window` positions it lies wholly outside of, unless it begins before `start`. So which
/// form a row reads follows from its position alone: the bits are the same alone and in a batch, in
/// prefill and decode, however a prompt is cut.
///
/// With max_size, the row at position p reads positions 0 to 3 and the newest max_size - 4, its own
/// included; what lies between is given back. Both work together.
struct KvOptions {
  int bits = 16;              // 4 or 8: quantized; 16: as the activations
  int group_size = 0;         // 32, 64, 128; 0: 64, or 32 where 64 does not divide head_dim
  std::int64_t start = 5000;  // rounded up to whole pages; earlier positions are never quantized
  std::int64_t window = 0;    // the newest positions, never read quantized; tiered
  std::int64_t max_size = 0;  // positions a row reads at most; at least 5; 0: all
  bool quantized() const { return bits != 16; }
};

}  // namespace stepless
