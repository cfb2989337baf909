// Prompt cache files: any bytes, and good files with bytes changed and the checksum set right
// again, so that what it guards is reached.
#include <cstring>

#include "base/fingerprint.hpp"
#include "format/dtype.hpp"
#include "fuzz/memory_file.hpp"
#include "ops/cpu/cpu_backend.hpp"
#include "runtime/prompt_cache.hpp"
#include "stepless/error.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/tiny_model.hpp"

namespace stepless::fuzz {
namespace {

using Bytes = std::vector<std::uint8_t>;

/// A tiny model, a backend with room for two pages, and a good file of 70 tokens: a page and some.
struct Bench {
  std::shared_ptr<const LoadedModel> model;
  std::unique_ptr<Backend> backend = make_cpu_backend(1);
  Bytes good;

  Bench() {
    LoadOptions options;
    options.machine = this_machine(1);
    options.machine.isas = {Isa::cpu};  // the file names the arithmetic: the same on all machines
    options.step_rows = 4;
    model = load_model(test::tiny_model().write("fuzz-cache"), options);
    backend->prepare(model->program);
    KvShape kv;
    kv.layers = model->program->kv_layers;
    kv.type = model->program->act;
    backend->allocate_kv(kv, 3);
    const std::vector<std::int32_t> tokens(70, 5), pages = {1};
    const std::string path = test::scratch_dir("fuzz-cache") + "/good.safetensors";
    write_prompt_cache(path, *model, *backend, tokens, pages);
    const SafetensorsFile file(path);
    const auto* data = reinterpret_cast<const std::uint8_t*>(file.file().data());
    good.assign(data, data + file.file().size());
  }
};

void open(const Bench& bench, Input bytes) {
  const MemoryFile file(bytes);
  try {
    const PromptCacheFile cache(file.path(), *bench.model);
    const auto count = static_cast<std::int64_t>(cache.tokens().size());
    require(count >= 1 && count <= bench.model->context, "there are tokens, within the context");
    require(cache.stored_tokens() <= count, "no more is stored than there are tokens");
    for (const std::int32_t token : cache.tokens())
      require(token >= 0 && token < bench.model->program->vocab, "tokens lie in the vocabulary");
    if (cache.pages() > 2) return;
    const std::vector<std::int32_t> room = {2, 1};
    cache.load(*bench.backend, std::span(room).first(static_cast<std::size_t>(cache.pages())));
  } catch (const Error&) {
  }
}

/// Sets the checksum to that of the tensors, in the order the format has them.
void mend_checksum(Bytes& bytes) {
  const MemoryFile memory(bytes);
  try {
    const SafetensorsFile file(memory.path());
    const auto there = file.metadata().find("checksum");
    if (there == file.metadata().end()) return;
    Fingerprint print;
    const auto add = [&](const std::string& name) {
      const TensorView* view = file.find(name);
      if (view != nullptr) print.add(view->data, bytes_of(view->shape, view->type, name));
      return view != nullptr;
    };
    add("tokens");
    for (int layer = 0; add("layers." + std::to_string(layer) + ".keys"); ++layer)
      add("layers." + std::to_string(layer) + ".values");
    const std::string wanted = print.text();
    const std::string_view all = text_of(bytes);
    const std::size_t at = all.find(there->second);
    if (at != std::string_view::npos && wanted.size() == there->second.size())
      std::memcpy(bytes.data() + at, wanted.data(), wanted.size());
  } catch (const Error&) {
  }
}

}  // namespace

void prompt_cache(Input input) {
  static const Bench bench;
  open(bench, input);
  // The same input as changes of a good file: where (two bytes) and what.
  Bytes changed = bench.good;
  for (std::size_t i = 0; i + 2 < input.size(); i += 3)
    changed[(input[i] + input[i + 1] * std::size_t{256}) % changed.size()] = input[i + 2];
  mend_checksum(changed);
  open(bench, changed);
}

}  // namespace stepless::fuzz
