// stepless info: what this build and machine have, or what a model is.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iostream>

#include "base/json.hpp"
#include "base/memory.hpp"
#include "base/placement.hpp"
#include "cli/cli.hpp"
#include "cli/flags.hpp"
#include "cli/settings.hpp"
#include "cli/version.hpp"
#include "stepless/plan.hpp"

namespace stepless::cli {
namespace {

constexpr std::int64_t kShort = 512;

struct InfoFlags {
  ModelFlags model;
  OutputFlags output;
};

std::string gigabytes(std::int64_t bytes) {
  return fmt::format("{:.3f} GB", static_cast<double>(bytes) / 1e9);
}

OrderedJson gpus_json() {
  OrderedJson list = OrderedJson::array();
  for (const GpuName& gpu : gpus())
    list.push_back(
        {{"name", gpu.name},
         {"memory_bytes", gpu.memory_bytes},
         {"unusable", gpu.unusable.empty() ? OrderedJson() : OrderedJson(gpu.unusable)}});
  return list;
}

/// Parts of Stepless that this build or machine lacks, and why.
OrderedJson off_json() {
  OrderedJson off = OrderedJson::object();
  if (gpus().empty()) off["cuda"] = why_no_gpu_here();
  for (const char* part : {"nccl", "mpi", "grammar"}) off[part] = "not built yet";
  return off;
}

std::string size_text(std::int64_t bytes) {
  const bool large = bytes >= (1 << 20) && bytes % (1 << 20) == 0;
  return large ? fmt::format("{} MiB", bytes >> 20) : fmt::format("{} KiB", bytes >> 10);
}

/// L1d 32 KiB (0-1), L2 512 KiB (0-1)
std::string caches_text() {
  std::string text;
  for (const CpuCache& cache : cpu_caches()) {
    const char* kind = cache.type == "Data" ? "d" : cache.type == "Instruction" ? "i" : "";
    text += fmt::format("{}L{}{} {} of CPUs {}", text.empty() ? "" : ", ", cache.level, kind,
                        size_text(cache.bytes), cache.shared_by);
  }
  return text.empty() ? "not told by this kernel" : text;
}

std::string placement_text() {
  const Placement here = placement();
  if (here.cpus.empty()) return "not told by this kernel";
  return fmt::format("CPUs {}, NUMA nodes {}", here.cpus, here.nodes.empty() ? "-" : here.nodes);
}

OrderedJson caches_json() {
  OrderedJson all = OrderedJson::array();
  for (const CpuCache& cache : cpu_caches())
    all.push_back({{"level", cache.level},
                   {"type", cache.type},
                   {"bytes", cache.bytes},
                   {"shared_by", cache.shared_by}});
  return all;
}

OrderedJson machine_json() {
  const Placement here = placement();
  return {{"version", version_json()},
          {"cpu", cpu_name()},
          {"cores", usable_cores()},
          {"cpus", usable_cpus()},
          {"caches", caches_json()},
          {"placement", {{"cpus", here.cpus}, {"nodes", here.nodes}}},
          {"memory_available_bytes", available_memory_bytes()},
          {"isas_usable", usable_isas()},
          {"isas_built", built_isas()},
          {"gpus", gpus_json()},
          {"off", off_json()}};
}

void print_machine() {
  std::cout << version_text() << "\n"
            << "machine  " << cpu_name() << ", " << usable_cores() << " cores, " << usable_cpus()
            << " CPUs for this process, " << gigabytes(available_memory_bytes()) << " free\n"
            << "caches   " << caches_text() << "\n"
            << "placed   " << placement_text() << "\n"
            << "kernels  "
            << fmt::format("{} (built: {})", fmt::join(usable_isas(), " "),
                           fmt::join(built_isas(), " "))
            << "\n";
  const std::vector<GpuName> all = gpus();
  for (std::size_t i = 0; i < all.size(); ++i)
    std::cout << fmt::format("gpu      cuda:{} {}, {}{}\n", i, all[i].name,
                             gigabytes(all[i].memory_bytes),
                             all[i].unusable.empty() ? "" : "; cannot be used: " + all[i].unusable);
  if (all.empty()) std::cout << "off      cuda: " << why_no_gpu_here() << "\n";
  std::cout << "off      nccl, mpi, grammar: not built yet\n";
}

/// What is left for keys and values beside the model: 90 % of the rest, or --kv-cache-bytes.
std::int64_t room_tokens(const ModelInfo& i, const ModelFlags& flags) {
  const std::int64_t free =
      available_memory_bytes() - i.weight_bytes - i.step_bytes - i.state_bytes_per_sequence;
  std::int64_t room = std::max<std::int64_t>(free, 0) / 10 * 9;
  if (!flags.kv_cache_bytes.empty())
    room = std::min(room, parse_bytes(flags.kv_cache_bytes, "--kv-cache-bytes"));
  return room / std::max<std::int64_t>(i.kv_bytes_per_token, 1);
}

/// One sequence, as long as --ctx-size asks; else of 512 tokens.
bool fits(const ModelInfo& i, const ModelFlags& flags) {
  const std::int64_t length = flags.ctx_size > 0 ? flags.ctx_size : std::min(i.context, kShort);
  return room_tokens(i, flags) >= length;
}

OrderedJson model_json(const ModelInfo& i, const ModelFlags& flags) {
  return {{"name", i.name},
          {"family", i.family},
          {"act_dtype", i.act_dtype},
          {"layers", i.layers},
          {"hidden", i.hidden},
          {"heads", i.heads},
          {"kv_heads", i.kv_heads},
          {"head_dim", i.head_dim},
          {"vocab", i.vocab},
          {"context", i.context},
          {"parameters", i.parameters},
          {"weight_bytes", i.weight_bytes},
          {"bits_per_weight", i.bits_per_weight},
          {"kv_bytes_per_token", i.kv_bytes_per_token},
          {"state_bytes_per_sequence", i.state_bytes_per_sequence},
          {"kv_packed_bytes_per_token", i.kv_packed_bytes_per_token},
          {"kv_format", i.kv_format},
          {"step_bytes", i.step_bytes},
          {"formats", i.formats},
          {"chat_template", i.has_template},
          {"tool_style", i.tool_style},
          {"reasoning_style", i.reasoning_style},
          {"kv_room_tokens", room_tokens(i, flags)},
          {"fits", fits(i, flags)}};
}

void print_model(const ModelInfo& i, const ModelFlags& flags) {
  const std::int64_t tokens = room_tokens(i, flags);  // first: what is wrong with a flag shows
  std::cout << fmt::format("model    {}: {}, {:.1f} M parameters, {:.2f} bits per weight, {}\n",
                           i.name, i.family, static_cast<double>(i.parameters) / 1e6,
                           i.bits_per_weight, gigabytes(i.weight_bytes));
  std::cout << fmt::format(
      "shape    {} layers, width {}, {} heads, {} KV heads of {}, vocabulary {}, context {}\n",
      i.layers, i.hidden, i.heads, i.kv_heads, i.head_dim, i.vocab, i.context);
  for (const std::string& format : i.formats) std::cout << "format   " << format << "\n";
  const std::string packed =
      i.kv_format.empty() ? ""
                          : fmt::format(", {} as {}", i.kv_packed_bytes_per_token, i.kv_format);
  std::cout << fmt::format("act      {}; KV {} bytes per token{}; a step takes {}\n", i.act_dtype,
                           i.kv_bytes_per_token, packed, gigabytes(i.step_bytes));
  if (i.state_bytes_per_sequence > 0)
    std::cout << fmt::format("state    {} bytes per sequence, at any length\n",
                             i.state_bytes_per_sequence);
  std::cout << (fits(i, flags)
                    ? fmt::format("memory   fits; room for {} tokens of KV\n", tokens)
                    : fmt::format("memory   does not fit: {} are free, room for {} tokens of KV\n",
                                  gigabytes(available_memory_bytes()), tokens));
  std::cout << "template "
            << (i.has_template ? "its own"
                               : "none; --use-default-chat-template or --ignore-chat-template")
            << fmt::format("; tool calls {}, reasoning {}\n", i.tool_style, i.reasoning_style);
  if (!i.notes.empty()) std::cerr << i.notes;
}

/// The machine is told as it is: what says how a model is run would be ignored.
void refuse_model_flags(const CLI::App& app) {
  for (const CLI::Option* option : app.get_options())
    if (option->get_group() != "Output" && option->get_group() != "Settings" && is_typed(*option))
      usage_error(option->get_name() + ": tells how a model is run; give --model, too");
}

}  // namespace

Run attach_info(CLI::App& app) {
  auto flags = std::make_shared<InfoFlags>();
  add_model_flags(app, flags->model);
  add_output_flags(app, flags->output);
  return [flags, &app] {
    if (flags->model.model.empty() && flags->model.synthetic.empty()) {
      refuse_model_flags(app);
      if (const auto indent = json_indent(flags->output))
        std::cout << machine_json().dump(*indent) << "\n";
      else
        print_machine();
      return Exit::done;
    }
    const Model model = open_model(flags->model, flags->output);
    if (const auto indent = json_indent(flags->output))
      std::cout << model_json(model.info(), flags->model).dump(*indent) << "\n";
    else
      print_model(model.info(), flags->model);
    return Exit::done;
  };
}

}  // namespace stepless::cli
