// What a step reads and draws, on the device: a block at fixed addresses, which a graph may keep,
// and the tables and histories its rows point to.
#pragma once
#include "ops/cuda/device.hpp"
#include "ops/step.hpp"

namespace stepless {

class StepInputs {
 public:
  /// Bytes on the device, before any table.
  static std::int64_t block_bytes(const Program& program);
  explicit StepInputs(const Program& program);

  /// Copies the group's rows to the device, ordered with the stream, and points `step` to them.
  /// What the group points to may go when this returns.
  void upload(const RowGroup& group, cudaStream_t stream, Step& step);
  /// Starts the copy of what was drawn; results() after the stream has ended.
  void download(const Step& step, cudaStream_t stream);
  Sampled results(const Step& step) const;

 private:
  /// Where the parts of the block begin.
  struct Layout {
    std::int64_t tokens, positions, seq, taken, draws, token, logprob, end;
  };
  static Layout layout_of(const Program& program);
  std::int64_t table_bytes(const RowGroup& group) const;
  void reserve_tables(std::int64_t bytes);
  /// A copy of an array in the tables, once for all rows that share it; its device address.
  template <class T>
  const T* keep(const T* from, std::int64_t count);
  void fill_rows(const RowGroup& group);
  void fill_draws(const RowGroup& group);

  Layout layout_;
  PinnedMemory host_, host_tables_, host_tops_;
  DeviceMemory device_, device_tables_, device_tops_;
  struct Kept {
    const void* from;
    std::int64_t bytes, at;
  };
  std::vector<Kept> kept_;
  std::int64_t used_ = 0;
};

}  // namespace stepless
