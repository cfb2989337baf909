// stepless bench prompt: one long prompt, its first token and those behind it, for each way to keep
// keys and values.
#include <fmt/format.h>

#include <charconv>
#include <sstream>

#include "base/memory.hpp"
#include "cli/bench/engine_run.hpp"
#include "cli/bench/lists.hpp"
#include "cli/bench/model_bench.hpp"

namespace stepless::cli {
namespace {

constexpr const char* kVariants = "kv=16,kv=8,kv=4,kv=4 window=256";
constexpr std::int64_t kPrompt = 10049, kGen = 32;

std::int64_t number(const std::string& text, const std::string& variant) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0 || value >= kMostTokens)
    usage_error(fmt::format("--variants {}: \"{}\" is no count", variant, text));
  return value;
}

/// "kv=4 window=256": quantized from the first position on unless start= says otherwise.
KvOptions variant_of(const std::string& text) {
  KvOptions kv;
  kv.start = 0;
  std::istringstream in(text);
  for (std::string word; in >> word;) {
    const std::size_t is = word.find('=');
    const std::string name = word.substr(0, is);
    const std::int64_t value = is == std::string::npos ? -1 : number(word.substr(is + 1), text);
    if (name == "kv" && (value == 4 || value == 8 || value == 16))
      kv.bits = static_cast<int>(value);
    else if (name == "window" && value >= 0)
      kv.window = value;
    else if (name == "start" && value >= 0)
      kv.start = value;
    else if (name == "group" && (value == 32 || value == 64 || value == 128))
      kv.group_size = static_cast<int>(value);
    else
      usage_error(
          fmt::format("--variants {}: \"{}\"; kv=4|8|16, window=N, start=N, "
                      "group=32|64|128",
                      text, word));
  }
  if (!kv.quantized() && (kv.window > 0 || kv.start > 0 || kv.group_size > 0))
    usage_error(fmt::format("--variants {}: kv=16 is not quantized; kv=8 or kv=4", text));
  return kv;
}

struct Variant {
  std::string name;
  std::vector<double> first_s, rest_s;
  double peak_gb = 0, kv_gb = 0;
  StepFloor prompt, gen;
};

double kv_gb(const EngineStats& stats, const ModelInfo& info) {
  const auto gb = [](std::int64_t pages, std::int64_t per_token) {
    return static_cast<double>(pages * kKvPageTokens * per_token) / 1e9;
  };
  return gb(stats.kv_pages_peak, info.kv_bytes_per_token) +
         gb(stats.kv_packed_pages_peak, info.kv_packed_bytes_per_token);
}

class PromptBench {
 public:
  PromptBench(const BenchFlags& flags, std::int64_t prompt, std::int64_t gen)
      : flags_(flags), prompt_(prompt), gen_(gen), rows_(parse_list(flags.rows, "-ub")[0]) {}

  /// One sample. The model is opened for it: how keys and values are kept is a matter of opening.
  void sample(Variant& variant, const KvOptions& kv, std::uint64_t seed) {
    ModelFlags opened = opened_as(flags_);
    opened.model = flags_.model, opened.synthetic = flags_.synthetic;
    opened.threads =
        thread_count(parse_list(flags_.threads.empty() ? "0" : flags_.threads, "--threads")[0]);
    opened.prefill_step_size = rows_;
    opened.kv.options = kv;
    opened.kv.app = nullptr;  // the variant says it, no flag does
    reset_peak();
    const Model model = open_model(opened, flags_.output);
    if (prompt_ + gen_ + 1 > model.info().context)
      usage_error(
          fmt::format("--n-prompt {}: with {} drawn behind it, above the {} that {} was "
                      "trained with",
                      prompt_, gen_, model.info().context, model.info().name));
    gpu_ = model.info().device != "cpu" ? gpu_name(model) : "";
    if (gpu_.empty()) {
      BenchOptions options;
      options.threads = opened.threads, options.rounds = 3, options.max_isa = opened.max_isa;
      merge(ceilings_, measure_ceilings(options));
    }
    EngineOptions options;
    options.context = prompt_ + gen_ + 1, options.prefill_rows = rows_;
    EngineRun engine(model, options);
    const Told told = engine.run({{random_tokens(prompt_, model.info().vocab, seed), gen_ + 1}})[0];
    variant.first_s.push_back(told.at[0] - told.sent);
    variant.rest_s.push_back(told.at[static_cast<std::size_t>(gen_)] - told.at[0]);
    variant.peak_gb = std::max(variant.peak_gb, static_cast<double>(peak_resident_bytes()) / 1e9);
    variant.kv_gb = kv_gb(engine.stats(), model.info());
    variant.prompt = prompt_floor(model, 1, 0, prompt_, rows_, ceilings_);
    variant.gen = decode_floor(model, 1, prompt_, gen_, ceilings_);
  }

