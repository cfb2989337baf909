// The forward pass as a flat list of operations over values of m rows, m a symbol. A family builds
// it once, passes rewrite it, a backend runs it. Values are assigned once; a value's bytes live in
// the step arena (see place.hpp).
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "dispatch/select.hpp"
#include "kernels/args.hpp"
#include "stepless/quant.hpp"
#include "stepless/tensor.hpp"

namespace stepless {

using ValueId = std::int32_t;
using MatrixId = std::int32_t;
using VectorId = std::int32_t;
inline constexpr std::int32_t kNone = -1;

/// Which rows a value has: every row of the step, or only those that are sampled.
enum class Rows : std::uint8_t { step, sampled };

struct Value {
  std::string name;
  std::int64_t width = 0;  // elements per row
  DType type = DType::f32;
  Rows rows = Rows::step;
  std::int64_t offset = kNone;  // bytes into the arena; set by place()
};

/// A weight of n outputs and k inputs, dense or packed; views into the checkpoint. With experts > 1
/// a stack of them: n and k are those of one.
struct Matrix {
  std::string name;
  bool packed = false;
  QuantSpec spec;            // packed only
  DType type = DType::bf16;  // of elements (dense) or scales (affine); u8 in fp modes
  std::int64_t n = 0, k = 0, experts = 1;
  TensorView w, scales, biases;
  std::vector<float> expert_scales;  // nvfp4: t / 2688 of each expert; empty: tensor_scale for all
  float tensor_scale = 1;            // nvfp4: t / 2688
  std::int64_t bytes() const;
  /// Outputs [first, first + count) as a matrix of its own, over the same bytes.
  Matrix rows(std::int64_t first, std::int64_t count) const;
};

struct Vector {
  std::string name;
  TensorView data;  // (width), or (rows, width) of a table
};

// --- operations; which value each reads and writes is told by visit_values() ---
struct EmbedOp {
  MatrixId table;
  ValueId y;
};
struct NormOp {
  ValueId x, y;
  VectorId weight;
  std::int64_t groups;
  float epsilon, weight_offset;
};
struct LinearPart {
  MatrixId weight;
  ValueId y;
};
struct LinearOp {
  ValueId x;
  std::vector<LinearPart> parts;
};  // parts share x: one preparation, one barrier
struct AnglesOp {
  std::vector<double> inv_freq;
  double scale;
  ValueId y;
};
struct RopeOp {
  ValueId x, angles, y;
  std::int64_t heads, head_dim, pairs;
  bool interleaved;
};
struct KvPutOp {
  int kv_layer;
  ValueId k, v;
};
struct KvPackOp {
  int kv_layer;
};  // set in by pack_kv()
struct AttnOp {
  int kv_layer;
  ValueId q, y;
  std::int64_t heads;
  float scale, softcap;
  std::int64_t window;
  VectorId sinks;
};
struct SplitOp {
  ValueId x;
  std::int64_t groups;
  std::vector<ValueId> parts;  // (m, groups * width of the part)
};
struct ConvOp {
  std::vector<ValueId> x;  // channels one after another
  ValueId y;               // (m, channels) f32
  VectorId weight;         // (channels, taps)
  std::int64_t taps;
  int state;  // index into Program::state_layers
};
struct DeltaOp {
  ValueId qkv, a, b;  // f32
  ValueId prepared;   // room: see DeltaArgs
  ValueId y;          // (m, v_heads * v_dim) f32
  VectorId a_log, dt_bias;
  std::int64_t k_heads, k_dim, v_heads, v_dim;
  float epsilon;
  int state;
};
/// y = act(gate) * (up + up_offset); GluArgs says what limit does.
struct GluSpec {
  kernels::Activation activation = kernels::Activation::silu;
  float alpha = 1, limit = 0, up_offset = 0;
};
struct GluOp {
  ValueId gate, up, y;  // gate: as wide as up, or one element
  GluSpec spec;
};
struct AddOp {
  ValueId a, b, y;
  VectorId row;  // b or row may be kNone
  float a_scale, b_scale, softcap;
  /// Not kNone: `row` is a table, a holds as many runs per row as ids has elements, and each run
  /// adds the row of the table that its id names.
  ValueId ids = kNone;
};
struct TakeOp {
  ValueId x, y;
};
struct RouteOp {
  ValueId logits, ids, weights;  // (m, experts) f32; (m, k) i32; (m, k) f32
  std::int64_t k;
  bool normalize;
};
struct ExpertsOp {
  ValueId x, ids;               // x is (m, k_in), or (m, k, k_in) with `per_slot`
  ValueId gathered, scattered;  // room for rows sorted by expert, before and after a part
  std::int64_t k;               // experts per token
  bool per_slot;
  std::vector<LinearPart> parts;  // y is (m, k, n)
};
struct CombineOp {
  ValueId x, weights, y;
  std::int64_t k;
};
struct SampleOp {
  ValueId logits;
};
using Op =
    std::variant<EmbedOp, NormOp, LinearOp, AnglesOp, RopeOp, KvPutOp, KvPackOp, AttnOp, SplitOp,
                 ConvOp, DeltaOp, GluOp, AddOp, TakeOp, RouteOp, ExpertsOp, CombineOp, SampleOp>;

using PlanPtr = std::shared_ptr<const Plan>;

struct Node {
  std::string name;  // e.g. "attn.qkv"; the words of `explain`
  int layer = -1;    // -1: outside the layers
  Op op;
  /// One per part (LinearOp) or one; inner index: row bucket (row_buckets.hpp). Set by
  /// plan_program().
  std::vector<std::vector<PlanPtr>> plans;
  /// The same for prompt rows (Role::prompt) where they have an order of their own; else empty.
  std::vector<std::vector<PlanPtr>> prompt_plans = {};
};

struct KvLayerShape {
  std::int64_t kv_heads = 0, k_dim = 0, v_dim = 0;
};

struct Program {
  DType act = DType::bf16;
  std::int64_t vocab = 0;
  std::vector<Value> values;
  std::vector<Matrix> matrices;
  std::vector<Vector> vectors;
  std::vector<Node> nodes;
  std::vector<KvLayerShape> kv_layers;
  /// Floats of recurrent state that each operation with a `state` keeps per sequence.
  std::vector<std::int64_t> state_layers;
  std::optional<QuantSpec> kv_packing;  // how packed pages are quantized; none: all stay plain
  std::vector<std::int64_t>
      buckets;  // rows each planned bucket serves, ascending; set by plan_program()
  // set by place():
  std::int64_t max_rows = 0, max_sampled = 0, arena_bytes = 0;
};

/// Layers of the model, as its nodes count them.
int layer_count(const Program& program);

/// The problem that part `part` of a node poses for m rows; what plan_program() gives to select().
Problem problem_of(const Program& program, const Node& node, std::size_t part, std::int64_t m,
                   Role role = Role::decode);

/// Calls f(ValueId, bool written) for every value the operation touches; ids are passed by
/// reference.
template <class F>
void visit_values(Op& op, F&& f);

}  // namespace stepless

#include "ops/visit.hpp"
