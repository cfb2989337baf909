// Text generation: any number of requests run as one batch. The bits of a token depend on its own
// request alone.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stepless/model.hpp"
#include "stepless/prompt_cache.hpp"

namespace stepless {

/// mlx-lm's sampling: penalties, log-softmax, top_p, min_p, xtc, top_k, then a draw at logprob /
/// temperature.
struct SamplingParams {
  float temperature = 0;  // 0: the best token, ties to the lower id
  float top_p = 1, min_p = 0, xtc_probability = 0, xtc_threshold = 0.1f;
  std::int32_t top_k = 0, min_tokens_to_keep = 1;
  float repetition_penalty = 0, presence_penalty = 0, frequency_penalty = 0;  // 0: off
  std::int32_t repetition_context = 20, presence_context = 20, frequency_context = 20;
  std::vector<std::pair<std::int32_t, float>> logit_bias;
  std::uint64_t seed = 0;  // same seed, build and device: the same text in any batch
};

struct Request {
  std::vector<std::int32_t> tokens;  // the prompt; at least one
  SamplingParams sampling;
  std::int64_t max_tokens = 100;  // 0: until the context ends
  std::vector<std::string> stop;  // texts that end the answer; cut from it
  std::vector<std::int32_t> extra_eos;
  bool ignore_eos = false;
  std::int32_t logprobs = 0;  // best alternatives to report per token
};

enum class FinishReason { none, stop, length, cancelled, failed };
/// "stop", "length", ...
std::string_view to_string(FinishReason reason);

struct TokenLogprobs {
  float chosen = 0;
  std::vector<std::pair<std::int32_t, float>> top;  // best first
};

/// What happened to a request. Events of one request come in order, from the engine's thread:
/// return soon, throw nothing.
struct Event {
  enum class Kind { prefill, token, finished } kind = Kind::token;
  std::int64_t prompt_done = 0, prompt_total = 0;  // prefill
  std::int64_t cached_tokens = 0;  // prefill, finished: prompt tokens that were not computed again
  std::int32_t token = -1;         // token; the stop token itself is not reported
  std::string text;  // text this event releases (also with finished: what was held back)
  TokenLogprobs logprobs;
  FinishReason reason = FinishReason::none;  // finished
  std::string error;                         // finished with FinishReason::failed
  std::int64_t drafted = 0, accepted = 0;    // finished: draft tokens tried, and right
};

inline constexpr std::int64_t kMostDraftTokens = 16;

struct EngineOptions {
  std::int64_t context = 0;  // longest sequence; 0: the model's. Above it: Error
  std::int64_t kv_bytes =
      0;  // KV pages; 0: enough for `sequences` full ones, at most 90 % of free memory
  /// How many are expected at once; sizes the page pool, and bounds how many run at once where
  /// layers are recurrent.
  std::int64_t sequences = 1;
  std::int64_t prefill_rows = 0;  // prompt tokens per step; 0: the model's step_rows
  /// Whole KV pages of prompts and answers serve later requests that begin with exactly the same
  /// tokens, until their memory is needed. Changes no bit on CPUs; of GPUs docs/prefix-reuse.md
  /// tells. Off beside a draft model.
  bool prefix_reuse = true;

  // --- drafts: tokens guessed ahead and checked together. They change speed, never a byte. ---
  std::optional<Model> draft_model;  // a smaller model that guesses; it must have the same tokens
  std::int64_t prompt_lookup = 0;  // or guess that a text repeats itself, going by its last tokens,
                                   // so many at most; 0: off
  std::int64_t draft_tokens = 3;   // guesses per step and sequence, up to kMostDraftTokens
};

struct EngineStats {
  std::int64_t prompt_tokens = 0;  // computed; those found in the cache are cached_tokens
  std::int64_t cached_tokens = 0, generated_tokens = 0, steps = 0;
  double prefill_seconds = 0,
         decode_seconds = 0;  // time in steps that hold prompt rows; in steps that hold none
  // KV pages of 64 positions: all, reserved now, the most reserved at once; plain ones, and packed
  // ones of a quantized cache. kv_bytes: both together.
  std::int64_t kv_pages = 0, kv_pages_used = 0, kv_pages_peak = 0;
  std::int64_t kv_packed_pages = 0, kv_packed_pages_used = 0, kv_packed_pages_peak = 0;
  std::int64_t kv_bytes = 0;
  std::int64_t kv_pages_cached = 0;  // held for later requests alone; given up when needed
  /// Recurrent state beside the pages: slots there are and slots in use; 0 for models without.
  std::int64_t state_slots = 0, state_slots_used = 0, state_bytes = 0;
  double floor_us_per_token =
      0;  // predicted floor of the steps without prompt rows, drafts included, per token drawn
  std::int64_t drafted = 0, accepted = 0;  // draft tokens tried, and right
  std::array<std::int64_t, kMostDraftTokens> drafted_at{}, accepted_at{};  // by place in the draft
  std::string draft_note;  // why some request went without drafts, or all; "": none did
};

class Engine {
 public:
  using Listener = std::function<void(const Event&)>;
  struct Submission {
    Request request;
    Listener listener;
  };

  /// Starts the engine's thread. Throws Error: exhausted (weights, step or pages do not fit, the
  /// draft model's included, with the bytes), invalid_argument (also: another vocabulary).
  Engine(const Model& model, const EngineOptions& options = {});
  ~Engine();  // cancels what still runs
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Queues a request and returns its number. Throws Error (invalid_argument): empty prompt, id
  /// beyond the vocabulary, prompt beyond the context or the page pool (with both counts),
  /// parameters out of range.
  std::int64_t submit(Request request, Listener listener);
  /// Queues them together: no step begins between two of them, however late this thread is. All or,
  /// with the same errors, none.
  std::vector<std::int64_t> submit(std::vector<Submission> together);
  /// The request ends at the next step boundary with FinishReason::cancelled. Unknown and finished
  /// numbers: nothing.
  void cancel(std::int64_t id);
  /// Returns when every submitted request has finished.
  void wait_idle();
  EngineStats stats() const;

  /// Takes the pages of a file in: prompts that begin with its tokens do not compute them again,
  /// until their memory is needed. Throws Error: invalid_argument (another model's cache, one that
  /// fills the context, no prefix reuse), exhausted (more pages than the pool has free), corrupt
  /// (cut meanwhile).
  void load_prompt_cache(const PromptCache& cache);
  /// Writes a prompt that a request has just computed, readable by the owner alone; the whole file
  /// or none. Throws Error: invalid_argument (no prefix reuse, not computed or given up since),
  /// exhausted (the disk).
  void save_prompt_cache(const std::vector<std::int32_t>& tokens, const std::string& path);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace stepless
