// One launch of a sampler of the roll call, on the CPU or carried to a GPU.
#pragma once
#include <gtest/gtest.h>

#include <cstring>
#include <span>
#include <vector>

#include "tests/support/device.hpp"
#include "tests/support/guard.hpp"

namespace stepless::test {

struct Sampled {
  std::vector<std::int32_t> token;
  std::vector<float> logprob;
  std::vector<std::int32_t> top_ids;
  std::vector<float> top_logprobs;
};

/// Rows of one length, and what each asks for.
struct SampleRun {
  const std::vector<std::vector<float>>& rows;
  const std::vector<kernels::SampleRow>& params;
  std::int64_t top_stride = 0;

  std::int64_t m() const { return std::ssize(rows); }
  std::int64_t vocab() const { return std::ssize(rows[0]); }
  kernels::SampleArgs args() const {
    kernels::SampleArgs args = {};
    args.rows = m();
    args.vocab = args.stride = vocab();
    args.params = params.data();
    args.top_stride = top_stride;
    return args;
  }
  std::int64_t workspace_bytes() const { return m() * kernels::sample_workspace_bytes(vocab()); }
};

/// Poisoned outputs, a workspace that ends at a forbidden page.
inline Sampled run_on_cpu(const Kernel& kernel, const SampleRun& run) {
  Guarded logits(run.m() * run.vocab() * 4), workspace(run.workspace_bytes());
  for (std::size_t i = 0; i < run.rows.size(); ++i)
    std::memcpy(logits.data() + std::ssize(run.rows[i]) * 4 * static_cast<std::int64_t>(i),
                run.rows[i].data(), run.rows[i].size() * 4);
  const auto tops = static_cast<std::size_t>(run.m() * run.top_stride);
  Sampled out = {std::vector<std::int32_t>(run.rows.size(), -77),
                 std::vector<float>(run.rows.size(), 77), std::vector<std::int32_t>(tops, -77),
                 std::vector<float>(tops, 77)};
  kernels::SampleArgs args = run.args();
  args.logits = reinterpret_cast<const float*>(logits.data());
  args.token = out.token.data();
  args.logprob = out.logprob.data();
  args.top_ids = tops > 0 ? out.top_ids.data() : nullptr;
  args.top_logprobs = out.top_logprobs.data();
  args.workspace = workspace.data();
  kernel.entry->run(&args, {0, run.m()});
  EXPECT_TRUE(workspace.surroundings_intact());
  return out;
}

template <class T>
Bytes bytes_of(std::span<const T> values) {
  const auto* begin = reinterpret_cast<const std::uint8_t*>(values.data());
  return {begin, begin + values.size_bytes()};
}
template <class T>
std::vector<T> values_from(const Bytes& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

/// What the parameters point to goes along. `early`: as on a GPU where a launch starts early.
inline Sampled run_on_gpu(const Kernel& kernel, const SampleRun& run, bool early = true) {
  DeviceArrays device;
  const auto put = [&]<class T>(const T* from, std::int64_t count) {
    return reinterpret_cast<T*>(
        device.put(bytes_of(std::span<const T>(from, static_cast<std::size_t>(count)))));
  };
  const auto poisoned = [&](std::int64_t bytes) {
    return device.put(Bytes(static_cast<std::size_t>(bytes), 0xff));
  };
  std::vector<kernels::SampleRow> params = run.params;
  for (kernels::SampleRow& row : params) {
    row.history = put(row.history, row.history_size);
    row.bias_ids = put(row.bias_ids, row.bias_count);
    row.bias_values = put(row.bias_values, row.bias_count);
    row.xtc_exempt = put(row.xtc_exempt, row.xtc_exempt_count);
  }
  std::vector<float> logits;
  for (const auto& row : run.rows) logits.insert(logits.end(), row.begin(), row.end());
  const std::int64_t m = run.m(), tops = m * run.top_stride;
  kernels::SampleArgs args = run.args();
  args.logits = put(logits.data(), std::ssize(logits));
  args.params = put(params.data(), m);
  std::uint8_t *const token = poisoned(m * 4), *const logprob = poisoned(m * 4);
  std::uint8_t *const top_ids = poisoned(tops * 4), *const top_logprobs = poisoned(tops * 4);
  args.token = reinterpret_cast<std::int32_t*>(token);
  args.logprob = reinterpret_cast<float*>(logprob);
  args.top_ids = tops > 0 ? reinterpret_cast<std::int32_t*>(top_ids) : nullptr;
  args.top_logprobs = reinterpret_cast<float*>(top_logprobs);
  args.workspace = poisoned(run.workspace_bytes());
  device.run(0, [&](kernels::CudaContext context) {
    context.early_start = early;
    return kernel.device->launch(&args, context);
  });
  return {values_from<std::int32_t>(device.get(token, m * 4)),
          values_from<float>(device.get(logprob, m * 4)),
          values_from<std::int32_t>(device.get(top_ids, tops * 4)),
          values_from<float>(device.get(top_logprobs, tops * 4))};
}

/// Bit for bit: the logprob of what was not drawn is a NaN.
inline bool same_bits(const Sampled& a, const Sampled& b) {
  const auto bits = [](const std::vector<float>& values) { return bytes_of(std::span(values)); };
  return a.token == b.token && a.top_ids == b.top_ids && bits(a.logprob) == bits(b.logprob) &&
         bits(a.top_logprobs) == bits(b.top_logprobs);
}

inline Sampled run_sampler(const Kernel& kernel, const SampleRun& run) {
  return kernel.device != nullptr ? run_on_gpu(kernel, run) : run_on_cpu(kernel, run);
}

}  // namespace stepless::test
