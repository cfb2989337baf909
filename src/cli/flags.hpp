// Flags that several commands have, declared once: help, environment names and the config file come
// from here.
#pragma once
#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/log.hpp"
#include "cli/values.hpp"
#include "stepless/engine.hpp"
#include "stepless/model.hpp"

namespace stepless::cli {

/// The group of --help that kv_flags.cc and flags.cc fill together.
inline constexpr const char* kMemoryGroup = "Memory";
inline constexpr const char* kMaxIsaHelp =
    "use no instruction set beyond: cpu, avx2, avxvnni, avx512, avx512vnni, avx512bf16, "
    "avx512vbmi, amx; neon, neondot, neonbf16";

struct OutputFlags {
  bool json = false, jsonl = false, quiet = false, no_progress = false, progress = false;
  std::string color = "auto";
  LogFlags log;
};
/// `quiet`: the names of that flag; convert has another -q.
void add_output_flags(CLI::App& app, OutputFlags& flags, const char* quiet = "-q,--quiet");
/// JSON as --json (indented) or --jsonl (one line) want it; nothing when neither is given.
std::optional<int> json_indent(const OutputFlags& flags);

/// How keys and values are kept (kv_flags.cc).
struct KvFlags {
  KvOptions options;
  std::string ctk, ctv;
  const CLI::App* app = nullptr;  // whose flags these are
};
void add_kv_flags(CLI::App& app, KvFlags& flags);
/// The options with -ctk and -ctv read. Throws Error (usage) when flags contradict each other.
KvOptions kv_options_of(const KvFlags& flags);

struct ModelFlags {
  std::string model, synthetic, device = "auto", act_dtype = "auto", max_isa, kernel;
  std::string chat_template, chat_template_file, chat_template_config, models_dir;
  bool fast_int8 = false, default_template = false, ignore_template = false,
       trust_remote_code = false;
  int threads = 0;
  std::int64_t tensor_parallel = 1, ctx_size = 0, prefill_step_size = 0;
  std::string kv_cache_bytes;
  KvFlags kv;
};
/// The model and what runs it; its memory; and both with the chat template.
void add_device_flags(CLI::App& app, ModelFlags& flags, const char* model_names = "--model");
void add_memory_flags(CLI::App& app, ModelFlags& flags);
void add_model_flags(CLI::App& app, ModelFlags& flags);
/// --device and --tensor-parallel, as far as they can be judged without a model. Throws Error
/// (usage).
void check_device(const ModelFlags& flags);
/// Finds and opens the model. Throws Error with the exit code of its kind.
/// A bar shows how its weights go to a GPU, where `output` wants bars.
Model open_model(const ModelFlags& flags, const OutputFlags& output,
                 const std::string& machine = "");
struct DraftFlags {
  std::string model;
  std::int64_t prompt_lookup = 0;
  std::optional<std::int64_t> tokens;
};
void add_draft_flags(CLI::App& app, DraftFlags& flags);
/// Opens the draft model as `model` was, and sets what the engine is told. Throws Error: what
/// open_model throws, or flags that contradict.
void set_drafts(const DraftFlags& flags, const ModelFlags& model, const OutputFlags& output,
                EngineOptions& options);

struct SamplingFlags {
  SamplingParams params;
  std::vector<std::string> logit_bias;  // ID:B
  std::optional<std::uint64_t> seed;
};
void add_sampling_flags(CLI::App& app, SamplingFlags& flags);
/// The parameters with logit biases parsed; the seed is set by the caller.
SamplingParams sampling_of(const SamplingFlags& flags);
/// What only a vocabulary can tell: ids and counts of tokens. Throws Error (usage) naming the flag.
void check_vocabulary(const SamplingParams& params, std::int64_t vocab);

}  // namespace stepless::cli
