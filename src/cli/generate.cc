// stepless generate: one prompt streamed as it is written, or a file of prompts as one batch.
#include <fmt/format.h>

#include <iostream>

#include "base/error.hpp"
#include "cli/answer.hpp"
#include "cli/cli.hpp"
#include "cli/generate_input.hpp"
#include "cli/terminal.hpp"
#include "stepless/engine.hpp"

namespace stepless::cli {
namespace {

/// What the keys and values took at most, where they are not simply all kept.
std::string kv_text(const EngineStats& stats, const ModelInfo& info) {
  if (stats.kv_packed_pages == 0) return "";
  const auto bytes = [](std::int64_t pages, std::int64_t per_token) {
    return static_cast<double>(pages * kKvPageTokens * per_token) / 1e6;
  };
  return fmt::format(
      "KV cache: {:.3f} MB in {} ({} bytes per token), {:.3f} MB in {} ({} bytes per token)\n",
      bytes(stats.kv_pages_peak, info.kv_bytes_per_token), info.act_dtype, info.kv_bytes_per_token,
      bytes(stats.kv_packed_pages_peak, info.kv_packed_bytes_per_token), info.kv_format,
      info.kv_packed_bytes_per_token);
}

class Generation {
 public:
  Generation(const GenerateFlags& flags, const Model& model, std::optional<PromptCache> cache)
      : flags_(flags),
        model_(model),
        cache_(std::move(cache)),
        prompts_(read_prompts(flags, model, cache_)),
        answers_(prompts_.size()) {}

  Exit run();

 private:
  void submit(Engine& engine);
  void collect(Engine& engine);
  void take(std::size_t index, const Event& event);
  void print_event(std::size_t index, const Event& event);
  void print_results(const EngineStats& stats) const;
  void print_stats(const EngineStats& stats) const;
  bool streaming() const {
    return prompts_.size() == 1 && !flags_.output.json && !flags_.output.jsonl;
  }

