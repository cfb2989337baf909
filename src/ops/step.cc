#include "ops/step.hpp"

#include <algorithm>

#include "base/checked.hpp"
#include "format/dtype.hpp"
#include "ops/plan_program.hpp"

namespace stepless {

std::uint8_t* value_bytes(const Step& step, ValueId id) {
  return step.arena + step.program->values[static_cast<std::size_t>(id)].offset;
}

kernels::MatmulArgs expert_args(const Step& step, MatrixId id, std::int64_t expert) {
  const Matrix& w = step.program->matrices[static_cast<std::size_t>(id)];
  const auto at = [&](const TensorView& view) -> const std::uint8_t* {
    if (view.data == nullptr) return nullptr;
    const std::int64_t bytes = count_of(view.shape, w.name) * size_of(view.type) / w.experts;
    return reinterpret_cast<const std::uint8_t*>(view.data) + expert * bytes;
  };
  kernels::MatmulArgs args{};
  args.w = at(w.w);
  args.scales = at(w.scales);
  args.biases = at(w.biases);
  args.tensor_scale =
      w.expert_scales.empty() ? w.tensor_scale : w.expert_scales[static_cast<std::size_t>(expert)];
  args.mode = w.spec.mode;
  args.bits = w.spec.bits;
  args.group_size = w.spec.group_size;
  args.w_row_bytes = w.packed ? w.k * w.spec.bits / 8 : w.k * size_of(w.type);
  args.w_type = w.type;
  args.n = w.n;
  args.k = w.k;
  args.workspace = step.workspace;
  return args;
}

kernels::Slice part_of_units(std::int64_t units, std::int64_t multiple, std::int64_t index,
                             std::int64_t parts) {
  const std::int64_t tiles = divide_up(units, multiple);
  const std::int64_t begin = tiles * index / parts * multiple;
  const std::int64_t end = tiles * (index + 1) / parts * multiple;
  return {std::min(begin, units), std::min(end, units)};
}

namespace {

const Value& value_of(const Step& step, ValueId id) {
  return step.program->values[static_cast<std::size_t>(id)];
}

std::uint8_t* bytes_of(const Step& step, ValueId id) { return value_bytes(step, id); }

std::int64_t rows_of(const Step& step, ValueId id) {
  return value_of(step, id).rows == Rows::step ? step.rows : step.sampled;
}

const std::uint8_t* data_of(const TensorView& view) {
  return reinterpret_cast<const std::uint8_t*>(view.data);
}

const Vector* vector_of(const Step& step, VectorId id) {
  return id == kNone ? nullptr : &step.program->vectors[static_cast<std::size_t>(id)];
}

kernels::MatmulArgs matrix_args(const Step& step, MatrixId id) { return expert_args(step, id, 0); }

struct Binder {
  const Step& step;
  std::size_t part;
  std::int64_t units = 0, prepare_rows = 0;

