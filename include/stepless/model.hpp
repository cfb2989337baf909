// A model: a checkpoint folder in MLX format, opened, checked and planned for this machine.
// Immutable and cheap to copy (a shared handle); any number of engines may use one at the same
// time.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "stepless/kv.hpp"
#include "stepless/tensor.hpp"

namespace stepless {

struct ModelOptions {
  /// Type of activations and of the 16-bit KV cache: "auto" (the checkpoint's float type),
  /// "float32", "float16", "bfloat16".
  std::string act_dtype = "auto";
  /// What runs it: "cpu", "cuda:i" (the i-th GPU of the driver's list; "cuda" is the first), or
  /// "auto": the first GPU that can, unless max_isa, kernel or fast_int8 ask for one of the CPU's.
  std::string device = "auto";
  /// Threads of the team that will run it; 0: the physical cores this process may use.
  int threads = 0;
  /// Planner wishes (see explain): an ISA not to go beyond, a kernel by name. An illegal one is an
  /// error with the reason.
  std::string max_isa, kernel;
  bool fast_int8 = false;
  /// A machine of `explain --machine`; empty: this one. A model planned for another machine can
  /// only be explained.
  std::string machine;
  /// The chat template's source; empty: the checkpoint's own.
  std::string chat_template;
  /// Rows of the largest step (prompt tokens computed together); 0: 2048 on a GPU, 512 on a CPU.
  std::int64_t step_rows = 0;
  /// How keys and values are kept.
  KvOptions kv = {};
  /// Told how many bytes of the weights have been sent to the GPU, each time an engine is made for
  /// the model there; on a CPU never.
  std::function<void(std::int64_t done, std::int64_t total)> uploading = {};
};

struct ModelInfo {
  std::string name, family, act_dtype;
  std::string device;  // "cpu" or "cuda:i"
  std::int64_t layers = 0, hidden = 0, heads = 0, kv_heads = 0, head_dim = 0, vocab = 0,
               context = 0;
  std::int64_t parameters = 0;    // decoded weights; a tied head counts once
  std::int64_t weight_bytes = 0;  // of all tensors
  double bits_per_weight = 0;
  std::int64_t kv_bytes_per_token = 0;         // as the activations
  std::int64_t step_rows = 0;                  // of the largest step
  std::int64_t kv_packed_bytes_per_token = 0;  // quantized, as ModelOptions::kv asks; 0: never
  std::string kv_format;                       // e.g. "affine 4-bit g64"; empty: never quantized
  std::int64_t state_bytes_per_sequence = 0;   // of recurrent layers; 0: none
  std::int64_t step_bytes = 0;                 // activations and workspace of the largest step
  std::vector<std::string> formats;            // e.g. "affine 4-bit g64: 43 matrices"
  bool has_template = false, has_tokenizer = false;
  /// As the template writes them. Tools: hermes, qwen3-coder, mistral, llama3, none; reasoning:
  /// think, none.
  std::string tool_style = "none", reasoning_style = "none";
  std::string notes;  // what is odd but no error, a line each
  /// With ModelOptions::fast_int8: the measured error of products and which weights stay exact, in
  /// words; else empty. A model planned for another machine has none.
  std::string fast_int8;
};

/// What encode_chat_part() returns of a rendered conversation: all up to the end of the last
/// message's content, as a prompt cache holds it; or all from that content on, as it is appended to
/// one.
enum class ChatPart { until_content_ends, from_content };

/// What explain() sets beside its predictions. A product is found by its sizes and format; whole
/// steps are 0 when they were not measured.
struct MeasuredProduct {
  std::int64_t m = 0, n = 0, k = 0;
  std::string format;      // "qmm affine b4 g64 bf16"
  std::vector<double> us;  // by round
};
struct MeasuredModel {
  std::vector<MeasuredProduct> products;
  double decode_us = 0, prefill_us = 0;
};

/// One message or tool list for the chat template is JSON, as OpenAI's API has it.
class Model {
 public:
  struct State;
  /// `folder` holds config.json, *.safetensors, tokenizer.json. Throws Error: not_found, corrupt
  /// (which file and field), unsupported (a family or tokenizer that is not there yet, by name),
  /// exhausted.
  static Model open(const std::string& folder, const ModelOptions& options = {});
  /// Random weights of a known shape in memory, 4-bit g64: "qwen3-0.6b", "llama-3.2-3b",
  /// "qwen3-4b". It has no tokenizer. Throws Error: not_found (lists the names), exhausted with the
  /// bytes when memory is short.
  static Model synthetic(const std::string& shape, const ModelOptions& options = {});

  const ModelInfo& info() const;

  // --- text; each throws Error (unsupported) when the model has no tokenizer ---
  /// Ids of a text. Special tokens written in it count only if `parse_special`; with `add_special`
  /// the tokenizer's own frame (e.g. a leading BOS) is added.
  std::vector<std::int32_t> encode(const std::string& text, bool parse_special,
                                   bool add_special) const;
  std::string decode(const std::vector<std::int32_t>& ids, bool skip_special) const;
  std::int32_t token_id(const std::string& token) const;  // -1: no such token
  /// The chat template over `messages` (a JSON array) and further variables (a JSON object, or ""),
  /// as text and as ids. User text never becomes a special token.
  std::string render_chat(const std::string& messages, const std::string& variables,
                          bool generation_prompt) const;
  std::vector<std::int32_t> encode_chat(const std::string& messages, const std::string& variables,
                                        bool generation_prompt) const;
  /// A part of it. Throws Error (unsupported) when what the template writes around the last
  /// message's content depends on that content.
  std::vector<std::int32_t> encode_chat_part(const std::string& messages,
                                             const std::string& variables, ChatPart part) const;
  const std::vector<std::int32_t>& eos_ids() const;

  /// The planned program as text or JSON: a line per operation, equal layers folded (conventions:
  /// explain). `measured`: times to put beside the predictions.
  std::string explain(std::int64_t batch, std::int64_t context, std::int64_t prompt,
                      const std::string& phase, int layer, bool json,
                      const MeasuredModel* measured = nullptr) const;

  const std::shared_ptr<const State>& state() const { return state_; }
  explicit Model(std::shared_ptr<const State> state) : state_(std::move(state)) {}

 private:
  std::shared_ptr<const State> state_;
};

/// ChatML, for models that bring no template.
std::string chatml_template();

}  // namespace stepless
