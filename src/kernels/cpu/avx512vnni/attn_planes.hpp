// Packed pages in integers (VPDPBUSD): codes are the unsigned bytes, a query and the weights of a
// chunk the signed ones, each as two planes of a 16-bit integer. Sums over a group of a key, and
// over the positions of a chunk, are exact integers: whoever reads them, in whichever order, gets
// the same bits. Float32 is used between groups and chunks only.
//
// Decoding to float32 costs 4 to 5 instructions for 16 products of each of two queries and bounded
// the step: 29 ns a position of 2 queries of 128 elements at 8 bits and 23 at 4, of 16.5 and 8.7
// that memory takes (Emerald Rapids, 4096 positions). Here two instructions do 64 products: 19.4
// and 11.7 ns, of which 9.3 are arithmetic at either width (codes in the first cache): at 4 bits
// that is more than memory's. A third of it each are dots and values, at four fifths to all of what
// two ports do; the rest is the softmax, planes of weights, scales (docs/decisions/0015).
//
// Of a key, 16 bytes of four positions make a vector: position i + 4 p, in the quarter p of vector
// i of four, so that a quarter's sums are those of a position. Of values, bytes of four positions
// that follow each other make a dword.
#pragma once
#include "kernels/cpu/avx512/attn_lanes.hpp"
#include "kernels/cpu/avx512vnni/attn_many.hpp"

namespace stepless::kernels {
namespace {

template <class T, DType type>
struct Planes {
  KeyPlanes<T, type> keys;
  ValuePlanes<T, type> values;
  Chunk pending = {};  // its weights are made, its values are not added yet
  int64_t from, to;    // positions of it that count

  template <int bits>
  void visit_bits(const AttnArgs& args, Queries& all, const Chunk& chunk, Decoded& room) {
    const int64_t positions = chunk.end - chunk.begin;
    keys.stream.fetch_rest();
    keys.stream.begin(chunk.k, chunk.v, chunk.after);
    keys.groups.read(chunk.k, positions);
    if (all.count > 4) {
      fetch_groups(chunk, 0);
      values.groups.read(chunk.v, positions);
      return Many<T, type>::template visit<bits>(args, all, chunk, keys, values,
                                                 reinterpret_cast<uint8_t*>(room.keys),
                                                 reinterpret_cast<uint8_t*>(room.rows));
    }
    by_fours(all, [&]<int Q>(int q) { keys.template scores<bits, Q>(all, q, chunk); });
    fetch_groups(chunk, chunk.high);
    settle_bits<bits>(all);
    keys.stream.template fetch<Pace<bits>::kSoftmax>();
    by_fours(all, [&]<int Q>(int q) {
      int64_t low, high;
      if (!all.seen_by(q, Q, low, high)) return;
      find_tops<T, Q>(args, all, q, low, high);
      keys.stream.template fetch<Pace<bits>::kSoftmax>();
      weigh_scores<T, Q>(all, q, low, high);
    });
    keys.stream.template fetch<Pace<bits>::kSoftmax>();
    weigh_chunk<T>(all);
    keys.stream.template fetch<Pace<bits>::kSoftmax>();
    values.groups.read(chunk.v, positions);
    const int64_t groups = chunk.v.dim / chunk.v.group;
    values.template share<bits>(all, 0, all.count, groups, keys.stream);
    pending = chunk;
    all.seen_by(0, all.count, from, to);
  }

  /// Asks for what scores of positions from `at` on would ask for.
  __attribute__((always_inline)) static void fetch_groups(const Chunk& chunk, int64_t at) {
    const int64_t groups = chunk.k.dim / chunk.k.group;
    for (int64_t i = (at + 15) / 16 * groups; i < 4 * groups; ++i) Stream::fetch_groups(chunk, i);
  }

  template <int bits>
  void settle_bits(Queries& all) {
    if (pending.end == 0) return;
    by_fours(all, [&]<int Q>(int q) {
      values.template gather<bits, Q>(all, q, pending, keys.stream, from, to);
    });
    pending.end = 0;
  }

  /// Adds the values that are pending. The dots of a chunk come before the values of the one ahead
  /// of it, so that its softmax, a chain of latencies, has work of others beside it.
  void settle(Queries& all) {
    if (pending.v.bits == 4) return settle_bits<4>(all);
    settle_bits<8>(all);
  }

  void visit(const AttnArgs& args, Queries& all, const Chunk& chunk, Decoded& room) {
    if (chunk.k.bits == 4) return visit_bits<4>(args, all, chunk, room);
    visit_bits<8>(args, all, chunk, room);
  }
};

struct Avx512Vnni : Avx512 {
  template <DType type>
  requires(type != DType::f32) using PackedReader = Planes<Avx512, type>;
};

}  // namespace
}  // namespace stepless::kernels
