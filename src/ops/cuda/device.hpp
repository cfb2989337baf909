// Memory of a GPU and of the host beside it, and errors of the driver as Error(device).
#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>
#include <utility>

#include "base/error.hpp"

namespace stepless {

inline void check_cuda(cudaError_t error, const char* what) {
  if (error != cudaSuccess)
    fail(ErrorCode::device, "{}: {} ({})", what, cudaGetErrorString(error),
         cudaGetErrorName(error));
}

enum class Side : std::uint8_t { device, host };  // host: pinned, so that copies are asynchronous

/// Movable; 256-byte aligned; zero on the device.
template <Side side>
class CudaMemory {
 public:
  CudaMemory() = default;
  /// Throws Error (exhausted) naming `what` and the size asked.
  CudaMemory(std::int64_t bytes, const char* what) : size_(bytes) {
    if (bytes == 0) return;
    const auto size = static_cast<std::size_t>(bytes);
    void* data = nullptr;
    const cudaError_t error =
        side == Side::device ? cudaMalloc(&data, size) : cudaMallocHost(&data, size);
    if (error == cudaErrorMemoryAllocation) {
      cudaGetLastError();  // else the next check finds it
      fail(ErrorCode::exhausted, "{}: {} bytes of {} memory are not to be had", what, bytes,
           side == Side::device ? "GPU" : "pinned host");
    }
    check_cuda(error, what);
    data_ = static_cast<std::uint8_t*>(data);
    if (side == Side::host) return;
    check_cuda(cudaMemset(data_, 0, size), what);
    // The streams here do not wait for the default one: a first step could run before its KV pages
    // are zeros, and lose what it wrote there.
    check_cuda(cudaStreamSynchronize(nullptr), what);
  }
  CudaMemory(CudaMemory&& other) noexcept { swap(other); }
  CudaMemory& operator=(CudaMemory&& other) noexcept {
    swap(other);
    return *this;
  }
  CudaMemory(const CudaMemory&) = delete;
  CudaMemory& operator=(const CudaMemory&) = delete;
  ~CudaMemory() {
    if (side == Side::device)
      cudaFree(data_);
    else
      cudaFreeHost(data_);
  }

  std::uint8_t* data() const { return data_; }
  std::int64_t size() const { return size_; }

 private:
  void swap(CudaMemory& other) {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }
  std::uint8_t* data_ = nullptr;
  std::int64_t size_ = 0;
};

using DeviceMemory = CudaMemory<Side::device>;
using PinnedMemory = CudaMemory<Side::host>;

/// Owns a stream.
class CudaStream {
 public:
  CudaStream() { check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "stream"); }
  ~CudaStream() { cudaStreamDestroy(stream_); }
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  cudaStream_t get() const { return stream_; }
  void wait(const char* what) const { check_cuda(cudaStreamSynchronize(stream_), what); }

 private:
  cudaStream_t stream_ = nullptr;
};

/// Owns an event: a place in a stream that can be waited for.
class CudaEvent {
 public:
  CudaEvent() { check_cuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "event"); }
  ~CudaEvent() { cudaEventDestroy(event_); }
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;
  void record(cudaStream_t stream) { check_cuda(cudaEventRecord(event_, stream), "event"); }
  void wait(const char* what) const { check_cuda(cudaEventSynchronize(event_), what); }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace stepless
