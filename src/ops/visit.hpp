// Which values each operation reads and writes: the one place that knows; passes are written over
// it.
#pragma once
#include <type_traits>

#include "ops/program.hpp"

namespace stepless {

template <class F>
void visit_values(Op& any, F&& f) {
  const auto read = [&](ValueId& id) {
    if (id != kNone) f(id, false);
  };
  const auto write = [&](ValueId& id) { f(id, true); };
  std::visit(
      [&](auto& op) {
        using T = std::decay_t<decltype(op)>;
        if constexpr (std::is_same_v<T, EmbedOp> || std::is_same_v<T, AnglesOp>) {
          write(op.y);
        } else if constexpr (std::is_same_v<T, NormOp> || std::is_same_v<T, TakeOp>) {
          read(op.x), write(op.y);
        } else if constexpr (std::is_same_v<T, LinearOp>) {
          read(op.x);
          for (LinearPart& part : op.parts) write(part.y);
        } else if constexpr (std::is_same_v<T, RopeOp>) {
          read(op.x), read(op.angles), write(op.y);
        } else if constexpr (std::is_same_v<T, KvPutOp>) {
          read(op.k), read(op.v);
        } else if constexpr (std::is_same_v<T, KvPackOp>) {
          // pages only
        } else if constexpr (std::is_same_v<T, AttnOp>) {
          read(op.q), write(op.y);
        } else if constexpr (std::is_same_v<T, SplitOp>) {
          read(op.x);
          for (ValueId& part : op.parts) write(part);
        } else if constexpr (std::is_same_v<T, ConvOp>) {
          for (ValueId& x : op.x) read(x);
          write(op.y);
        } else if constexpr (std::is_same_v<T, DeltaOp>) {
          read(op.qkv), read(op.a), read(op.b), write(op.prepared), write(op.y);
        } else if constexpr (std::is_same_v<T, GluOp>) {
          read(op.gate), read(op.up), write(op.y);
        } else if constexpr (std::is_same_v<T, AddOp>) {
          read(op.a), read(op.b), read(op.ids), write(op.y);
        } else if constexpr (std::is_same_v<T, RouteOp>) {
          read(op.logits), write(op.ids), write(op.weights);
        } else if constexpr (std::is_same_v<T, ExpertsOp>) {
          read(op.x), read(op.ids), write(op.gathered), write(op.scattered);
          for (LinearPart& part : op.parts) write(part.y);
        } else if constexpr (std::is_same_v<T, CombineOp>) {
          read(op.x), read(op.weights), write(op.y);
        } else {
          static_assert(std::is_same_v<T, SampleOp>);
          read(op.logits);
        }
      },
      any);
}

}  // namespace stepless
