// What the benches of a model share: how it is opened, what a row says of it, cells of the table.
#pragma once
#include <string>
#include <vector>

#include "cli/bench/bench.hpp"
#include "cli/flags.hpp"

namespace stepless::cli {

/// The flags of bench that open_model() reads, without a model.
ModelFlags opened_as(const BenchFlags& flags);
/// Throws Error (usage) unless it is from 0 (the physical cores allowed) to 1024.
int thread_count(std::int64_t threads);
/// Of the device that a model runs on, which is a GPU.
std::string gpu_name(const Model& model);
/// Where the floors of a GPU come from.
std::string gpu_floor_note();

/// llama-bench's keys about build, machine and model.
OrderedJson model_columns(const Model& model, const ModelFlags& flags);
/// avg_ns, stddev_ns, avg_ts, stddev_ts, samples_ns, samples_ts: of so many tokens per sample.
void add_rates(OrderedJson& row, const std::vector<double>& us, std::int64_t tokens);
/// 2026-11-28T15:04:05Z
std::string now_text();

/// Cells: 335.83 MiB, 596.05 M, 34.12 ± 0.40 (~ when noisy), pp512.
std::string size_text(const OrderedJson& row);
std::string params_text(const OrderedJson& row);
std::string rate_text(const OrderedJson& row);
std::string test_text(const OrderedJson& row);

}  // namespace stepless::cli