  OrderedJson row(const Variant& variant) const {
    std::vector<double> all;
    for (std::size_t i = 0; i < variant.first_s.size(); ++i)
      all.push_back((variant.first_s[i] + variant.rest_s[i]) * 1e6);
    const double first = summary_of(variant.first_s).median,
                 rest = summary_of(variant.rest_s).median;
    OrderedJson row = {{"variant", variant.name},
                       {"n_prompt", prompt_},
                       {"n_gen", gen_},
                       {"ttft_s", first},
                       {"prompt_ts", static_cast<double>(prompt_) / first},
                       {"gen_ts", static_cast<double>(gen_) / rest},
                       {"peak_gb", variant.peak_gb},
                       {"kv_gb", variant.kv_gb}};
    add_times(row, all, 0);
    row["gb_s"] = (variant.prompt.bytes + variant.gen.bytes) / row["us"].get<double>() / 1e3;
    row["floor_us"] = variant.prompt.us + variant.gen.us;
    row["prompt_floor_pct"] = variant.prompt.us / first / 1e4;
    row["gen_floor_pct"] = variant.gen.us / rest / 1e4;
    return row;
  }

  const Ceilings& ceilings() const { return ceilings_; }
  const std::string& gpu() const { return gpu_; }

 private:
  const BenchFlags& flags_;
  std::int64_t prompt_, gen_, rows_;
  std::string gpu_;
  Ceilings ceilings_;
};

std::int64_t one_count(const std::string& given, std::int64_t usual, const char* flag) {
  if (given.empty()) return usual;
  const std::vector<std::int64_t> all = parse_list(given, flag);
  if (all.size() != 1 || all[0] < 1 || all[0] >= kMostTokens)
    usage_error(fmt::format("{} {}: bench prompt takes one count from 1 on", flag, given));
  return all[0];
}

}  // namespace

BenchResult bench_prompt(const BenchFlags& flags) {
  if (flags.model.empty() && flags.synthetic.empty())
    usage_error("bench prompt: of what? -m MODEL or --synthetic SHAPE");
  PromptBench bench(flags, one_count(flags.prompt, kPrompt, "--n-prompt"),
                    one_count(flags.gen, kGen, "--n-gen"));
  std::vector<std::pair<Variant, KvOptions>> variants;
  for (const std::string& text : parts_of(flags.variants.empty() ? kVariants : flags.variants))
    variants.push_back({{text, {}, {}, 0, 0, {}, {}}, variant_of(text)});
  const int repeats = std::max(flags.repeats, 1);
  Progress bar("bench prompt", "runs", flags.output);
  std::int64_t done = 0;
  for (int repeat = 0; repeat < repeats; ++repeat)
    for (auto& [variant, kv] : variants) {
      bench.sample(variant, kv, static_cast<std::uint64_t>(repeat) + 1);
      bar.update(++done, repeats * std::ssize(variants));
    }
  bar.finish();
  BenchResult result;
  result.bench = "prompt";
  result.model = flags.model.empty() ? flags.synthetic : flags.model;
  result.key = {"variant", "n_prompt", "n_gen"};
  result.columns = {{"variant", "variant"},
                    {"ttft_s", "TTFT s", 3},
                    {"prompt_ts", "prompt t/s", 2},
                    {"gen_ts", "gen t/s", 2},
                    {"peak_gb", "peak GB", 3},
                    {"kv_gb", "KV GB", 3},
                    {"prompt_floor_pct", "% floor prompt", 1},
                    {"gen_floor_pct", "% floor gen", 1}};
  for (const auto& [variant, kv] : variants) result.rows.push_back(bench.row(variant));
  result.method = {
      {"repeats", repeats}, {"statistic", "median"}, {"interleaved", true}, {"tokens", "random"}};
  result.gpu = bench.gpu();
  if (result.gpu.empty())
    result.ceilings = ceilings_json(bench.ceilings());
  else
    result.report = {gpu_floor_note()};
  return result;
}

}  // namespace stepless::cli
