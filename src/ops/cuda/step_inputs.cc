#include "ops/cuda/step_inputs.hpp"

#include <algorithm>
#include <cstring>

#include "base/checked.hpp"
#include "kernels/roll_call.hpp"

namespace stepless {
namespace {

constexpr std::int64_t kPartAlign = 64;
constexpr std::int64_t kUsualTables = 256 << 10;  // bytes
constexpr std::int64_t kMostMoved = 64 << 10;     // bytes: more is the copy engine's

/// The kernel that copies rows, for whatever lies where the device can reach it.
const Kernel& taking_kernel() {
  for (const Kernel& row : roll_call())
    if (row.is.op == KernelOp::take && row.device != nullptr) return row;
  fail(ErrorCode::unsupported, "take: this build has no code for it on a GPU");
}

std::int64_t aligned(std::int64_t bytes) { return round_up(bytes, kPartAlign); }

/// Entries of the tables that a row reads or writes through.
std::int64_t plain_pages(const kernels::SeqRow& row) {
  return std::max(row.position / kKvPageTokens, row.pack) + 1;
}
std::int64_t packed_pages(const kernels::SeqRow& row) {
  return std::max(row.packed_end, row.pack + 1);
}

/// Penalties alone look at what was written before.
bool reads_history(const kernels::SampleRow& row) {
  return (row.repetition_penalty != 0 && row.repetition_penalty != 1) ||
         row.presence_penalty != 0 || row.frequency_penalty != 0;
}

/// The token that a sampled row begins with; below 0: the step before draws it.
std::int32_t first_token(const RowGroup& group, std::size_t i) {
  return group.tokens[static_cast<std::size_t>(group.sampled[i])];
}

}  // namespace

StepInputs::Layout StepInputs::layout_of(std::int64_t rows, std::int64_t sampled) {
  std::int64_t at = 0;
  const auto take = [&at](std::int64_t count, std::size_t size) {
    const std::int64_t begin = at;
    at = aligned(at + count * static_cast<std::int64_t>(size));
    return begin;
  };
  Layout layout{};
  layout.tokens = take(rows, sizeof(std::int32_t));
  layout.positions = take(rows, sizeof(std::int64_t));
  layout.seq = take(rows, sizeof(kernels::SeqRow));
  layout.taken = take(sampled, sizeof(std::int32_t));
  layout.draws = take(sampled, sizeof(kernels::SampleRow));
  layout.tables = at;
  return layout;
}

std::int64_t StepInputs::block_bytes(const Program& program) {
  return layout_of(program.max_rows, program.max_sampled).tables + kUsualTables +
         8 * program.max_sampled;
}

StepInputs::StepInputs(const Program& program)
    : max_sampled_(program.max_sampled), take_(taking_kernel()) {
  zero_ = DeviceMemory(kPartAlign, "a step's inputs");
  drawn_ = DeviceMemory(8 * max_sampled_, "what a step draws");
  device_ = DeviceMemory(layout_of(program.max_rows, max_sampled_).tables + kUsualTables,
                         "a step's inputs");
  for (Slot& slot : slots_) {
    slot.inputs = PinnedMemory(device_.size(), "a step's inputs");
    slot.drawn = PinnedMemory(drawn_.size(), "what a step draws");
  }
}

StepInputs::Slot& StepInputs::slot_of(std::int64_t number) {
  return slots_[static_cast<std::size_t>(number) % slots_.size()];
}

StepInputs::Slot& StepInputs::next_slot() {
  Slot& slot = slot_of(++number_);
  if (slot.open)
    fail(ErrorCode::internal, "step {} is launched; step {} is not collected", number_,
         slot.number);
  return slot;
}

std::int64_t StepInputs::table_bytes(const RowGroup& group) {
  std::int64_t bytes = 0, fed = 0;
  const auto add = [&bytes](std::int64_t count) { bytes += aligned(count * 4); };
  for (const kernels::SeqRow& row : group.seq) add(plain_pages(row)), add(packed_pages(row));
  fed_history_bytes_ = 0;
  for (std::size_t i = 0; i < group.sampling.size(); ++i) {
    const kernels::SampleRow& row = group.sampling[i];
    add(row.bias_count), add(row.bias_count), add(row.xtc_exempt_count);
    if (!reads_history(row)) continue;
    if (first_token(group, i) >= 0) {
      add(row.history_size);
    } else {
      fed_history_bytes_ = std::max(fed_history_bytes_, aligned((row.history_size + 1) * 4));
      ++fed;
    }
  }
  add(2 * std::ssize(group.tokens));  // rows of feeds
  return bytes + fed * fed_history_bytes_;
}

/// How many pages and tokens a step's rows refer to has no bound worth reserving: the block grows,
/// some twenty times in an engine's life at most. A step in flight ends first: freeing waits.
void StepInputs::reserve(Slot& slot, std::int64_t bytes) {
  if (bytes > device_.size()) device_ = DeviceMemory(2 * bytes, "a step's inputs");
  if (bytes > slot.inputs.size()) slot.inputs = PinnedMemory(device_.size(), "a step's inputs");
}

/// Room in the tables; an offset in both the host's and the device's block.
std::uint8_t* StepInputs::room(std::int64_t bytes) {
  std::uint8_t* const at = host_ + used_;
  used_ += aligned(bytes);
  return at;
}

/// A copy of an array in the tables, once for all rows that share it; its device address.
template <class T>
const T* StepInputs::keep(const T* from, std::int64_t count) {
  if (from == nullptr || count == 0) return nullptr;
  const std::int64_t bytes = count * static_cast<std::int64_t>(sizeof(T));
  for (const Kept& kept : kept_)
    if (kept.from == from && kept.bytes >= bytes)
      return reinterpret_cast<const T*>(device_.data() + kept.at);
  kept_.push_back({from, bytes, used_});
  std::memcpy(room(bytes), from, static_cast<std::size_t>(bytes));
  return reinterpret_cast<const T*>(device_.data() + kept_.back().at);
}

void StepInputs::fill_rows(const RowGroup& group) {
  auto* tokens = reinterpret_cast<std::int32_t*>(host_ + layout_.tokens);
  auto* positions = reinterpret_cast<std::int64_t*>(host_ + layout_.positions);
  auto* seq = reinterpret_cast<kernels::SeqRow*>(host_ + layout_.seq);
  // Rows of one sequence stand in order and its last reads most: back to front, one copy of a table
  // serves all of them.
  for (std::size_t i = group.tokens.size(); i-- > 0;) {
    kernels::SeqRow row = group.seq[i];
    row.pages = keep(row.pages, plain_pages(row));
    row.packed = keep(row.packed, packed_pages(row));
    seq[i] = row;
    positions[i] = row.position;
    tokens[i] = std::max(group.tokens[i], 0);
  }
  for (std::size_t i = 0; i < group.tokens.size(); ++i)
    if (group.tokens[i] < 0)
      feeds_.push_back({-1 - std::int64_t{group.tokens[i]},
                        device_.data() + layout_.tokens + static_cast<std::int64_t>(i) * 4});
}

/// A history that lacks its last token, at the end of a piece as long as every other, so that one
/// copy can bring the last tokens of all.
const std::int32_t* StepInputs::keep_fed_history(const kernels::SampleRow& row, std::int64_t from) {
  const std::int64_t begin = used_ + fed_history_bytes_ - (row.history_size + 1) * 4;
  room(fed_history_bytes_);
  std::memcpy(host_ + begin, row.history, static_cast<std::size_t>(row.history_size) * 4);
  feeds_.push_back({from, device_.data() + begin + row.history_size * 4});
  return reinterpret_cast<const std::int32_t*>(device_.data() + begin);
}

void StepInputs::fill_draws(const RowGroup& group) {
  auto* taken = reinterpret_cast<std::int32_t*>(host_ + layout_.taken);
  auto* draws = reinterpret_cast<kernels::SampleRow*>(host_ + layout_.draws);
  std::copy(group.sampled.begin(), group.sampled.end(), taken);
  // Back to front: of the histories of drafts the last is the longest, and serves all.
  for (std::size_t i = group.sampling.size(); i-- > 0;) {
    kernels::SampleRow row = group.sampling[i];
    row.bias_ids = keep(row.bias_ids, row.bias_count);
    row.bias_values = keep(row.bias_values, row.bias_count);
    row.xtc_exempt = keep(row.xtc_exempt, row.xtc_exempt_count);
    if (!reads_history(row))
      row.history = nullptr;
    else if (first_token(group, i) >= 0)
      row.history = keep(row.history, row.history_size);
    draws[i] = row;
  }
  for (std::size_t i = 0; i < group.sampling.size(); ++i) {
    const std::int32_t token = first_token(group, i);
    if (token >= 0) continue;
    if (reads_history(draws[i]))
      draws[i].history = keep_fed_history(group.sampling[i], -1 - std::int64_t{token});
    ++draws[i].history_size;
  }
}

/// Between kernels a kernel starts some 4 us sooner than the copy engine (H200, a step of 60
/// kernels: 178 us with copies in and out, 168 with kernels). Pinned memory is the device's as
/// well.
void StepInputs::move(const DeviceRun& run, void* to, const void* from, std::int64_t bytes) {
  if (bytes == 0) return;
  if (bytes > kMostMoved)
    return check_cuda(
        cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), cudaMemcpyDefault, run.stream),
        "a step's inputs");
  const kernels::TakeArgs args{from, to,        reinterpret_cast<const std::int32_t*>(zero_.data()),
                               1,    bytes / 4, 0,
                               0,    DType::f32};
  launch_kernel(run, take_, &args);
}

