#include "ops/cuda/joined.hpp"

#include "base/checked.hpp"

namespace stepless {
namespace {

/// Questions about a program's values and neighbouring nodes.
class Reader {
 public:
  explicit Reader(const Program& program) : program_(program), readers_(program.values.size()) {
    for (Node node : program.nodes)
      visit_values(node.op, [&](ValueId id, bool written) {
        if (!written) ++readers_[static_cast<std::size_t>(id)];
      });
  }

  bool is_gated(std::size_t at) const {
    const auto* linear = op<LinearOp>(at);
    const auto* glu = op<GluOp>(at + 1);
    return linear != nullptr && glu != nullptr && linear->parts.size() == 2 &&
           glu->gate == linear->parts[0].y && glu->up == linear->parts[1].y &&
           is_read_once(glu->gate) && is_read_once(glu->up) &&
           value(glu->gate).width == value(glu->up).width;
  }

  bool is_normed_sum(std::size_t at) const {
    const auto* add = op<AddOp>(at);
    const auto* norm = op<NormOp>(at + 1);
    const bool plain = add != nullptr && add->b != kNone && add->row == kNone &&
                       add->ids == kNone && add->a_scale == 1 && add->b_scale == 1 &&
                       add->softcap == 0;
    return plain && norm != nullptr && norm->x == add->y && norm->groups == 1 &&
           value(add->a).type == value(add->y).type && value(add->b).type == value(add->y).type;
  }

  bool is_turned_put(std::size_t at) const {
    const auto *q = op<RopeOp>(at), *k = op<RopeOp>(at + 1);
    const auto* put = op<KvPutOp>(at + 2);
    return q != nullptr && k != nullptr && put != nullptr && put->k == k->y && q->y != k->x &&
           put->v != q->y && is_read_once(k->y);
  }

 private:
  template <class T>
  const T* op(std::size_t at) const {
    return at < program_.nodes.size() ? std::get_if<T>(&program_.nodes[at].op) : nullptr;
  }
  const Value& value(ValueId id) const { return program_.values[static_cast<std::size_t>(id)]; }
  bool is_read_once(ValueId id) const { return readers_[static_cast<std::size_t>(id)] == 1; }

  const Program& program_;
  std::vector<int> readers_;
};

template <class T>
const T& args_of(const BoundCall& call) {
  return std::get<T>(call.args);
}

/// Whether a call has rows, and its kernel the joined launch.
template <class F>
bool can_join(const BoundCall& call, F kernels::CudaJoined::*launch) {
  const kernels::CudaEntry* device = call.kernel->device;
  return call.units > 0 && device != nullptr && device->joined.*launch != nullptr;
}

bool are_alike(const BoundCall& one, const BoundCall& other) {
  const auto &a = args_of<kernels::MatmulArgs>(one), &b = args_of<kernels::MatmulArgs>(other);
  return one.kernel == other.kernel && a.mode == b.mode && a.bits == b.bits &&
         a.group_size == b.group_size && a.k == b.k && a.w_type == b.w_type && a.y_type == b.y_type;
}

/// The calls of a linear operation's parts, if one launch can serve them.
std::vector<BoundCall> product_calls(const Step& step, const Node& node) {
  std::vector<BoundCall> calls;
  const auto* linear = std::get_if<LinearOp>(&node.op);
  if (linear == nullptr || linear->parts.size() < 2 ||
      std::ssize(linear->parts) > kernels::kMostTogether)
    return {};
  for (std::size_t part = 0; part < linear->parts.size(); ++part) {
    calls.push_back(bind(step, node, part));
    if (!can_join(calls.back(), &kernels::CudaJoined::products) ||
        !are_alike(calls.front(), calls.back()))
      return {};
  }
  return calls;
}

void check_launch(std::int32_t error, const Kernel& kernel) {
  check_cuda(static_cast<cudaError_t>(error), kernel.name.data());
}

}  // namespace

JoinedLaunches::JoinedLaunches(const Program& program) {
  const Reader reader(program);
  for (std::size_t at = 0; at < program.nodes.size(); ++at)
    joins_.push_back(reader.is_gated(at)                                      ? Join::gate
                     : std::holds_alternative<LinearOp>(program.nodes[at].op) ? Join::parts
                     : reader.is_normed_sum(at)                               ? Join::norm_sum
                     : reader.is_turned_put(at)                               ? Join::put_turned
                                                                              : Join::none);
}

std::size_t JoinedLaunches::run_products(const DeviceRun& run, const Step& step,
                                         std::size_t at) const {
  const Node* const node = &step.program->nodes[at];
  const std::vector<BoundCall> calls = product_calls(step, *node);
  if (calls.empty()) return 0;
  std::vector<kernels::MatmulArgs> parts;
  for (const BoundCall& call : calls) parts.push_back(args_of<kernels::MatmulArgs>(call));
  std::optional<BoundCall> gate;
  if (joins_[at] == Join::gate) gate = bind(step, node[1], 0);
  const Kernel& kernel = *calls[0].kernel;
  check_launch(kernel.device->joined.products(parts.data(), std::ssize(parts),
                                              gate ? &args_of<kernels::GluArgs>(*gate) : nullptr,
                                              context_of(run, kernel)),
               kernel);
  return gate ? 2 : 1;
}

std::size_t JoinedLaunches::run(const DeviceRun& run, const Step& step, std::size_t at) const {
  const Node* const node = &step.program->nodes[at];
  switch (joins_[at]) {
    case Join::none:
      return 0;
    case Join::parts:
    case Join::gate:
      return run_products(run, step, at);
    case Join::norm_sum: {
      const BoundCall add = bind(step, node[0], 0), norm = bind(step, node[1], 0);
      if (!can_join(norm, &kernels::CudaJoined::norm_sum)) return 0;
      check_launch(norm.kernel->device->joined.norm_sum(args_of<kernels::AddArgs>(add),
                                                        args_of<kernels::NormArgs>(norm),
                                                        context_of(run, *norm.kernel)),
                   *norm.kernel);
      return 2;
    }
    case Join::put_turned: {
      const BoundCall q = bind(step, node[0], 0), k = bind(step, node[1], 0);
      const BoundCall put = bind(step, node[2], 0);
      if (!can_join(put, &kernels::CudaJoined::put_turned)) return 0;
      check_launch(put.kernel->device->joined.put_turned(
                       args_of<kernels::RopeArgs>(q), args_of<kernels::RopeArgs>(k),
                       args_of<kernels::KvPutArgs>(put), context_of(run, *put.kernel)),
                   *put.kernel);
      return 3;
    }
  }
  return 0;
}

std::optional<BoundCall> JoinedLaunches::widest(const Step& step, const Node& node) {
  std::vector<BoundCall> calls = product_calls(step, node);
  if (calls.empty()) return std::nullopt;
  std::int64_t n = 0;
  for (const BoundCall& call : calls)
    n = checked_add(n, round_up(args_of<kernels::MatmulArgs>(call).n, call.unit_multiple),
                    "outputs of a step");
  std::get<kernels::MatmulArgs>(calls[0].args).n = n;
  return calls[0];
}

}  // namespace stepless
