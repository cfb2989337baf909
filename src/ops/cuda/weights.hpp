// The weights on a GPU: every tensor a program reads, once, each 256-byte aligned.
#pragma once
#include <map>
#include <memory>
#include <utility>

#include "ops/cuda/device.hpp"
#include "ops/gpu.hpp"
#include "ops/program.hpp"

namespace stepless {

class DeviceWeights {
 public:
  /// Lists what is to be uploaded; allocates nothing.
  explicit DeviceWeights(const Program& program);
  std::int64_t bytes() const { return bytes_; }
  /// Uploads, and returns the program with views that point to the device.
  std::shared_ptr<const Program> upload(const Program& program, const UploadProgress& progress);
  /// The frequencies of an AnglesOp of the program that was listed.
  const double* frequencies(const AnglesOp& op) const;

 private:
  using Key = std::pair<const void*, std::int64_t>;  // a host array and its bytes
  void add(const void* data, std::int64_t bytes);
  void add(const TensorView& view);
  void move(TensorView& view) const;

  std::map<Key, std::int64_t> offsets_;
  std::int64_t bytes_ = 0;
  DeviceMemory memory_;
};

}  // namespace stepless
