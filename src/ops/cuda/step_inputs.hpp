// What a step reads and draws, on the device: one block that one copy fills, the same places for
// steps of one size, which a graph may keep. Host memory and results are there four times, for the
// step that runs and the one launched behind it, of two parts each.
#pragma once
#include <array>

#include "ops/cuda/launch.hpp"

namespace stepless {

class StepInputs {
 public:
  /// Bytes on the device before a step refers to more pages and tokens than usual.
  static std::int64_t block_bytes(const Program& program);
  explicit StepInputs(const Program& program);

  /// Copies the group's rows to the device, ordered with the stream, and points `step` to them;
  /// tokens that the step before draws are copied there. What the group points to may go when this
  /// returns. Returns the number of this step. Throws Error (internal) when four are not collected.
  std::int64_t upload(const RowGroup& group, const DeviceRun& run, Step& step);
  /// Points `step` to where its inputs would be.
  void point(Step& step);
  /// Starts the copy of what the newest step draws.
  void download(const Step& step, const DeviceRun& run);
  /// Waits for a step and takes what it drew. Once for each.
  Sampled collect(std::int64_t number);

 private:
  /// Where the parts of a step's inputs begin; the tables of its rows follow.
  struct Layout {
    std::int64_t tokens, positions, seq, taken, draws, tables;
  };
  /// The host's side of a step.
  struct Slot {
    PinnedMemory inputs, drawn, tops;
    CudaEvent done;
    std::int64_t number = 0, sampled = 0, top_logprobs = 0;
    bool open = false;  // not collected
  };
  /// A token that the step before draws at sampled row `from`, and where it is wanted.
  struct Feed {
    std::int64_t from;
    std::uint8_t* to;
  };

  static Layout layout_of(std::int64_t rows, std::int64_t sampled);
  Slot& slot_of(std::int64_t number);
  Slot& next_slot();
  std::int64_t table_bytes(const RowGroup& group);
  void reserve(Slot& slot, std::int64_t bytes);
  std::uint8_t* room(std::int64_t bytes);
  template <class T>
  const T* keep(const T* from, std::int64_t count);
  void fill_rows(const RowGroup& group);
  void fill_draws(const RowGroup& group);
  const std::int32_t* keep_fed_history(const kernels::SampleRow& row, std::int64_t from);
  void keep_feeds();
  void feed(const DeviceRun& run);
  void move(const DeviceRun& run, void* to, const void* from, std::int64_t bytes);
  void make_tops(Step& step, std::int32_t top_logprobs);

  std::int64_t max_sampled_;
  const Kernel& take_;
  std::array<Slot, 4> slots_;
  DeviceMemory device_, drawn_, device_tops_, zero_;
  std::int64_t number_ = 0;
  // Of the step being filled:
  Layout layout_{};
  std::uint8_t* host_ = nullptr;
  std::int64_t used_ = 0, fed_history_bytes_ = 0;
  struct Kept {
    const void* from;
    std::int64_t bytes, at;
  };
  std::vector<Kept> kept_;
  std::vector<Feed> feeds_;
  const std::int32_t* feed_rows_ = nullptr;  // of feeds_: `from` each, on the device
};

}  // namespace stepless
