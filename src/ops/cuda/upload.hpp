// Bytes of mapped files to a GPU. A thread that faults pages in copies some GB a second, the bus
// ten times that: a few threads fill one pinned buffer while the other travels.
#pragma once
#include <array>
#include <vector>

#include "base/thread_team.hpp"
#include "ops/cuda/device.hpp"
#include "ops/gpu.hpp"

namespace stepless {

class Uploader {
 public:
  /// For so many bytes in all, of which `progress` (may be empty) is told. Takes two pinned buffers
  /// for as long as it lives.
  Uploader(std::int64_t total, UploadProgress progress);
  /// `to` behind what was added before; the bytes between become zeros or stay. Appends to what
  /// travels; `from` may go when finish() has returned.
  void add(std::uint8_t* to, const void* from, std::int64_t bytes);
  /// Returns when all has arrived.
  void finish();

 private:
  struct Buffer {
    PinnedMemory memory;
    CudaEvent free;
  };
  struct Piece {
    const std::byte* from;
    std::int64_t bytes, at;
  };
  void send();

  std::int64_t total_, sent_ = 0, buffer_bytes_;
  UploadProgress progress_;
  ThreadTeam team_;
  CudaStream stream_;
  std::array<Buffer, 2> buffers_;
  std::size_t filling_ = 0;
  std::vector<Piece> pieces_;  // of the buffer being filled: one run of device memory
  std::uint8_t* to_ = nullptr;
  std::int64_t used_ = 0;
};

}  // namespace stepless
