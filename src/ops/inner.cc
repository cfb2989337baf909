// inner() and dot(): vectors go to the dot kernel as they lie; matrices of real types are a dense
// product, with rows made contiguous first; complex matrices take the dot kernel pair by pair.
#include <cstring>

#include "base/error.hpp"
#include "format/dtype.hpp"
#include "ops/cpu/run_kernel.hpp"
#include "ops/matmul.hpp"
#include "ops/matmul_checks.hpp"

namespace stepless {
namespace {

void check_view(const StridedView& view, const char* name) {
  if (!is_float(view.type) && view.type != DType::complex64)
    fail(ErrorCode::invalid_argument, "{}: type {}; expected f32, f16, bf16 or complex64", name,
         to_string(view.type));
  if (view.shape.empty())
    fail(ErrorCode::invalid_argument, "{}: shape [] has no last dimension; expected [.., k]", name);
  if (view.strides.size() != view.shape.size())
    fail(ErrorCode::invalid_argument, "{}: {} strides {} for shape {}; expected one per dimension",
         name, view.strides.size(), shape_text(view.strides), shape_text(view.shape));
  const std::int64_t bytes = bytes_of(view.shape, view.type, name);
  if (bytes > 0 && view.data == nullptr)
    fail(ErrorCode::invalid_argument, "{}: null data for shape {}", name, shape_text(view.shape));
  std::int64_t reach = 0;  // elements from the first to the farthest; overflow is no address
  for (std::size_t d = 0; d < view.shape.size(); ++d) {
    std::int64_t axis = 0;
    if (view.shape[d] > 0 && (__builtin_mul_overflow(view.shape[d] - 1, view.strides[d], &axis) ||
                              __builtin_add_overflow(reach, axis < 0 ? -axis : axis, &reach) ||
                              reach > INT64_MAX / size_of(view.type)))
      fail(ErrorCode::exhausted, "{}: shape {} at strides {} does not fit in 63 bits", name,
           shape_text(view.shape), shape_text(view.strides));
  }
}

/// Where each row (all axes but the last) begins, in elements.
std::vector<std::int64_t> row_offsets(const StridedView& view) {
  const std::size_t axes = view.shape.size() - 1;
  std::int64_t rows = 1;
  for (std::size_t d = 0; d < axes; ++d) rows *= view.shape[d];
  std::vector<std::int64_t> offsets, at(axes, 0);
  offsets.reserve(static_cast<std::size_t>(rows));
  for (std::int64_t i = 0, offset = 0; i < rows; ++i) {
    offsets.push_back(offset);
    for (std::size_t d = axes; d-- > 0;) {
      offset += view.strides[d];
      if (++at[d] < view.shape[d]) break;
      offset -= view.strides[d] * view.shape[d];
      at[d] = 0;
    }
  }
  return offsets;
}

/// The rows one after another, in scratch.
const std::byte* packed_rows(Context& context, const StridedView& view, Scratch which) {
  const std::int64_t size = size_of(view.type), k = view.shape.back(), step = view.strides.back();
  std::byte* const to = context.scratch(which, bytes_of(view.shape, view.type, "inner"));
  std::byte* next = to;
  for (const std::int64_t offset : row_offsets(view)) {
    const std::byte* const from = view.data + offset * size;
    if (step == 1)
      std::memcpy(next, from, static_cast<std::size_t>(k * size));
    else
      for (std::int64_t i = 0; i < k; ++i)
        std::memcpy(next + i * size, from + i * step * size, static_cast<std::size_t>(size));
    next += k * size;
  }
  return to;
}

void run_dot(Context& context, const std::byte* a, std::int64_t a_stride, const std::byte* b,
             std::int64_t b_stride, std::int64_t k, DType type, std::byte* y) {
  Problem problem;
  problem.op = KernelOp::dot;
  problem.packed = false;
  problem.x_type = problem.w_type = problem.y_type = type;
  problem.k = k;
  const Kernel& kernel = context.kernel_for(problem);
  const std::int64_t blocks = (k + kernels::kDotBlock - 1) / kernels::kDotBlock;
  kernels::DotArgs args{a, b, a_stride, b_stride, k, type, y, nullptr};
  args.workspace = reinterpret_cast<double*>(
      context.scratch(Scratch::partials, workspace_bytes(kernel, problem)));
  run_kernel(context.team(), {kernel, &args, 0, blocks, 2 * kernels::kDotBlock * size_of(type)});
}

/// The last axis as it lies, when elements are where their type may be loaded from.
struct VectorAt {
  const std::byte* data;
  std::int64_t stride;
};

VectorAt vector_of(Context& context, const StridedView& view, Scratch which) {
  const auto alignment =
      static_cast<std::uintptr_t>(view.type == DType::complex64 ? 4 : size_of(view.type));
  if (reinterpret_cast<std::uintptr_t>(view.data) % alignment == 0)
    return {view.data, view.strides.back()};
  return {packed_rows(context, view, which), 1};
}

void inner_matrices(Context& context, const StridedView& a, const StridedView& b,
                    const InnerShape& shape, Tensor& y) {
  kernels::MatmulArgs args{};
  args.x = packed_rows(context, a, Scratch::a);
  args.w = reinterpret_cast<const std::uint8_t*>(packed_rows(context, b, Scratch::b));
  args.w_row_bytes = shape.k * size_of(b.type);
  args.tensor_scale = 1;
  args.x_type = args.w_type = args.y_type = a.type;
  args.x_stride = shape.k, args.y_stride = shape.rows_b;
  args.m = shape.rows_a, args.n = shape.rows_b, args.k = shape.k;
  args.y = y.data.data();
  run_matmul(context, KernelOp::mm, args);
}

void inner_pairs(Context& context, const StridedView& a, const StridedView& b,
                 const InnerShape& shape, Tensor& y) {
  const std::int64_t size = size_of(a.type);
  const std::vector<std::int64_t> a_rows = row_offsets(a), b_rows = row_offsets(b);
  const VectorAt a_at = a_rows.size() == 1 ? vector_of(context, a, Scratch::a)
                                           : VectorAt{packed_rows(context, a, Scratch::a), 1};
  const VectorAt b_at = b_rows.size() == 1 ? vector_of(context, b, Scratch::b)
                                           : VectorAt{packed_rows(context, b, Scratch::b), 1};
  std::byte* to = y.data.data();
  for (std::size_t i = 0; i < a_rows.size(); ++i)
    for (std::size_t j = 0; j < b_rows.size(); ++j, to += size)
      run_dot(context, a_at.data + static_cast<std::int64_t>(i) * shape.k * size, a_at.stride,
              b_at.data + static_cast<std::int64_t>(j) * shape.k * size, b_at.stride, shape.k,
              a.type, to);
}

}  // namespace

StridedView::StridedView(const TensorView& view)
    : data(view.data), type(view.type), shape(view.shape), strides(view.shape.size(), 1) {
  count_of(shape, "array");
  for (std::size_t d = shape.size(); d-- > 1;) strides[d - 1] = strides[d] * shape[d];
}

InnerShape describe_inner(const StridedView& a, const StridedView& b) {
  check_view(a, "a");
  check_view(b, "b");
  if (a.type != b.type)
    fail(ErrorCode::invalid_argument, "a and b: types {} and {}; expected equal types",
         to_string(a.type), to_string(b.type));
  if (a.shape.back() != b.shape.back())
    fail(ErrorCode::invalid_argument,
         "a and b: last dimensions {} and {} of shapes {} and {}; expected equal ones",
         a.shape.back(), b.shape.back(), shape_text(a.shape), shape_text(b.shape));
  InnerShape shape;
  shape.k = a.shape.back();
  shape.y_shape.assign(a.shape.begin(), a.shape.end() - 1);
  shape.rows_a = count_of(shape.y_shape, "a");
  shape.rows_b = count_of({b.shape.begin(), b.shape.end() - 1}, "b");
  shape.y_shape.insert(shape.y_shape.end(), b.shape.begin(), b.shape.end() - 1);
  bytes_of(shape.y_shape, a.type, "y");
  return shape;
}

Tensor inner(Context& context, const StridedView& a, const StridedView& b) {
  const InnerShape shape = describe_inner(a, b);
  Tensor y = make_tensor(shape.y_shape, a.type, "y");
  if (y.data.empty() || shape.k == 0) return y;
  const bool vectors = shape.rows_a == 1 && shape.rows_b == 1;
  if (vectors || a.type == DType::complex64)
    inner_pairs(context, a, b, shape, y);
  else
    inner_matrices(context, a, b, shape, y);
  return y;
}

Tensor dot(Context& context, const StridedView& a, const StridedView& b) {
  for (const auto& [view, name] : {std::pair{&a, "a"}, std::pair{&b, "b"}})
    if (view->shape.size() != 1)
      fail(ErrorCode::invalid_argument, "{}: shape {}; dot expects vectors", name,
           shape_text(view->shape));
  return inner(context, a, b);
}

}  // namespace stepless
