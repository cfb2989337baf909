#include "ops/program.hpp"

#include <algorithm>

#include "base/checked.hpp"
#include "ops/backend.hpp"

namespace stepless {
namespace {

std::int64_t view_bytes(const TensorView& view) {
  std::int64_t bytes = view.data == nullptr ? 0 : size_of(view.type);
  for (const std::int64_t d : view.shape) bytes *= d;
  return bytes;
}

const Value& at(const Program& program, ValueId id) {
  return program.values[static_cast<std::size_t>(id)];
}

Problem matrix_problem(const Program& program, MatrixId id, std::int64_t m) {
  const Matrix& w = program.matrices[static_cast<std::size_t>(id)];
  Problem p;
  p.op = w.packed ? KernelOp::qmm : KernelOp::mm;
  p.packed = w.packed;
  p.quant = w.spec;
  p.w_type = w.type;
  p.m = m, p.n = w.n, p.k = w.k;
  return p;
}

/// An operation without weights: types, rows and the width of what it writes.
Problem plain(KernelOp op, DType x, DType y, std::int64_t m, std::int64_t n) {
  Problem p;
  p.op = op;
  p.packed = false;
  p.x_type = x, p.y_type = y, p.w_type = x;
  p.m = m, p.n = n;
  return p;
}

/// An operation on the cache, whose pages may be packed.
Problem cached(const Program& program, Problem p) {
  p.packed = program.kv_packing.has_value();
  if (p.packed) p.quant = *program.kv_packing;
  return p;
}

}  // namespace

std::int64_t Matrix::bytes() const {
  return view_bytes(w) + view_bytes(scales) + view_bytes(biases);
}

Matrix Matrix::rows(std::int64_t first, std::int64_t count) const {
  Matrix part = *this;
  part.name = name + "[" + std::to_string(first) + ":" + std::to_string(first + count) + "]";
  part.n = count;
  for (TensorView* view : {&part.w, &part.scales, &part.biases}) {
    if (view->data == nullptr) continue;
    view->data += first * (view_bytes(*view) / view->shape[0]);
    view->shape[0] = count;
  }
  return part;
}

int layer_count(const Program& program) {
  int count = 0;
  for (const Node& node : program.nodes) count = std::max(count, node.layer + 1);
  return count;
}

std::int64_t StateShape::slot_bytes() const {
  std::int64_t bytes = 0;
  for (const std::int64_t width : layers)
    bytes =
        checked_add(bytes, checked_mul(width, sizeof(float), "recurrent state"), "recurrent state");
  return bytes;
}

std::int64_t KvShape::token_bytes() const {
  std::int64_t bytes = 0;
  for (const KvLayerShape& layer : layers)
    bytes += layer.kv_heads * (layer.k_dim + layer.v_dim) * size_of(type);
  return bytes;
}

std::int64_t KvShape::page_bytes() const { return token_bytes() * page_tokens; }

std::int64_t KvShape::packed_token_bytes() const {
  if (!packing) return 0;
  std::int64_t elements = 0;
  for (const KvLayerShape& layer : layers) elements += layer.kv_heads * (layer.k_dim + layer.v_dim);
  return elements * packing->bits / 8 + elements / packing->group_size * 2 * size_of(type);
}

std::int64_t KvShape::packed_page_bytes() const { return packed_token_bytes() * page_tokens; }

KvShape kv_shape(const Program& program) {
  KvShape shape;
  shape.layers = program.kv_layers;
  shape.type = program.act;
  shape.packing = program.kv_packing;
  return shape;
}

Problem problem_of(const Program& program, const Node& node, std::size_t part, std::int64_t m,
                   Role role) {
  const DType act = program.act;
  const auto shape = [&](ValueId id) { return at(program, id).width; };
  return std::visit(
      [&](const auto& op) -> Problem {
        using T = std::decay_t<decltype(op)>;
        if constexpr (std::is_same_v<T, LinearOp> || std::is_same_v<T, ExpertsOp>) {
          Problem p = matrix_problem(program, op.parts[part].weight, m);
          p.x_type = at(program, op.x).type;
          p.y_type = at(program, op.parts[part].y).type;
          p.role = role;
          return p;
        } else if constexpr (std::is_same_v<T, EmbedOp>) {
          Problem p = matrix_problem(program, op.table, m);
          p.op = KernelOp::embed;
          p.x_type = p.y_type = at(program, op.y).type;
          return p;
        } else if constexpr (std::is_same_v<T, NormOp>) {
          return plain(KernelOp::norm, at(program, op.x).type, at(program, op.y).type, m,
                       shape(op.y));
        } else if constexpr (std::is_same_v<T, AnglesOp>) {
          return plain(KernelOp::angles, DType::f32, DType::f32, m, shape(op.y));
        } else if constexpr (std::is_same_v<T, RopeOp>) {
          return plain(KernelOp::rope, act, act, m, shape(op.y));
        } else if constexpr (std::is_same_v<T, KvPutOp>) {
          return plain(KernelOp::kvput, act, act, m, shape(op.k) + shape(op.v));
        } else if constexpr (std::is_same_v<T, KvPackOp>) {
          const KvLayerShape& kv = program.kv_layers[static_cast<std::size_t>(op.kv_layer)];
          return cached(program,
                        plain(KernelOp::kvpack, act, act, m, kv.kv_heads * (kv.k_dim + kv.v_dim)));
        } else if constexpr (std::is_same_v<T, AttnOp>) {
          const KvLayerShape& kv = program.kv_layers[static_cast<std::size_t>(op.kv_layer)];
          Problem p = cached(program, plain(KernelOp::attn, act, act, m, shape(op.y)));
          p.head = std::max(kv.k_dim, kv.v_dim);
          p.role = role;
          return p;
        } else if constexpr (std::is_same_v<T, SplitOp>) {
          const DType type = at(program, op.x).type;
          return plain(KernelOp::split, type, type, m, shape(op.x));
        } else if constexpr (std::is_same_v<T, ConvOp>) {
          Problem p = plain(KernelOp::conv, at(program, op.x[0]).type, DType::f32, m, shape(op.y));
          p.w_type = program.vectors[static_cast<std::size_t>(op.weight)].data.type;
          p.k = op.taps;
          return p;
        } else if constexpr (std::is_same_v<T, DeltaOp>) {
          Problem p = plain(KernelOp::delta, DType::f32, DType::f32, m, shape(op.y));
          p.k = op.k_dim;
          return p;
        } else if constexpr (std::is_same_v<T, GluOp>) {
          return plain(KernelOp::glu, act, act, m, shape(op.y));
        } else if constexpr (std::is_same_v<T, AddOp>) {
          return plain(KernelOp::add, at(program, op.a).type, at(program, op.y).type, m,
                       shape(op.y));
        } else if constexpr (std::is_same_v<T, TakeOp>) {
          return plain(KernelOp::take, act, act, m, shape(op.y));
        } else if constexpr (std::is_same_v<T, RouteOp>) {
          Problem p = plain(KernelOp::route, DType::f32, DType::f32, m, shape(op.logits));
          p.k = op.k;
          return p;
        } else if constexpr (std::is_same_v<T, CombineOp>) {
          Problem p = plain(KernelOp::combine, act, act, m, shape(op.y));
          p.k = op.k;
          return p;
        } else {
          return plain(KernelOp::sample, DType::f32, DType::f32, m, program.vocab);
        }
      },
      node.op);
}

}  // namespace stepless
