// Writes the keys and values of a step's rows into the pages of their sequences, in the cache's own
// type.
#include "kernels/cpu/any/convert.hpp"

namespace stepless::kernels {

static void put(const uint8_t* from, DType from_type, int64_t n, uint8_t* to, DType to_type) {
  if (from_type == to_type) {
    memcpy(to, from, static_cast<size_t>(n * bytes_of(to_type)));
    return;
  }
  alignas(64) float block[kBlock];
  for (int64_t at = 0; at < n; at += kBlock) {
    const int64_t count = least(kBlock, n - at);
    widen(from + at * bytes_of(from_type), from_type, count, block);
    narrow(block, to_type, count, to + at * bytes_of(to_type));
  }
}

static void run(const void* opaque, Slice rows) {
  const KvPutArgs& args = *static_cast<const KvPutArgs*>(opaque);
  const KvLayer& cache = args.cache;
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const SeqRow& seq = args.seq[row];
    const int64_t page = seq.pages[seq.position / cache.page_tokens];
    const int64_t slot = seq.position % cache.page_tokens;
    for (int64_t head = 0; head < cache.kv_heads; ++head) {
      const int64_t place = (page * cache.kv_heads + head) * cache.page_tokens + slot;
      put(element(args.k, args.type, row * args.k_stride + head * cache.k_dim), args.type,
          cache.k_dim, element(cache.k, cache.type, place * cache.k_dim), cache.type);
      put(element(args.v, args.type, row * args.v_stride + head * cache.v_dim), args.type,
          cache.v_dim, element(cache.v, cache.type, place * cache.v_dim), cache.type);
    }
  }
}

STEPLESS_KERNEL(kvput_full_b16_fany_r1_cpu) = {nullptr, run, nullptr};

}  // namespace stepless::kernels