  kernels::MatmulArgs operator()(const LinearOp& op) {
    kernels::MatmulArgs args = matrix_args(step, op.parts[part].weight);
    const ValueId y = op.parts[part].y;
    args.x = bytes_of(step, op.x);
    args.x_stride = args.k;
    args.x_type = value_of(step, op.x).type;
    args.y = bytes_of(step, y);
    args.y_stride = args.n;
    args.y_type = value_of(step, y).type;
    args.m = prepare_rows = rows_of(step, op.x);
    units = args.m == 0 ? 0 : args.n;
    return args;
  }
  kernels::EmbedArgs operator()(const EmbedOp& op) {
    kernels::EmbedArgs args{step.tokens, matrix_args(step, op.table)};
    args.table.y = bytes_of(step, op.y);
    args.table.y_stride = args.table.k;
    args.table.y_type = value_of(step, op.y).type;
    args.table.m = units = step.rows;
    return args;
  }
  kernels::NormArgs operator()(const NormOp& op) {
    const std::int64_t width = value_of(step, op.x).width;
    kernels::NormArgs args{};
    args.x = bytes_of(step, op.x);
    args.y = bytes_of(step, op.y);
    const Vector* weight = vector_of(step, op.weight);
    args.weight = data_of(weight->data);
    args.weight_type = weight->data.type;
    args.x_type = value_of(step, op.x).type;
    args.y_type = value_of(step, op.y).type;
    args.rows = units = rows_of(step, op.x);
    args.k = width / op.groups;
    args.groups = op.groups;
    args.x_stride = args.y_stride = width;
    args.epsilon = op.epsilon;
    args.weight_offset = op.weight_offset;
    return args;
  }
  kernels::AnglesArgs operator()(const AnglesOp& op) {
    units = step.rows;
    return {step.positions,
            op.inv_freq.data(),
            reinterpret_cast<float*>(bytes_of(step, op.y)),
            step.rows,
            static_cast<std::int64_t>(op.inv_freq.size()),
            op.scale};
  }
  kernels::RopeArgs operator()(const RopeOp& op) {
    units = step.rows;
    const std::int64_t width = value_of(step, op.x).width;
    return {bytes_of(step, op.x),
            bytes_of(step, op.y),
            reinterpret_cast<const float*>(bytes_of(step, op.angles)),
            step.program->act,
            step.rows,
            op.heads,
            op.head_dim,
            op.pairs,
            width,
            width,
            op.interleaved};
  }
  kernels::KvPutArgs operator()(const KvPutOp& op) {
    units = step.rows;
    return {bytes_of(step, op.k),
            bytes_of(step, op.v),
            value_of(step, op.k).width,
            value_of(step, op.v).width,
            step.program->act,
            step.seq,
            step.rows,
            (*step.kv)[static_cast<std::size_t>(op.kv_layer)]};
  }
  kernels::KvPackArgs operator()(const KvPackOp& op) {
    const kernels::KvLayer& cache = (*step.kv)[static_cast<std::size_t>(op.kv_layer)];
    units = step.packs ? step.rows * cache.kv_heads : 0;
    return {step.seq, step.rows, cache};
  }
  kernels::AttnArgs operator()(const AttnOp& op) {
    units = step.rows * op.heads;
    const Vector* sinks = vector_of(step, op.sinks);
    return {bytes_of(step, op.q),
            bytes_of(step, op.y),
            value_of(step, op.q).width,
            value_of(step, op.y).width,
            step.program->act,
            step.seq,
            step.rows,
            op.heads,
            (*step.kv)[static_cast<std::size_t>(op.kv_layer)],
            op.scale,
            op.softcap,
            op.window,
            sinks == nullptr ? nullptr : data_of(sinks->data),
            sinks == nullptr ? DType::f32 : sinks->data.type};
  }
  kernels::SplitArgs operator()(const SplitOp& op) {
    kernels::SplitArgs args{};
    args.x = bytes_of(step, op.x);
    for (const ValueId y : op.parts) {
      args.y[args.parts] = bytes_of(step, y);
      args.width[args.parts++] = value_of(step, y).width / op.groups;
    }
    args.groups = op.groups;
    args.rows = units = rows_of(step, op.x);
    args.type = value_of(step, op.x).type;
    return args;
  }
  kernels::ConvArgs operator()(const ConvOp& op) {
    kernels::ConvArgs args{};
    for (const ValueId x : op.x) {
      args.x[args.inputs] = bytes_of(step, x);
      args.width[args.inputs++] = value_of(step, x).width;
    }
    args.type = value_of(step, op.x[0]).type;
    const TensorView& weight = vector_of(step, op.weight)->data;
    args.weight = data_of(weight);
    args.weight_type = weight.type;
    args.y = reinterpret_cast<float*>(bytes_of(step, op.y));
    args.rows = step.rows;
    args.channels = value_of(step, op.y).width;
    args.taps = op.taps;
    args.seq = step.seq;
    args.state = (*step.state)[static_cast<std::size_t>(op.state)];
    units = args.rows == 0 ? 0 : args.channels;
    return args;
  }
  kernels::DeltaArgs operator()(const DeltaOp& op) {
    const auto floats = [&](ValueId id) { return reinterpret_cast<float*>(bytes_of(step, id)); };
    const TensorView& a_log = vector_of(step, op.a_log)->data;
    const TensorView& dt_bias = vector_of(step, op.dt_bias)->data;
    prepare_rows = step.rows;
    units = step.rows == 0 ? 0 : op.v_heads * op.v_dim;
    return {floats(op.qkv), floats(op.a),     floats(op.b),
            data_of(a_log), data_of(dt_bias), a_log.type,
            dt_bias.type,   op.epsilon,       floats(op.prepared),
            floats(op.y),   step.seq,         (*step.state)[static_cast<std::size_t>(op.state)],
            step.rows,      op.k_heads,       op.k_dim,
            op.v_heads,     op.v_dim};
  }
  kernels::GluArgs operator()(const GluOp& op) {
    units = rows_of(step, op.y);
    const std::int64_t width = value_of(step, op.y).width;
    const std::int64_t gate_width = value_of(step, op.gate).width;
    return {bytes_of(step, op.gate),
            bytes_of(step, op.up),
            bytes_of(step, op.y),
            step.program->act,
            units,
            width,
            gate_width,
            width,
            width,
            op.spec.activation,
            op.spec.alpha,
            op.spec.limit,
            op.spec.up_offset,
            gate_width == 1};
  }
  kernels::AddArgs operator()(const AddOp& op) {
    const std::int64_t runs = op.ids == kNone ? 1 : value_of(step, op.ids).width;
    units = rows_of(step, op.y) * runs;
    const std::int64_t width = value_of(step, op.y).width / runs;
    const Vector* row = vector_of(step, op.row);
    const void* b = row != nullptr  ? static_cast<const void*>(row->data.data)
                    : op.b == kNone ? nullptr
                                    : bytes_of(step, op.b);
    const DType b_type = row != nullptr  ? row->data.type
                         : op.b == kNone ? DType::f32
                                         : value_of(step, op.b).type;
    return {
        bytes_of(step, op.a),
        b,
        bytes_of(step, op.y),
        value_of(step, op.a).type,
        b_type,
        value_of(step, op.y).type,
        row != nullptr && op.ids == kNone,
        units,
        width,
        width,
        width,
        width,
        op.a_scale,
        op.b_scale,
        op.softcap,
        op.ids == kNone ? nullptr : reinterpret_cast<const std::int32_t*>(bytes_of(step, op.ids))};
  }
  kernels::TakeArgs operator()(const TakeOp& op) {
    units = step.sampled;
    const std::int64_t width = value_of(step, op.x).width;
    return {bytes_of(step, op.x),
            bytes_of(step, op.y),
            step.taken,
            step.sampled,
            width,
            width,
            width,
            value_of(step, op.x).type};
  }
  kernels::RouteArgs operator()(const RouteOp& op) {
    units = step.rows;
    return {reinterpret_cast<const float*>(bytes_of(step, op.logits)),
            reinterpret_cast<std::int32_t*>(bytes_of(step, op.ids)),
            reinterpret_cast<float*>(bytes_of(step, op.weights)),
            step.rows,
            value_of(step, op.logits).width,
            op.k,
            op.normalize};
  }
  kernels::CombineArgs operator()(const CombineOp& op) {
    units = step.rows;
    return {bytes_of(step, op.x),
            reinterpret_cast<const float*>(bytes_of(step, op.weights)),
            bytes_of(step, op.y),
            step.program->act,
            step.rows,
            op.k,
            value_of(step, op.y).width};
  }
  kernels::MatmulArgs operator()(const ExpertsOp&) { return {}; }  // run_experts binds these
  kernels::SampleArgs operator()(const SampleOp& op) {
    units = step.sampled;
    const std::int64_t vocab = step.program->vocab;
    return {reinterpret_cast<const float*>(bytes_of(step, op.logits)),
            step.sampled,
            vocab,
            vocab,
            step.draws,
            step.token,
            step.logprob,
            step.top_ids,
            step.top_values,
            step.top_logprobs,
            step.workspace};
  }
};

}  // namespace

BoundCall bind(const Step& step, const Node& node, std::size_t part) {
  BoundCall call;
  Binder binder{step, part};
  call.args = std::visit([&](const auto& op) { return KernelArgs(binder(op)); }, node.op);
  call.units = binder.units;
  call.prepare_rows = binder.prepare_rows;
  const auto* matmul = std::get_if<kernels::MatmulArgs>(&call.args);
  const std::int64_t rows = matmul != nullptr ? matmul->m : step.rows;
  call.kernel =
      plan_for(*step.program, node, part, std::max<std::int64_t>(rows, 1), step.role).kernel;
  if (call.kernel->fields.unit == Unit::outputs) call.unit_multiple = call.kernel->is.tile_n;
  return call;
}

}  // namespace stepless
