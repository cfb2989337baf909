#include "ops/matmul.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <numeric>

#include "base/checked.hpp"
#include "format/dtype.hpp"
#include "ops/cpu/run_kernel.hpp"
#include "ops/matmul_checks.hpp"

namespace stepless {
namespace {

using kernels::MatmulArgs;

const std::uint8_t* bytes_at(const TensorView& view, std::int64_t offset) {
  if (view.data == nullptr) return nullptr;
  return reinterpret_cast<const std::uint8_t*>(view.data) + offset;
}

MatmulArgs args_for(const ProductShape& p, DType x_type, DType w_type) {
  MatmulArgs args{};
  args.x_stride = p.k, args.y_stride = p.n;
  args.m = p.m, args.n = p.n, args.k = p.k;
  args.x_type = x_type, args.w_type = w_type, args.y_type = p.y_type;
  args.tensor_scale = 1;
  return args;
}

/// Matrix `index` of a packed weight.
void set_weight(MatmulArgs& args, const QuantizedView& w, const WeightShape& shape,
                std::int64_t index) {
  args.w = bytes_at(w.packed, index * shape.matrix_bytes);
  args.w_row_bytes = shape.row_bytes;
  args.scales = bytes_at(w.scales, index * shape.scale_bytes);
  args.biases =
      w.spec.mode == Mode::affine ? bytes_at(w.biases, index * shape.scale_bytes) : nullptr;
  args.tensor_scale = matrix_scale(w, index);
  args.mode = w.spec.mode;
  args.bits = w.spec.bits, args.group_size = w.spec.group_size;
}

KernelOp op_of(Transpose transpose) {
  return transpose == Transpose::yes ? KernelOp::qmm : KernelOp::qmmn;
}

/// The pairs of a gather in the order of their experts; pairs of one expert keep their order. A
/// promise that they are sorted is taken at its word: runs of one expert are what counts, and a
/// broken promise only makes them short.
std::vector<std::int64_t> by_expert(const std::vector<std::int64_t>& experts, bool sorted) {
  std::vector<std::int64_t> pairs(experts.size());
  std::iota(pairs.begin(), pairs.end(), 0);
  const auto expert = [&](std::int64_t pair) { return experts[static_cast<std::size_t>(pair)]; };
  if (!sorted) std::ranges::stable_sort(pairs, {}, expert);
  return pairs;
}

// A process addresses 47 bits; the sanitizers' allocator aborts on sizes that no machine has.
constexpr std::int64_t kAddressableBytes = std::int64_t{1} << 47;

// Prepared x is up to four bytes an element: rows go in blocks that bound it. A block of this size
// spends well under 1 % of its time on reading the weights once more, and no row sees its block.
constexpr std::int64_t kMostRowsAtOnce = 4096;

void run_rows(Context& context, const Problem& problem, MatmulArgs args) {
  const Kernel& kernel = context.kernel_for(problem);
  const std::int64_t workspace = workspace_bytes(kernel, problem);
  if (workspace > 0)
    args.workspace =
        reinterpret_cast<std::uint8_t*>(context.scratch(Scratch::workspace, workspace));
  // Bytes of codes stand for the work of a unit: each is multiplied with m rows.
  const std::int64_t rows = problem.op == KernelOp::qmmn ? args.k : args.n;
  const std::int64_t unit_bytes = (args.w_row_bytes * rows / args.n + 1) * args.m;
  run_kernel(context.team(), {kernel, &args, args.m, args.n, unit_bytes});
}

}  // namespace

Tensor make_tensor(Shape shape, DType type, const char* name) {
  Tensor tensor{{}, type, std::move(shape)};
  const std::int64_t bytes = bytes_of(tensor.shape, type, name);
  bool fits = bytes <= kAddressableBytes;
  try {
    if (fits) tensor.data.resize(static_cast<std::size_t>(bytes));
  } catch (const std::bad_alloc&) {
    fits = false;
  }
  if (!fits)
    fail(ErrorCode::exhausted, "{}: no memory for {} bytes, shape {}", name, bytes,
         shape_text(tensor.shape));
  return tensor;
}

const std::byte* aligned_input(Context& context, const TensorView& view, Scratch which) {
  const auto address = reinterpret_cast<std::uintptr_t>(view.data);
  if (address % static_cast<std::uintptr_t>(size_of(view.type)) == 0) return view.data;
  const std::int64_t bytes = bytes_of(view.shape, view.type, "x");
  std::byte* copy = context.scratch(which, bytes);
  std::memcpy(copy, view.data, static_cast<std::size_t>(bytes));
  return copy;
}

void run_matmul(Context& context, KernelOp op, MatmulArgs args) {
  Problem problem;
  problem.op = op;
  problem.packed = op != KernelOp::mm;
  if (problem.packed) problem.quant = {args.mode, args.bits, args.group_size};
  problem.x_type = args.x_type, problem.w_type = args.w_type, problem.y_type = args.y_type;
  problem.n = args.n, problem.k = args.k;
  for (std::int64_t left = args.m; left > 0; left -= args.m) {
    args.m = problem.m = std::min(left, kMostRowsAtOnce);
    run_rows(context, problem, args);
    args.x = static_cast<const std::byte*>(args.x) + args.m * args.x_stride * size_of(args.x_type);
    args.y = static_cast<std::byte*>(args.y) + args.m * args.y_stride * size_of(args.y_type);
  }
}

Tensor quantized_matmul(Context& context, const TensorView& x, const QuantizedView& w,
                        Transpose transpose) {
  const ProductShape p = describe_quantized_matmul(x, w, transpose);
  const WeightShape shape = describe_weight(w, transpose);
  Tensor y = make_tensor(p.y_shape, p.y_type, "y");
  if (y.data.empty()) return y;
  const std::byte* const from = aligned_input(context, x, Scratch::x);
  MatmulArgs args = args_for(p, x.type, shape.type);
  for (std::int64_t i = 0; i < p.count; ++i) {
    const auto at = static_cast<std::size_t>(i);
    set_weight(args, w, shape, p.w_at[at]);
    args.x = from + p.x_at[at] * p.m * p.k * size_of(x.type);
    args.y = y.data.data() + i * p.m * p.n * size_of(p.y_type);
    run_matmul(context, op_of(transpose), args);
  }
  return y;
}

Tensor gather_qmm(Context& context, const TensorView& x, const QuantizedView& w,
                  const GatherIndices& indices, Transpose transpose) {
  const ProductShape p = describe_gather_qmm(x, w, indices, transpose);
  const WeightShape shape = describe_weight(w, transpose);
  Tensor y = make_tensor(p.y_shape, p.y_type, "y");
  if (y.data.empty()) return y;
  const std::vector<std::int64_t> pairs = by_expert(p.w_at, indices.sorted);
  const std::int64_t x_bytes = p.m * p.k * size_of(x.type), y_bytes = p.m * p.n * size_of(p.y_type);
  MatmulArgs args = args_for(p, x.type, shape.type);
  for (std::size_t first = 0; first < pairs.size();) {
    const auto expert_of = [&](std::size_t at) {
      return p.w_at[static_cast<std::size_t>(pairs[at])];
    };
    std::size_t last = first + 1;
    while (last < pairs.size() && expert_of(last) == expert_of(first)) ++last;
    const auto count = static_cast<std::int64_t>(last - first);
    std::byte* const rows =
        context.scratch(Scratch::x, checked_mul(count, x_bytes, "rows of an expert"));
    std::byte* const results = context.scratch(Scratch::y, count * y_bytes);
    for (std::size_t i = first; i < last; ++i)
      std::memcpy(rows + static_cast<std::int64_t>(i - first) * x_bytes,
                  x.data + p.x_at[static_cast<std::size_t>(pairs[i])] * x_bytes,
                  static_cast<std::size_t>(x_bytes));
    set_weight(args, w, shape, expert_of(first));
    args.x = rows, args.y = results;
    args.m = count * p.m;
    run_matmul(context, op_of(transpose), args);
    for (std::size_t i = first; i < last; ++i)
      std::memcpy(y.data.data() + pairs[i] * y_bytes,
                  results + static_cast<std::int64_t>(i - first) * y_bytes,
                  static_cast<std::size_t>(y_bytes));
    first = last;
  }
  return y;
}

Tensor linear(Context& context, const TensorView& x, const TensorView& w) {
  const ProductShape p = describe_linear(x, w);
  Tensor y = make_tensor(p.y_shape, p.y_type, "y");
  if (y.data.empty() || p.k == 0) return y;  // +0.0 is all zero bytes
  const std::byte* const from = aligned_input(context, x, Scratch::x);
  MatmulArgs args = args_for(p, x.type, w.type);
  args.w_row_bytes = p.k * size_of(w.type);
  for (std::int64_t i = 0; i < p.count; ++i) {
    const auto at = static_cast<std::size_t>(i);
    args.w = bytes_at(w, p.w_at[at] * p.n * args.w_row_bytes);
    args.x = from + p.x_at[at] * p.m * p.k * size_of(x.type);
    args.y = y.data.data() + i * p.m * p.n * size_of(p.y_type);
    run_matmul(context, KernelOp::mm, args);
  }
  return y;
}

}  // namespace stepless
