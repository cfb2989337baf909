#include "ops/cuda/joined.hpp"

#include "base/checked.hpp"

namespace stepless {
namespace {

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

/// The calls of a linear operation's parts, if one `launch` can serve them; of at least so many.
template <class F>
std::vector<BoundCall> product_calls(const Step& step, const Node& node, std::size_t least,
                                     F kernels::CudaJoined::*launch) {
  std::vector<BoundCall> calls;
  const auto* linear = std::get_if<LinearOp>(&node.op);
  if (linear == nullptr || linear->parts.size() < least ||
      std::ssize(linear->parts) > kernels::kMostTogether)
    return {};
  for (std::size_t part = 0; part < linear->parts.size(); ++part) {
    calls.push_back(bind(step, node, part));
    if (!can_join(calls.back(), launch) || !are_alike(calls.front(), calls.back())) return {};
  }
  return calls;
}
std::vector<BoundCall> product_calls(const Step& step, const Node& node) {
  return product_calls(step, node, 2, &kernels::CudaJoined::products);
}

std::vector<kernels::MatmulArgs> args_of_all(const std::vector<BoundCall>& calls) {
  std::vector<kernels::MatmulArgs> parts;
  for (const BoundCall& call : calls) parts.push_back(args_of<kernels::MatmulArgs>(call));
  return parts;
}

void check_launch(std::int32_t error, const Kernel& kernel) {
  check_cuda(static_cast<cudaError_t>(error), kernel.name.data());
}

/// How many nodes a launch has served: none where its kernel, planned for any shape, does this for
/// some, and not for the one at hand.
std::size_t served(std::int32_t error, const Kernel& kernel, Join join) {
  if (error == cudaErrorNotSupported) return 0;
  check_launch(error, kernel);
  return nodes_of(join);
}

/// The sum and its norm in one launch; false: the norm's kernel has none.
bool launch_norm_sum(const DeviceRun& run, const BoundCall& add, const BoundCall& norm) {
  if (!can_join(norm, &kernels::CudaJoined::norm_sum)) return false;
  check_launch(norm.kernel->device->joined.norm_sum(args_of<kernels::AddArgs>(add),
                                                    args_of<kernels::NormArgs>(norm),
                                                    context_of(run, *norm.kernel)),
               *norm.kernel);
  return true;
}

/// The same and the products behind them; `gate` null: there is none.
std::size_t launch_normed(const DeviceRun& run, const BoundCall& add, const BoundCall& norm,
                          const std::vector<BoundCall>& calls, const BoundCall* gate, Join join) {
  if (calls.empty()) return 0;
  const std::vector<kernels::MatmulArgs> parts = args_of_all(calls);
  const Kernel& kernel = *calls[0].kernel;
  const std::int32_t error = kernel.device->joined.normed_products(
      args_of<kernels::AddArgs>(add), args_of<kernels::NormArgs>(norm), parts.data(),
      std::ssize(parts), gate != nullptr ? &args_of<kernels::GluArgs>(*gate) : nullptr,
      context_of(run, kernel));
  return served(error, kernel, join);
}

}  // namespace

std::size_t JoinedLaunches::run_products(const DeviceRun& run, const Step& step,
                                         std::size_t at) const {
  const Node* const node = &step.program->nodes[at];
  const std::vector<BoundCall> calls = product_calls(step, *node);
  if (calls.empty()) return 0;
  const std::vector<kernels::MatmulArgs> parts = args_of_all(calls);
  std::optional<BoundCall> gate;
  if (joins_[at] == Join::gate) gate = bind(step, node[1], 0);
  const Kernel& kernel = *calls[0].kernel;
  check_launch(kernel.device->joined.products(parts.data(), std::ssize(parts),
                                              gate ? &args_of<kernels::GluArgs>(*gate) : nullptr,
                                              context_of(run, kernel)),
               kernel);
  return nodes_of(joins_[at]);
}

std::size_t JoinedLaunches::run_norm_sum(const DeviceRun& run, const Step& step,
                                         std::size_t at) const {
  const Node* const node = &step.program->nodes[at];
  const BoundCall add = bind(step, node[0], 0), norm = bind(step, node[1], 0);
  return launch_norm_sum(run, add, norm) ? nodes_of(Join::norm_sum) : 0;
}

std::size_t JoinedLaunches::run_normed_products(const DeviceRun& run, const Step& step,
                                                std::size_t at) const {
  const Node* const node = &step.program->nodes[at];
  const std::vector<BoundCall> calls =
      product_calls(step, node[2], 1, &kernels::CudaJoined::normed_products);
  const BoundCall add = bind(step, node[0], 0), norm = bind(step, node[1], 0);
  if (joins_[at] == Join::norm_product)
    return launch_normed(run, add, norm, calls, nullptr, Join::norm_product);
  const BoundCall gate = bind(step, node[3], 0);
  return launch_normed(run, add, norm, calls, &gate, Join::norm_gate);
}

std::size_t JoinedLaunches::run_feed_forward(const DeviceRun& run, const Step& step,
                                             std::size_t at) const {
  const Node* const node = &step.program->nodes[at];
  constexpr auto kLaunch = &kernels::CudaJoined::feed_forward;
  const std::vector<BoundCall> both = product_calls(step, node[2], 2, kLaunch);
  if (both.empty()) return 0;
  const BoundCall down = bind(step, node[4], 0);
  const Kernel& kernel = *both[0].kernel;
  if (down.kernel != &kernel) return 0;
  const BoundCall add = bind(step, node[0], 0), norm = bind(step, node[1], 0);
  const BoundCall gate = bind(step, node[3], 0);
  const std::int32_t error = kernel.device->joined.feed_forward(
      args_of<kernels::AddArgs>(add), args_of<kernels::NormArgs>(norm), args_of_all(both).data(),
      args_of<kernels::GluArgs>(gate), args_of<kernels::MatmulArgs>(down), context_of(run, kernel));
  return served(error, kernel, Join::feed_forward);
}

/// Where all rows are sampled, those that are taken are the sum's.
std::size_t JoinedLaunches::run_taken_product(const DeviceRun& run, const Step& step,
                                              std::size_t at) const {
  if (step.sampled != step.rows) return 0;
  const Node* const node = &step.program->nodes[at];
  const BoundCall add = bind(step, node[0], 0), norm = bind(step, node[2], 0);
  const std::vector<BoundCall> calls =
      product_calls(step, node[3], 1, &kernels::CudaJoined::normed_products);
  const std::size_t all = launch_normed(run, add, norm, calls, nullptr, Join::taken_product);
  if (all > 0) return all;
  return launch_norm_sum(run, add, norm) ? nodes_of(Join::taken_product) - 1 : 0;  // no product
}

std::size_t JoinedLaunches::run_turned_put(const DeviceRun& run, const Step& step,
                                           std::size_t at) const {
  const Node* const node = &step.program->nodes[at];
  const BoundCall q = bind(step, node[0], 0), k = bind(step, node[1], 0);
  const BoundCall put = bind(step, node[2], 0);
  if (!can_join(put, &kernels::CudaJoined::put_turned)) return 0;
  check_launch(put.kernel->device->joined.put_turned(
                   args_of<kernels::RopeArgs>(q), args_of<kernels::RopeArgs>(k),
                   args_of<kernels::KvPutArgs>(put), context_of(run, *put.kernel)),
               *put.kernel);
  return nodes_of(Join::put_turned);
}

std::size_t JoinedLaunches::run_turned_attention(const DeviceRun& run, const Step& step,
                                                 std::size_t at) const {
  const Node* const node = &step.program->nodes[at];
  const BoundCall attn = bind(step, node[3], 0);
  if (!can_join(attn, &kernels::CudaJoined::attend_turned)) return 0;
  const BoundCall q = bind(step, node[0], 0), k = bind(step, node[1], 0);
  const BoundCall put = bind(step, node[2], 0);
  const std::int32_t error = attn.kernel->device->joined.attend_turned(
      args_of<kernels::RopeArgs>(q), args_of<kernels::RopeArgs>(k),
      args_of<kernels::KvPutArgs>(put), args_of<kernels::AttnArgs>(attn),
      context_of(run, *attn.kernel));
  return served(error, *attn.kernel, Join::attend_turned);
}

std::size_t JoinedLaunches::run_attended(const DeviceRun& run, const Step& step,
                                         std::size_t at) const {
  const Node* const node = &step.program->nodes[at];
  const BoundCall attn = bind(step, node[0], 0);
  if (!can_join(attn, &kernels::CudaJoined::attend_as_x)) return 0;
  const std::vector<BoundCall> calls =
      product_calls(step, node[1], 1, &kernels::CudaJoined::attended_products);
  if (calls.empty()) return 0;
  const std::vector<kernels::MatmulArgs> parts = args_of_all(calls);
  const Kernel& kernel = *calls[0].kernel;
  const std::int32_t error = kernel.device->joined.attended_products(
      *attn.kernel->device, args_of<kernels::AttnArgs>(attn), parts.data(), std::ssize(parts),
      context_of(run, kernel));
  return served(error, kernel, Join::attended_product);
}

std::size_t JoinedLaunches::run(const DeviceRun& run, const Step& step, std::size_t at) const {
  switch (joins_[at]) {
    case Join::none:
      return 0;
    case Join::parts:
    case Join::gate:
      return run_products(run, step, at);
    case Join::norm_sum:
      return run_norm_sum(run, step, at);
    case Join::norm_product:
    case Join::norm_gate:
    case Join::feed_forward: {
      std::size_t all = joins_[at] == Join::feed_forward ? run_feed_forward(run, step, at) : 0;
      if (all == 0) all = run_normed_products(run, step, at);
      return all > 0 ? all : run_norm_sum(run, step, at);
    }
    case Join::taken_product:
      return run_taken_product(run, step, at);
    case Join::put_turned:
      return run_turned_put(run, step, at);
    case Join::attend_turned: {
      const std::size_t all = run_turned_attention(run, step, at);
      return all > 0 ? all : run_turned_put(run, step, at);
    }
    case Join::attended_product:
      return run_attended(run, step, at);
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
