#include "ops/cuda/weights.hpp"

#include <algorithm>

#include "base/checked.hpp"
#include "format/dtype.hpp"
#include "ops/cuda/upload.hpp"

namespace stepless {
namespace {

constexpr std::int64_t kWeightAlign = 256;

std::int64_t array_bytes(const TensorView& view) {
  return checked_mul(count_of(view.shape, "weight"), size_of(view.type), "weight");
}

std::int64_t array_bytes(const AnglesOp& op) {
  return static_cast<std::int64_t>(op.inv_freq.size() * sizeof(double));
}

/// Rows of the flat family read 16 bytes at a time: an expert must begin at such a place.
void check_experts(const Matrix& matrix) {
  if (matrix.experts <= 1) return;
  for (const TensorView* view : {&matrix.w, &matrix.scales, &matrix.biases})
    if (view->data != nullptr && array_bytes(*view) / matrix.experts % 16 != 0)
      fail(ErrorCode::unsupported,
           "{}: an expert's array takes {} bytes; on a GPU a multiple of 16 is needed", matrix.name,
           array_bytes(*view) / matrix.experts);
}

}  // namespace

DeviceWeights::DeviceWeights(const Program& program) {
  for (const Matrix& matrix : program.matrices) {
    check_experts(matrix);
    add(matrix.w), add(matrix.scales), add(matrix.biases);
  }
  for (const Vector& vector : program.vectors) add(vector.data);
  for (const Node& node : program.nodes)
    if (const auto* angles = std::get_if<AnglesOp>(&node.op))
      add(angles->inv_freq.data(), array_bytes(*angles));
}

void DeviceWeights::add(const void* data, std::int64_t bytes) {
  if (data == nullptr || !offsets_.try_emplace({data, bytes}, bytes_).second) return;
  bytes_ = checked_add(bytes_, round_up(bytes, kWeightAlign), "weights");
}

void DeviceWeights::add(const TensorView& view) {
  if (view.data != nullptr) add(view.data, array_bytes(view));
}

void DeviceWeights::move(TensorView& view) const {
  if (view.data == nullptr) return;
  view.data = reinterpret_cast<const std::byte*>(memory_.data() +
                                                 offsets_.at({view.data, array_bytes(view)}));
}

const double* DeviceWeights::frequencies(const AnglesOp& op) const {
  return reinterpret_cast<const double*>(memory_.data() +
                                         offsets_.at({op.inv_freq.data(), array_bytes(op)}));
}

std::shared_ptr<const Program> DeviceWeights::upload(const Program& program,
                                                     const UploadProgress& progress) {
  memory_ = DeviceMemory(bytes_, "weights");
  // In the order of the device's memory: neighbours there travel together.
  std::vector<std::pair<std::int64_t, Key>> arrays;
  for (const auto& [array, offset] : offsets_) arrays.emplace_back(offset, array);
  std::sort(arrays.begin(), arrays.end());
  Uploader uploader(bytes_, progress);
  for (const auto& [offset, array] : arrays)
    uploader.add(memory_.data() + offset, array.first, array.second);
  uploader.finish();
  auto moved = std::make_shared<Program>(program);
  for (Matrix& matrix : moved->matrices) move(matrix.w), move(matrix.scales), move(matrix.biases);
  for (Vector& vector : moved->vectors) move(vector.data);
  return moved;
}

}  // namespace stepless
