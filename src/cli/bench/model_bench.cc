#include "cli/bench/model_bench.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <cmath>
#include <ctime>
#include <numeric>

#include "cli/version.hpp"
#include "stepless/plan.hpp"

namespace stepless::cli {
namespace {

constexpr double kMi = 1024.0 * 1024, kGi = 1024 * kMi;

/// llama.cpp's words for how keys and values are kept.
std::string cache_type(const Model& model, const ModelFlags& flags) {
  const KvOptions kv = kv_options_of(flags.kv);
  if (!kv.quantized()) return model.info().act_dtype;
  return kv.bits == 8 ? "q8_0" : "q4_0";
}

}  // namespace

ModelFlags opened_as(const BenchFlags& flags) {
  ModelFlags model;
  model.models_dir = flags.models_dir, model.device = flags.device;
  model.act_dtype = flags.act_dtype, model.max_isa = flags.max_isa;
  model.kv = flags.kv;
  return model;
}

int thread_count(std::int64_t threads) {
  if (threads < 0 || threads > 1024)
    usage_error(fmt::format("--threads {}: from 0 to 1024", threads));
  return static_cast<int>(threads);
}

std::string gpu_name(const Model& model) {
  const std::string& device = model.info().device;  // cuda:i
  const std::size_t colon = device.find(':');
  const std::size_t at = colon == std::string::npos ? 0 : std::stoul(device.substr(colon + 1));
  const std::vector<GpuName> all = gpus();
  return at < all.size() ? all[at].name : device;
}

std::string gpu_floor_note() {
  return "floors: by the rates that this GPU's kind is known for (machines.inc), not by ceilings "
         "of this run";
}

OrderedJson model_columns(const Model& model, const ModelFlags& flags) {
  const ModelInfo& info = model.info();
  const bool gpu = info.device != "cpu";
  const OrderedJson build = version_json();
  const int threads = flags.threads == 0 ? usable_cores() : flags.threads;
  return {{"build_commit", build["commit"]},
          {"build_number", build["build"]},
          {"cpu_info", cpu_name()},
          {"gpu_info", gpu ? gpu_name(model) : ""},
          {"backends", gpu ? "CUDA" : "CPU"},
          {"model_filename", flags.synthetic.empty() ? flags.model : flags.synthetic},
          {"model_type", info.name},
          {"model_size", info.weight_bytes},
          {"model_n_params", info.parameters},
          {"n_threads", threads},
          {"n_gpu_layers", gpu ? 99 : 0},
          {"type_k", cache_type(model, flags)},
          {"type_v", cache_type(model, flags)},
          {"act_dtype", info.act_dtype},
          {"flash_attn", true},
          {"use_mmap", true}};
}

void add_rates(OrderedJson& row, const std::vector<double>& us, std::int64_t tokens) {
  std::vector<double> ns, rates;
  for (const double each : us) {
    ns.push_back(each * 1e3);
    rates.push_back(static_cast<double>(tokens) * 1e6 / each);
  }
  const auto average = [](const std::vector<double>& all) {
    return std::accumulate(all.begin(), all.end(), 0.0) / static_cast<double>(all.size());
  };
  const auto deviation = [&](const std::vector<double>& all) {
    const double middle = average(all);
    double sum = 0;
    for (const double each : all) sum += (each - middle) * (each - middle);
    return all.size() < 2 ? 0 : std::sqrt(sum / static_cast<double>(all.size() - 1));
  };
  row["avg_ns"] = average(ns), row["stddev_ns"] = deviation(ns);
  row["avg_ts"] = average(rates), row["stddev_ts"] = deviation(rates);
  row["samples_ns"] = ns, row["samples_ts"] = rates;
}

std::string now_text() {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
}

std::string size_text(const OrderedJson& row) {
  const auto bytes = row["model_size"].get<double>();
  return bytes < kGi ? fmt::format("{:.2f} MiB", bytes / kMi)
                     : fmt::format("{:.2f} GiB", bytes / kGi);
}

std::string params_text(const OrderedJson& row) {
  const auto count = row["model_n_params"].get<double>();
  return count < 1e9 ? fmt::format("{:.2f} M", count / 1e6) : fmt::format("{:.2f} B", count / 1e9);
}

std::string rate_text(const OrderedJson& row) {
  return fmt::format("{}{:.2f} ± {:.2f}", row.value("noisy", false) ? "~" : "",
                     row["avg_ts"].get<double>(), row["stddev_ts"].get<double>());
}

std::string test_text(const OrderedJson& row) { return row["test"].get<std::string>(); }

}  // namespace stepless::cli
