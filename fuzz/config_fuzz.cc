// config.json and generation_config.json of a checkpoint whose tensors are fine: what opens can be
// run, as far as memory allows.
#include <fstream>

#include "fuzz/targets.hpp"
#include "ops/cpu/cpu_backend.hpp"
#include "ops/plan_program.hpp"
#include "runtime/forward.hpp"
#include "stepless/error.hpp"
#include "tests/support/tiny_model.hpp"

namespace stepless::fuzz {
namespace {

constexpr std::int64_t kMostBytes = 64 << 20;  // of one step; what takes more is only opened

struct Checkpoints {
  std::string dense = test::tiny_model({DType::f32, {}, false}).write("fuzz-dense");
  std::string packed =
      test::tiny_model({DType::bf16, QuantSpec{Mode::affine, 4, 64}}).write("fuzz-packed");
};

void write(const std::string& path, std::string_view text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

void open(const std::string& folder, std::string_view config, std::string_view generation) {
  static const Machine machine = this_machine(1);
  write(folder + "/config.json", config);
  write(folder + "/generation_config.json", generation.empty() ? "{}" : generation);
  LoadOptions options;
  options.machine = machine;
  options.step_rows = 4;
  const auto model = load_model(folder, options);
  const Program& program = *model->program;
  require(program.vocab >= 1 && model->context >= 1, "a model has a vocabulary and a context");
  for (std::size_t i = 1; i < model->eos_ids.size(); ++i)
    require(model->eos_ids[i - 1] < model->eos_ids[i], "stop tokens ascend");
  if (program.arena_bytes + workspace_bytes(program) > kMostBytes) return;
  Forward forward(model, make_cpu_backend(1), 8);
  const std::int32_t last = static_cast<std::int32_t>(program.vocab - 1);
  require(std::ssize(forward.append(std::vector<std::int32_t>{0, last, 1 % (last + 1)}, 2)) ==
              2 * program.vocab,
          "a step gives logits");
}

}  // namespace

void config(Input input) {
  static const Checkpoints checkpoints;
  const auto [first, second] = halves_of(input);
  for (const std::string& folder : {checkpoints.dense, checkpoints.packed}) {
    try {
      open(folder, first, second);
    } catch (const Error&) {
    }
  }
}

}  // namespace stepless::fuzz