void StepInputs::keep_feeds() {
  std::vector<std::int32_t> rows;
  for (const Feed& each : feeds_) rows.push_back(static_cast<std::int32_t>(each.from));
  feed_rows_ = keep(rows.data(), std::ssize(rows));
}

/// Copies what the step before draws: one launch for places that are equally far apart, as those of
/// a batch's tokens are, and of its histories.
void StepInputs::feed(const DeviceRun& run) {
  for (std::size_t first = 0; first < feeds_.size();) {
    const auto distance = [&](std::size_t i) { return feeds_[i].to - feeds_[i - 1].to; };
    std::size_t end = first + 1;
    while (end < feeds_.size() && distance(end) >= 4 && distance(end) == distance(first + 1)) ++end;
    const std::int64_t stride = end - first > 1 ? distance(first + 1) / 4 : 1;
    const kernels::TakeArgs args{drawn_.data(),
                                 feeds_[first].to,
                                 feed_rows_ + first,
                                 static_cast<std::int64_t>(end - first),
                                 1,
                                 1,
                                 stride,
                                 DType::f32};
    launch_kernel(run, take_, &args);
    first = end;
  }
}

void StepInputs::point(Step& step) {
  layout_ = layout_of(step.rows, step.sampled);
  const auto at = [this](std::int64_t offset) { return device_.data() + offset; };
  step.tokens = reinterpret_cast<const std::int32_t*>(at(layout_.tokens));
  step.positions = reinterpret_cast<const std::int64_t*>(at(layout_.positions));
  step.seq = reinterpret_cast<const kernels::SeqRow*>(at(layout_.seq));
  step.taken = reinterpret_cast<const std::int32_t*>(at(layout_.taken));
  step.draws = reinterpret_cast<const kernels::SampleRow*>(at(layout_.draws));
  step.token = reinterpret_cast<std::int32_t*>(drawn_.data());
  step.logprob = reinterpret_cast<float*>(drawn_.data() + 4 * max_sampled_);
}

