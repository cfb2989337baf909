// stepless::Model: the public handle over a LoadedModel.
#include "stepless/model.hpp"

#include <ctime>
#include <map>

#include "api/chat_part.hpp"
#include "api/device.hpp"
#include "api/explain_model.hpp"
#include "api/int8_error.hpp"
#include "api/model_state.hpp"
#include "base/cpus.hpp"
#include "base/error.hpp"
#include "format/dtype.hpp"
#include "ops/backend.hpp"
#include "ops/plan_program.hpp"
#include "text/template_style.hpp"

namespace stepless {
namespace {

/// What the model is planned for: a machine by name, a GPU, or this computer.
Machine machine_of(const ModelOptions& options, int threads, const std::optional<Gpu>& gpu) {
  if (!options.machine.empty())
    return options.threads > 0 ? with_threads(open_machine(options.machine), options.threads)
                               : open_machine(options.machine);
  return gpu ? gpu_machine(*gpu) : this_machine(threads);
}

Overrides overrides_of(const ModelOptions& options) {
  Overrides overrides;
  if (!options.max_isa.empty()) overrides.max_isa = parse_isa(options.max_isa);
  overrides.kernel = options.kernel;
  overrides.fast_int8 = options.fast_int8;
  return overrides;
}

LoadOptions load_options(const ModelOptions& options, int threads, const std::optional<Gpu>& gpu) {
  LoadOptions load;
  if (options.act_dtype != "auto") load.act = parse_float_dtype(options.act_dtype, "act-dtype");
  load.machine = machine_of(options, threads, gpu);
  load.overrides = overrides_of(options);
  load.chat_template = options.chat_template;
  if (options.step_rows < 0)
    fail(ErrorCode::invalid_argument, "step rows: {}; 0 or more", options.step_rows);
  load.step_rows = options.step_rows > 0 ? options.step_rows : gpu ? 2048 : 512;
  load.kv = options.kv;
  return load;
}

std::string format_of(const Matrix& w) {
  if (!w.packed) return std::string(torch_name(w.type));
  return fmt::format("{} {}-bit g{}", to_string(w.spec.mode), w.spec.bits, w.spec.group_size);
}

ModelInfo describe(const LoadedModel& model) {
  const Program& program = *model.program;
  ModelInfo info;
  info.name = model.name;
  info.family = model.config.model_type();
  info.act_dtype = std::string(torch_name(program.act));
  info.layers = layer_count(program);
  info.hidden = model.config.integer_or("hidden_size", 0, 0, INT64_MAX);
  info.heads = model.config.integer_or("num_attention_heads", 0, 0, INT64_MAX);
  if (!program.kv_layers.empty()) {
    info.kv_heads = program.kv_layers[0].kv_heads;
    info.head_dim = program.kv_layers[0].k_dim;
  }
  info.vocab = program.vocab;
  info.context = model.context;
  std::map<std::string, std::int64_t> formats;
  std::int64_t matrix_bytes = 0, matrix_weights = 0;
  for (const Matrix& w : program.matrices) {
    matrix_weights += w.n * w.k * w.experts;
    matrix_bytes += w.bytes();
    ++formats[format_of(w)];
  }
  info.parameters = matrix_weights;
  for (const Vector& v : program.vectors) info.parameters += count_of(v.data.shape, v.name);
  info.weight_bytes = model.tensors.bytes();
  info.bits_per_weight = matrix_weights == 0 ? 0
                                             : 8.0 * static_cast<double>(matrix_bytes) /
                                                   static_cast<double>(matrix_weights);
  const KvShape kv = kv_shape(program);
  info.kv_bytes_per_token = kv.token_bytes();
  info.state_bytes_per_sequence = StateShape{program.state_layers}.slot_bytes();
  info.kv_packed_bytes_per_token = kv.packed_token_bytes();
  if (kv.packing)
    info.kv_format = fmt::format("{} {}-bit g{}", to_string(kv.packing->mode), kv.packing->bits,
                                 kv.packing->group_size);
  info.step_rows = program.max_rows;
  info.step_bytes = program.arena_bytes + workspace_bytes(program);
  for (const auto& [format, count] : formats)
    info.formats.push_back(
        fmt::format("{}: {} {}", format, count, count == 1 ? "matrix" : "matrices"));
  info.has_template = model.chat_template.has_value();
  if (info.has_template) {
    info.tool_style = tool_style(model.text.chat_template);
    info.reasoning_style = reasoning_style(model.text.chat_template);
  }
  info.has_tokenizer = model.tokenizer.has_value();
  for (const std::string& note : model.tensors.notes()) info.notes += note + "\n";
  return info;
}

Model make(std::shared_ptr<const LoadedModel> loaded, int threads, const ModelOptions& options,
           const std::optional<Gpu>& gpu) {
  auto state = std::make_shared<Model::State>();
  state->info = describe(*loaded);
  state->loaded = std::move(loaded);
  state->threads = threads;
  if (gpu) state->gpu = gpu->index;
  state->info.device = gpu ? fmt::format("cuda:{}", gpu->index) : "cpu";
  state->uploading = options.uploading;
  state->foreign = !options.machine.empty();
  if (options.fast_int8 && !state->foreign)
    state->info.fast_int8 = measure_int8(*state->loaded, overrides_of(options));
  return Model(std::move(state));
}

/// A model for another machine runs nowhere here.
std::optional<Gpu> gpu_for(const ModelOptions& options) {
  return options.machine.empty() ? choose_gpu(options) : std::nullopt;
}

int threads_of(const ModelOptions& options) {
  if (options.threads < 0)
    fail(ErrorCode::invalid_argument, "threads: {}; 0 or more", options.threads);
  return options.threads > 0 ? options.threads : physical_cores();
}

const Tokenizer& tokenizer_of(const Model::State& state) {
  if (!state.loaded->tokenizer)
    fail(ErrorCode::unsupported, "{}: has no tokenizer; give token ids", state.info.name);
  return *state.loaded->tokenizer;
}

/// What the template sees: the model's special tokens, the caller's variables, the conversation.
struct ChatInput {
  OrderedJson variables = OrderedJson::object();
  std::vector<std::string> from_user;  // names of the caller's variables
};

ChatInput chat_input(const LoadedModel& model, const std::string& messages,
                     const std::string& variables, bool generation_prompt) {
  ChatInput input;
  for (const auto& [name, token] : {std::pair{"bos_token", &model.text.bos_token},
                                    std::pair{"eos_token", &model.text.eos_token},
                                    std::pair{"pad_token", &model.text.pad_token},
                                    std::pair{"unk_token", &model.text.unk_token}})
    if (!token->empty()) input.variables[name] = *token;
  if (!variables.empty()) {
    const OrderedJson extra = parse_ordered_json(variables, "chat template variables");
    if (!extra.is_object())
      fail(ErrorCode::invalid_argument, "chat template variables: not a JSON object");
    for (const auto& [key, value] : extra.items()) {
      input.variables[key] = value;
      input.from_user.push_back(key);
    }
  }
  input.variables["messages"] = parse_ordered_json(messages, "messages");
  input.variables["add_generation_prompt"] = generation_prompt;
  return input;
}

/// Local wall-clock time as templates show it.
std::int64_t local_now() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  return static_cast<std::int64_t>(now) + local.tm_gmtoff;
}

const ChatTemplate& template_of(const Model::State& state) {
  if (!state.loaded->chat_template)
    fail(ErrorCode::unsupported,
         "{}: has no chat template; --use-default-chat-template (ChatML) or --ignore-chat-template",
         state.info.name);
  return *state.loaded->chat_template;
}

std::vector<TextRun> render_runs(const Model::State& state, const ChatInput& input) {
  return template_of(state).render_runs(input.variables, local_now(), input.from_user);
}

std::vector<std::int32_t> encode_runs(const Model::State& state, const std::vector<TextRun>& runs) {
  std::vector<TextSegment> segments;
  for (const TextRun& run : runs)
    segments.push_back({run.text, run.from_user ? SpecialTokens::as_text : SpecialTokens::parse});
  return tokenizer_of(state).encode_segments(segments);
}

}  // namespace

