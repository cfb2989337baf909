// stepless cache-prompt: computes a prompt once and writes its tokens, keys and values to a file,
// for generate --prompt-cache-file to continue.
#include <fmt/format.h>

#include <condition_variable>
#include <iostream>
#include <mutex>
#include <optional>

#include "base/error.hpp"
#include "base/json.hpp"
#include "cli/cli.hpp"
#include "cli/generate_input.hpp"
#include "cli/private_file.hpp"
#include "cli/terminal.hpp"
#include "stepless/engine.hpp"

namespace stepless::cli {
namespace {

struct CachePromptFlags {
  GenerateFlags prompt;  // the parts that concern a prompt
  std::string file;
};

/// How far the engine's thread is, told to this one.
class Watch {
 public:
  void take(const Event& event) {
    const std::lock_guard lock(mutex_);
    last_ = event;
    changed_.notify_one();
  }
  /// The last event, after it or after a while without one, so that signals are seen.
  Event wait() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(50));
    return last_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  Event last_;
};

/// Computes the prompt. The one token drawn from it is not kept. False: interrupted.
bool compute(Engine& engine, const std::vector<std::int32_t>& tokens, const OutputFlags& output) {
  Request request;
  request.tokens = tokens;
  request.max_tokens = 1;
  Watch watch;
  Progress bar("prefill", "tok", output);
  const auto total = static_cast<std::int64_t>(tokens.size());
  const std::int64_t id =
      engine.submit(std::move(request), [&watch](const Event& event) { watch.take(event); });
  for (;;) {
    if (pending_signal() != 0) engine.cancel(id);
    const Event event = watch.wait();
    if (event.kind == Event::Kind::prefill && event.prompt_done < total)
      bar.update(event.prompt_done, total);
    if (event.kind != Event::Kind::finished) continue;
    bar.finish();
    engine.wait_idle();
    if (event.reason == FinishReason::failed) throw Error(ErrorCode::internal, event.error);
    return event.reason != FinishReason::cancelled;
  }
}

void save(Engine& engine, const std::vector<std::int32_t>& tokens, const std::string& file) {
  try {
    engine.save_prompt_cache(tokens, file);
  } catch (const Error& error) {
    // A full disk is no lack of memory.
    throw ExitError(Exit::failed, error.code(), error.what());
  }
}

void report(const CachePromptFlags& flags, const PromptCache& cache, const EngineStats& stats) {
  const auto count = static_cast<std::int64_t>(cache.tokens().size());
  const auto bytes = static_cast<std::int64_t>(std::filesystem::file_size(flags.file));
  const OutputFlags& output = flags.prompt.output;
  if (const auto indent = json_indent(output)) {
    const OrderedJson json = {{"file", flags.file},
                              {"bytes", bytes},
                              {"tokens", count},
                              {"stored_tokens", cache.stored_tokens()},
                              {"timings", {{"prompt_seconds", stats.prefill_seconds}}}};
    std::cout << json.dump(*indent, ' ', false, OrderedJson::error_handler_t::replace) << "\n";
  } else {
    std::cout << fmt::format("{}: {} tokens, {} of them computed, {:.2f} MB\n", flags.file, count,
                             cache.stored_tokens(), static_cast<double>(bytes) / 1e6);
  }
  if (output.quiet) return;
  std::cerr << fmt::format(
      "Prompt: {} tokens, {:.1f} tokens-per-sec\nPeak memory: {}\n", stats.prompt_tokens,
      static_cast<double>(stats.prompt_tokens) / std::max(stats.prefill_seconds, 1e-9),
      peak_memory_text());
}

Exit run(const CachePromptFlags& flags) {
  const std::optional<std::string> place = replaceable_file(flags.file);
  if (!place)
    usage_error("--prompt-cache-file " + flags.file +
                ": neither a file nor free; a name for the file to write");
  const Model model = open_model(flags.prompt.model, flags.prompt.output);
  if (model.info().state_bytes_per_sequence > 0)
    throw ExitError(Exit::usage, ErrorCode::unsupported,
                    "cache-prompt: " + model.info().name +
                        " keeps a recurrent state, which prompt caches do not hold");
  const std::vector<std::int32_t> tokens = cached_prompt_tokens(flags.prompt, model);
  EngineOptions options;
  options.context = flags.prompt.model.ctx_size;
  if (options.context == 0)
    options.context = std::min(static_cast<std::int64_t>(tokens.size()) + 1, model.info().context);
  if (!flags.prompt.model.kv_cache_bytes.empty())
    options.kv_bytes = parse_bytes(flags.prompt.model.kv_cache_bytes, "--kv-cache-bytes");
  options.prefill_rows = flags.prompt.model.prefill_step_size;
  Engine engine(model, options);
  install_signal_handlers();
  if (!compute(engine, tokens, flags.prompt.output)) {
    std::cerr << "interrupted\n";
    return pending_signal() == 15 ? Exit::terminated : Exit::interrupted;
  }
  save(engine, tokens, *place);
  // Read back as generate will read it: what is said of the file is what is in it.
  report(flags, PromptCache::open(flags.file, model), engine.stats());
  return Exit::done;
}

}  // namespace

Run attach_cache_prompt(CLI::App& app) {
  auto flags = std::make_shared<CachePromptFlags>();
  constexpr const char* kGroup = "Prompt";
  CLI::Option* prompt = app.add_option("-p,--prompt", flags->prompt.prompt, "text; - reads stdin");
  prompt->group(kGroup);
  app.add_option("-f,--prompt-file", flags->prompt.prompt_file, "read the prompt from a file")
      ->type_name("FILE")
      ->excludes(prompt)
      ->group(kGroup);
  app.add_option("--system-prompt", flags->prompt.answer.system_prompt,
                 "a system message before it")
      ->group(kGroup);
  app.add_option("--prompt-cache-file", flags->file, "the file to write")->group(kGroup);
  add_model_flags(app, flags->prompt.model);
  add_output_flags(app, flags->prompt.output);
  return [flags, &app] {
    if (flags->file.empty()) usage_error("--prompt-cache-file: none given; the file to write");
    if (app.count("--prompt") + app.count("--prompt-file") == 0)
      usage_error("--prompt: none given; a text, -, or --prompt-file");
    const KvOptions kv = kv_options_of(flags->prompt.model.kv);
    for (const auto& [given, flag] :
         {std::pair{kv.bits != 16, "--kv-bits"}, std::pair{kv.max_size > 0, "--max-kv-size"}})
      if (given)
        throw ExitError(Exit::usage, ErrorCode::unsupported,
                        std::string(flag) +
                            ": prompt caches hold every page as the activations are; leave it out");
    return run(*flags);
  };
}

}  // namespace stepless::cli