void StepInputs::make_tops(Step& step, std::int32_t top_logprobs) {
  step.top_logprobs = top_logprobs;
  const std::int64_t tops = step.sampled * step.top_logprobs;
  if (tops * 8 > device_tops_.size()) device_tops_ = DeviceMemory(tops * 8, "top logprobs");
  step.top_ids = tops == 0 ? nullptr : reinterpret_cast<std::int32_t*>(device_tops_.data());
  step.top_values = tops == 0 ? nullptr : reinterpret_cast<float*>(device_tops_.data()) + tops;
}

std::int64_t StepInputs::upload(const RowGroup& group, const DeviceRun& run, Step& step) {
  Slot& slot = next_slot();
  reserve(slot, layout_of(step.rows, step.sampled).tables + table_bytes(group));
  point(step);
  make_tops(step, group.top_logprobs);
  host_ = slot.inputs.data();
  used_ = layout_.tables;
  kept_.clear();
  feeds_.clear();
  fill_rows(group);
  fill_draws(group);
  keep_feeds();
  move(run, device_.data(), host_, used_);
  feed(run);
  return number_;
}

void StepInputs::download(const Step& step, const DeviceRun& run) {
  Slot& slot = slot_of(number_);
  const std::int64_t tops = step.sampled * step.top_logprobs * 8;
  if (tops > slot.tops.size()) slot.tops = PinnedMemory(tops, "top logprobs");
  move(run, slot.drawn.data(), drawn_.data(), step.sampled == 0 ? 0 : drawn_.size());
  move(run, slot.tops.data(), device_tops_.data(), tops);
  slot.done.record(run.stream);
  slot.number = number_;
  slot.sampled = step.sampled;
  slot.top_logprobs = step.top_logprobs;
  slot.open = true;
}

Sampled StepInputs::collect(std::int64_t number) {
  Slot& slot = slot_of(number);
  if (!slot.open || slot.number != number)
    fail(ErrorCode::internal, "step {} is collected; {} is there", number, slot.number);
  slot.open = false;
  slot.done.wait("a step on the GPU");
  const auto* tokens = reinterpret_cast<const std::int32_t*>(slot.drawn.data());
  const auto* logprobs = reinterpret_cast<const float*>(slot.drawn.data() + 4 * max_sampled_);
  const std::int64_t tops = slot.sampled * slot.top_logprobs;
  Sampled results;
  results.tokens.assign(tokens, tokens + slot.sampled);
  results.logprobs.assign(logprobs, logprobs + slot.sampled);
  if (tops == 0) return results;
  const auto* ids = reinterpret_cast<const std::int32_t*>(slot.tops.data());
  const auto* values = reinterpret_cast<const float*>(slot.tops.data()) + tops;
  results.top_ids.assign(ids, ids + tops);
  results.top_logprobs.assign(values, values + tops);
  return results;
}

}  // namespace stepless