Model Model::open(const std::string& folder, const ModelOptions& options) {
  const int threads = threads_of(options);
  const std::optional<Gpu> gpu = gpu_for(options);
  return make(load_model(folder, load_options(options, threads, gpu)), threads, options, gpu);
}

Model Model::synthetic(const std::string& shape, const ModelOptions& options) {
  const int threads = threads_of(options);
  const std::optional<Gpu> gpu = gpu_for(options);
  return make(synthetic_model(shape, load_options(options, threads, gpu)), threads, options, gpu);
}

const ModelInfo& Model::info() const { return state_->info; }

std::vector<std::int32_t> Model::encode(const std::string& text, bool parse_special,
                                        bool add_special) const {
  const Tokenizer& tokenizer = tokenizer_of(*state_);
  if (add_special) return tokenizer.encode_with_template(text);
  return tokenizer.encode(text, parse_special ? SpecialTokens::parse : SpecialTokens::as_text);
}

std::string Model::decode(const std::vector<std::int32_t>& ids, bool skip_special) const {
  return tokenizer_of(*state_).decode(ids, skip_special);
}

std::int32_t Model::token_id(const std::string& token) const {
  return tokenizer_of(*state_).id_of(token).value_or(-1);
}

std::string Model::render_chat(const std::string& messages, const std::string& variables,
                               bool generation_prompt) const {
  const ChatInput input = chat_input(*state_->loaded, messages, variables, generation_prompt);
  return template_of(*state_).render(input.variables, local_now());
}

std::vector<std::int32_t> Model::encode_chat(const std::string& messages,
                                             const std::string& variables,
                                             bool generation_prompt) const {
  const ChatInput input = chat_input(*state_->loaded, messages, variables, generation_prompt);
  return encode_runs(*state_, render_runs(*state_, input));
}

std::vector<std::int32_t> Model::encode_chat_part(const std::string& messages,
                                                  const std::string& variables,
                                                  ChatPart part) const {
  ChatInput input =
      chat_input(*state_->loaded, messages, variables, part == ChatPart::from_content);
  Marked conversation;
  conversation.runs = render_runs(*state_, input);
  conversation.content = mark_last_content(input.variables["messages"]);
  conversation.marked = render_runs(*state_, input);
  return encode_runs(*state_, cut_runs(conversation, part));
}

const std::vector<std::int32_t>& Model::eos_ids() const { return state_->loaded->eos_ids; }

std::string Model::explain(std::int64_t batch, std::int64_t context, std::int64_t prompt,
                           const std::string& phase, int layer, bool json,
                           const MeasuredModel* measured) const {
  return explain_model(*state_->loaded, {batch, context, prompt, phase, layer, json, measured});
}

std::string chatml_template() { return std::string(default_chat_template()); }

}  // namespace stepless
