// A checkpoint opened into an immutable Model: mapped tensors, config, tokenizer, template and the
// planned Program.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dispatch/select.hpp"
#include "format/tensor_map.hpp"
#include "model/config.hpp"
#include "ops/program.hpp"
#include "stepless/kv.hpp"
#include "text/chat_template.hpp"
#include "text/tokenizer.hpp"

namespace stepless {

struct LoadOptions {
  std::optional<DType> act;  // none: the checkpoint's float type
  Machine machine;
  Overrides overrides;
  std::string chat_template;  // empty: the checkpoint's
  std::int64_t step_rows = 256;
  KvOptions kv = {};
};

/// What tokenizer_config.json says beside the tokenizer: the template and the special tokens by
/// role.
struct TextConfig {
  std::string chat_template, bos_token, eos_token, pad_token, unk_token;
};

struct LoadedModel {
  std::string name;
  Config config;
  TensorMap tensors;
  Machine machine;
  std::shared_ptr<const Program> program;
  std::optional<Tokenizer> tokenizer;
  std::optional<ChatTemplate> chat_template;
  TextConfig text;
  std::vector<TokenId> eos_ids;
  std::vector<TokenId> newline_ids;  // with the stop tokens exempt from XTC, as in mlx-lm
  std::int64_t context = 0;
  KvOptions kv;  // as asked for; Program::kv_packing says the group that was chosen
};

/// Throws Error: not_found, corrupt, unsupported.
std::shared_ptr<const LoadedModel> load_model(const std::string& folder,
                                              const LoadOptions& options);

/// Random 4-bit g64 weights of a known shape, with scales of f16 where activations are to be of it.
/// Throws Error: not_found, exhausted.
std::shared_ptr<const LoadedModel> synthetic_model(const std::string& shape,
                                                   const LoadOptions& options);

/// tokenizer_config.json, chat_template.jinja; absent files leave fields empty. Throws Error
/// (corrupt).
TextConfig read_text_config(const std::string& folder);

}  // namespace stepless
