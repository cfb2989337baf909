// Packed pages in integers (VPMADDWD): codes are widened to 16 bits, a query and the weights of a
// chunk are rounded to them. Sums over a group of a key, and over the positions of a chunk, are
// exact integers: whoever reads them, in whichever order, gets the same bits. Float32 is used
// between groups and chunks only.
//
// Of a key, 16 bytes of two positions make a vector: position i + 4 h, in the half h of vector i of
// four. Of values, words of two positions that follow each other make a dword.
#pragma once
#include "kernels/cpu/avx2/attn_lanes.hpp"
#include "kernels/cpu/avx2/attn_many.hpp"

namespace stepless::kernels {
namespace {

template <class T, DType type>
struct Words {
  KeyWords<T, type> keys;
  ValueWords<T, type> values;

  template <int bits>
  void visit_bits(const AttnArgs& args, Queries& all, const Chunk& chunk, Decoded& room) {
    const int64_t positions = chunk.end - chunk.begin;
    keys.groups.read(chunk.k, positions);
    values.groups.read(chunk.v, positions);
    if (all.count > 4)
      return Many<T, type>::template visit<bits>(args, all, chunk, keys, values,
                                                 reinterpret_cast<int16_t*>(room.keys),
                                                 reinterpret_cast<int16_t*>(room.rows));
    int64_t low, high;
    by_twos(all, [&]<int Q>(int q) {
      if (!all.seen_by(q, Q, low, high)) return;
      keys.template scores<bits, Q>(all, q, chunk, low, high, q == 0);
      soften<T, Q>(args, all, q, low, high);
    });
    weigh_chunk<T>(all);
    by_twos(all, [&]<int Q>(int q) {
      if (!all.seen_by(q, Q, low, high)) return;
      values.template share<bits, Q>(all, q, 0, chunk.v.dim / chunk.v.group);
      values.template gather<bits, Q>(all, q, chunk, low, high);
    });
  }

  void visit(const AttnArgs& args, Queries& all, const Chunk& chunk, Decoded& room) {
    if (chunk.k.bits == 4) return visit_bits<4>(args, all, chunk, room);
    visit_bits<8>(args, all, chunk, room);
  }

  void settle(Queries&) {}
};

struct Avx2Words : Avx2 {
  template <DType type>
  requires(type != DType::f32) using PackedReader = Words<Avx2, type>;
};

}  // namespace
}  // namespace stepless::kernels
