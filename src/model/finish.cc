#include "model/finish.hpp"

#include <algorithm>

#include "ops/fuse.hpp"
#include "ops/pack_kv.hpp"
#include "ops/place.hpp"
#include "ops/plan_program.hpp"

namespace stepless {
namespace {

/// Rows of one step whose next token may be drawn at once; the logits of each take vocabulary x 4
/// bytes.
constexpr std::int64_t kMostSampled = 64;

}  // namespace

void finish_model(LoadedModel& model, const Family& family, WeightSource& weights, DType float_type,
                  const LoadOptions& options) {
  const Config& config = model.config;
  Builder builder(weights, options.act.value_or(float_type),
                  config.integer("vocab_size", 1, std::int64_t{1} << 26));
  family.build(builder, config);
  Program program = pack_kv(fuse(builder.finish()), options.kv);
  program = place(std::move(program), options.step_rows, std::min(options.step_rows, kMostSampled));
  plan_program(program, options.machine, options.overrides);
  model.context = config.integer_or("max_position_embeddings", 32768, 1, std::int64_t{1} << 40);
  model.machine = options.machine;
  model.kv = options.kv;
  model.program = std::make_shared<const Program>(std::move(program));
}

}  // namespace stepless
