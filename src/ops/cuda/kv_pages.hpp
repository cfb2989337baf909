// The KV cache on a GPU: its layers' arrays, and copies of pages. Every call is ordered with the
// stream; host memory must stay until the stream is waited for.
#pragma once
#include <span>

#include "ops/backend.hpp"
#include "ops/cuda/device.hpp"

namespace stepless {

class DeviceKv {
 public:
  DeviceKv() = default;
  /// Throws Error (exhausted).
  DeviceKv(const KvShape& shape, const KvPages& pages);

  const std::vector<kernels::KvLayer>& layers() const { return layers_; }
  void copy(std::span<const PageCopy> copies, cudaStream_t stream) const;
  PageBytes read(int layer, std::span<const std::int32_t> pages, cudaStream_t stream) const;
  void write(int layer, std::span<const std::int32_t> pages, const std::byte* keys,
             const std::byte* values, cudaStream_t stream) const;

 private:
  DeviceMemory memory_;
  std::vector<kernels::KvLayer> layers_;
};

}  // namespace stepless