  const GenerateFlags& flags_;
  const Model& model_;
  std::optional<PromptCache> cache_;
  std::vector<Prompt> prompts_;
  std::vector<Answer> answers_;
  std::vector<std::int64_t> ids_;
  Inbox inbox_;
  std::size_t finished_ = 0;
  std::int64_t prompt_tokens_ = 0;
  bool drafting_ = false;
};

void Generation::submit(Engine& engine) {
  std::vector<Engine::Submission> all;
  for (std::size_t i = 0; i < prompts_.size(); ++i) {
    prompt_tokens_ += static_cast<std::int64_t>(prompts_[i].request.tokens.size());
    all.push_back({prompts_[i].request, [this, i](const Event& event) { inbox_.put(i, event); }});
  }
  ids_ = engine.submit(std::move(all));
}

void Generation::print_event(std::size_t index, const Event& event) {
  if (streaming() && !model_.info().has_tokenizer) {
    if (event.kind == Event::Kind::token) std::cout << event.token << ' ' << std::flush;
  } else if (streaming()) {
    std::cout << printable(event.text) << std::flush;
  } else if (flags_.output.jsonl && event.kind == Event::Kind::token) {
    OrderedJson line = token_json(event, prompts_[index].request.logprobs > 0);
    if (prompts_.size() > 1) line["index"] = index;
    std::cout << one_line(line) << "\n" << std::flush;
  }
}

void Generation::take(std::size_t index, const Event& event) {
  answers_[index].add(event, prompts_[index].request.logprobs > 0);
  if (event.kind == Event::Kind::finished) {
    ++finished_;
    log_answer(index, prompts_[index].request, answers_[index]);
  }
  print_event(index, event);
}

void Generation::collect(Engine& engine) {
  Progress bar("prefill", "tok", flags_.output);
  bool cancelled = false;
  while (finished_ < prompts_.size()) {
    // Nobody reads on, or the disk is full: what follows would be computed for nothing.
    if ((pending_signal() != 0 || !std::cout) && !cancelled) {
      for (const std::int64_t id : ids_) engine.cancel(id);
      cancelled = true;
    }
    std::size_t index = 0;
    Event event;
    if (!inbox_.take(index, event)) continue;
    take(index, event);
    std::int64_t done = 0;
    for (const Answer& answer : answers_) done += answer.prompt_done;
    if (done < prompt_tokens_)
      bar.update(done, prompt_tokens_);
    else
      bar.finish();
  }
}

void Generation::print_results(const EngineStats& stats) const {
  if (streaming()) {
    std::cout << "\n";
  } else if (flags_.output.json || flags_.output.jsonl) {
    for (std::size_t i = 0; i < prompts_.size(); ++i)
      std::cout << one_line(answer_json(prompts_[i].request, answers_[i], stats)) << "\n";
  } else {
    for (std::size_t i = 0; i < prompts_.size(); ++i)
      std::cout << (i == 0 ? "" : "\n") << "--- " << i << " ---\n"
                << printable(answers_[i].text) << "\n";
  }
  std::cout << std::flush;
}

void Generation::print_stats(const EngineStats& stats) const {
  if (flags_.output.quiet || !flags_.answer.verbose) return;
  std::string out;
  if (streaming()) out += "==========\n";
  out +=
      fmt::format("Prompt: {} tokens, {:.1f} tokens-per-sec\n", stats.prompt_tokens,
                  static_cast<double>(stats.prompt_tokens) / std::max(stats.prefill_seconds, 1e-9));
  if (stats.cached_tokens > 0) out += fmt::format("Cached: {} tokens\n", stats.cached_tokens);
  // Each prompt's first token falls out of its prefill.
  const std::int64_t decoded = std::max<std::int64_t>(
      stats.generated_tokens - static_cast<std::int64_t>(prompts_.size()), 0);
  const double rate = static_cast<double>(decoded) / std::max(stats.decode_seconds, 1e-9);
  out += fmt::format("Generation: {} tokens, {:.1f} tokens-per-sec\n", stats.generated_tokens,
                     decoded > 0 ? rate : 0.0);
  out += "Peak memory: " + peak_memory_text() + "\n";
  out += kv_text(stats, model_.info());
  std::string floor;
  if (decoded > 0 && stats.floor_us_per_token > 0)
    floor = fmt::format("Floor: {:.1f} us/token, {:.1f} % reached", stats.floor_us_per_token,
                        stats.floor_us_per_token * rate / 1e4);
  if (drafting_)
    floor += fmt::format("{}draft {}/{} accepted", floor.empty() ? "" : "; ", stats.accepted,
                         stats.drafted);
  if (!floor.empty()) out += floor + "\n";
  if (!stats.draft_note.empty()) out += "note: drafts: " + stats.draft_note + "\n";
  std::cerr << out;
}

Exit Generation::run() {
  EngineOptions options;
  options.sequences = static_cast<std::int64_t>(prompts_.size());
  options.context = longest_sequence(flags_, model_, prompts_);
  if (!flags_.model.kv_cache_bytes.empty())
    options.kv_bytes = parse_bytes(flags_.model.kv_cache_bytes, "--kv-cache-bytes");
  options.prefill_rows = flags_.model.prefill_step_size;
  apply(flags_.cache, options);
  set_drafts(flags_.draft, flags_.model, flags_.output, options);
  drafting_ = options.draft_model.has_value() || options.prompt_lookup > 0;
  Engine engine(model_, options);
  if (cache_) engine.load_prompt_cache(*cache_);
  install_signal_handlers();
  if (streaming() && flags_.answer.verbose && !flags_.output.quiet) std::cerr << "==========\n";
  submit(engine);
  collect(engine);
  engine.wait_idle();  // the last step's figures are in once the engine rests
  const EngineStats stats = engine.stats();
  print_results(stats);
  print_stats(stats);
  for (const Answer& answer : answers_)
    if (!answer.error.empty()) throw Error(ErrorCode::internal, answer.error);
  if (pending_signal() == 0) return Exit::done;
  std::cerr << "interrupted\n";
  return pending_signal() == 15 ? Exit::terminated : Exit::interrupted;
}

}  // namespace

Run attach_generate(CLI::App& app) {
  auto flags = std::make_shared<GenerateFlags>();
  add_generate_flags(app, *flags);
  return [flags] {
    sampling_of(flags->sampling);  // what is wrong with the flags shows before the model loads
    if (!flags->cache.file.empty() && !flags->draft.model.empty())
      usage_error(
          "--prompt-cache-file and --draft-model: beside a draft model no prompt is reused; give "
          "one of them, or --prompt-lookup N for drafts");
    const Model model = open_model(flags->model, flags->output);
    return Generation(*flags, model, open_prompt_cache(flags->cache, model)).run();
  };
}

}  // namespace stepless::cli
