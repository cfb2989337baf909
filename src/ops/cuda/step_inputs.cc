#include "ops/cuda/step_inputs.hpp"

#include <algorithm>
#include <cstring>

#include "base/checked.hpp"

namespace stepless {
namespace {

constexpr std::int64_t kPartAlign = 64;

void copy_inputs(void* to, const void* from, std::int64_t bytes, cudaStream_t stream,
                 cudaMemcpyKind kind) {
  if (bytes > 0)
    check_cuda(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), kind, stream),
               "a step's inputs");
}

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

}  // namespace

StepInputs::Layout StepInputs::layout_of(const Program& program) {
  std::int64_t at = 0;
  const auto take = [&at](std::int64_t count, std::size_t size) {
    const std::int64_t begin = at;
    at = round_up(at + count * static_cast<std::int64_t>(size), kPartAlign);
    return begin;
  };
  const std::int64_t rows = program.max_rows, sampled = program.max_sampled;
  Layout layout{};
  layout.tokens = take(rows, sizeof(std::int32_t));
  layout.positions = take(rows, sizeof(std::int64_t));
  layout.seq = take(rows, sizeof(kernels::SeqRow));
  layout.taken = take(sampled, sizeof(std::int32_t));
  layout.draws = take(sampled, sizeof(kernels::SampleRow));
  layout.token = take(sampled, sizeof(std::int32_t));
  layout.logprob = take(sampled, sizeof(float));
  layout.end = at;
  return layout;
}

std::int64_t StepInputs::block_bytes(const Program& program) { return layout_of(program).end; }

StepInputs::StepInputs(const Program& program)
    : layout_(layout_of(program)),
      host_(layout_.end, "a step's inputs"),
      device_(layout_.end, "a step's inputs") {}

std::int64_t StepInputs::table_bytes(const RowGroup& group) const {
  std::int64_t bytes = 0;
  const auto add = [&bytes](std::int64_t count) { bytes += round_up(count * 4, kPartAlign); };
  for (const kernels::SeqRow& row : group.seq) add(plain_pages(row)), add(packed_pages(row));
  for (const kernels::SampleRow& row : group.sampling) {
    if (reads_history(row)) add(row.history_size);
    add(row.bias_count), add(row.bias_count), add(row.xtc_exempt_count);
  }
  return bytes;
}

/// How many pages and tokens a step's rows refer to has no bound worth reserving: the tables grow,
/// at most some twenty times in an engine's life, while nothing runs on the device.
void StepInputs::reserve_tables(std::int64_t bytes) {
  kept_.clear();
  used_ = 0;
  if (bytes <= host_tables_.size()) return;
  bytes = std::max(bytes, 2 * host_tables_.size());
  host_tables_ = PinnedMemory(bytes, "tables of pages");
  device_tables_ = DeviceMemory(bytes, "tables of pages");
}

template <class T>
const T* StepInputs::keep(const T* from, std::int64_t count) {
  if (from == nullptr || count == 0) return nullptr;
  const std::int64_t bytes = count * static_cast<std::int64_t>(sizeof(T));
  for (const Kept& kept : kept_)
    if (kept.from == from && kept.bytes >= bytes)
      return reinterpret_cast<const T*>(device_tables_.data() + kept.at);
  std::memcpy(host_tables_.data() + used_, from, static_cast<std::size_t>(bytes));
  kept_.push_back({from, bytes, used_});
  used_ = round_up(used_ + bytes, kPartAlign);
  return reinterpret_cast<const T*>(device_tables_.data() + kept_.back().at);
}

void StepInputs::fill_rows(const RowGroup& group) {
  const auto bytes = [](std::size_t count, std::size_t size) { return count * size; };
  std::uint8_t* const to = host_.data();
  const std::size_t rows = group.tokens.size();
  std::memcpy(to + layout_.tokens, group.tokens.data(), bytes(rows, sizeof(std::int32_t)));
  auto* positions = reinterpret_cast<std::int64_t*>(to + layout_.positions);
  auto* seq = reinterpret_cast<kernels::SeqRow*>(to + layout_.seq);
  // Rows of one sequence stand in order and its last reads most: back to front, one copy of a table
  // serves all of them.
  for (std::size_t i = rows; i-- > 0;) {
    kernels::SeqRow row = group.seq[i];
    row.pages = keep(row.pages, plain_pages(row));
    row.packed = keep(row.packed, packed_pages(row));
    seq[i] = row;
    positions[i] = row.position;
  }
}

void StepInputs::fill_draws(const RowGroup& group) {
  auto* taken = reinterpret_cast<std::int32_t*>(host_.data() + layout_.taken);
  auto* draws = reinterpret_cast<kernels::SampleRow*>(host_.data() + layout_.draws);
  std::copy(group.sampled.begin(), group.sampled.end(), taken);
  for (std::size_t i = group.sampling.size(); i-- > 0;) {
    kernels::SampleRow row = group.sampling[i];
    row.history = reads_history(row) ? keep(row.history, row.history_size) : nullptr;
    row.bias_ids = keep(row.bias_ids, row.bias_count);
    row.bias_values = keep(row.bias_values, row.bias_count);
    row.xtc_exempt = keep(row.xtc_exempt, row.xtc_exempt_count);
    draws[i] = row;
  }
}

void StepInputs::upload(const RowGroup& group, cudaStream_t stream, Step& step) {
  reserve_tables(table_bytes(group));
  fill_rows(group);
  fill_draws(group);
  const auto at = [this](std::int64_t offset) { return device_.data() + offset; };
  step.tokens = reinterpret_cast<const std::int32_t*>(at(layout_.tokens));
  step.positions = reinterpret_cast<const std::int64_t*>(at(layout_.positions));
  step.seq = reinterpret_cast<const kernels::SeqRow*>(at(layout_.seq));
  step.taken = reinterpret_cast<const std::int32_t*>(at(layout_.taken));
  step.draws = reinterpret_cast<const kernels::SampleRow*>(at(layout_.draws));
  step.token = reinterpret_cast<std::int32_t*>(at(layout_.token));
  step.logprob = reinterpret_cast<float*>(at(layout_.logprob));
  step.top_logprobs = group.top_logprobs;
  const std::int64_t tops = step.sampled * step.top_logprobs;
  if (tops * 8 > host_tops_.size()) {
    host_tops_ = PinnedMemory(tops * 8, "top logprobs");
    device_tops_ = DeviceMemory(tops * 8, "top logprobs");
  }
  step.top_ids = tops == 0 ? nullptr : reinterpret_cast<std::int32_t*>(device_tops_.data());
  step.top_values = tops == 0 ? nullptr : reinterpret_cast<float*>(device_tops_.data()) + tops;
  copy_inputs(device_.data(), host_.data(), layout_.token, stream, cudaMemcpyHostToDevice);
  copy_inputs(device_tables_.data(), host_tables_.data(), used_, stream, cudaMemcpyHostToDevice);
}

void StepInputs::download(const Step& step, cudaStream_t stream) {
  copy_inputs(host_.data() + layout_.token, device_.data() + layout_.token,
              layout_.end - layout_.token, stream, cudaMemcpyDeviceToHost);
  copy_inputs(host_tops_.data(), device_tops_.data(), step.sampled * step.top_logprobs * 8, stream,
              cudaMemcpyDeviceToHost);
}

Sampled StepInputs::results(const Step& step) const {
  const auto* tokens = reinterpret_cast<const std::int32_t*>(host_.data() + layout_.token);
  const auto* logprobs = reinterpret_cast<const float*>(host_.data() + layout_.logprob);
  const std::int64_t tops = step.sampled * step.top_logprobs;
  Sampled results;
  results.tokens.assign(tokens, tokens + step.sampled);
  results.logprobs.assign(logprobs, logprobs + step.sampled);
  if (tops == 0) return results;
  const auto* ids = reinterpret_cast<const std::int32_t*>(host_tops_.data());
  const auto* values = reinterpret_cast<const float*>(host_tops_.data()) + tops;
  results.top_ids.assign(ids, ids + tops);
  results.top_logprobs.assign(values, values + tops);
  return results;
}

}  // namespace stepless
