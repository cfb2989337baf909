#include "runtime/forward.hpp"

#include <algorithm>

#include "base/checked.hpp"

namespace stepless {

namespace {
constexpr std::int32_t kStateSlot = 1;  // recurrent state of the one sequence
}  // namespace

Forward::Forward(std::shared_ptr<const LoadedModel> model, std::unique_ptr<Backend> backend,
                 std::int64_t context)
    : model_(std::move(model)), backend_(std::move(backend)), context_(context) {
  backend_->prepare(model_->program);
  if (const StateShape state{model_->program->state_layers}; !state.layers.empty())
    backend_->allocate_state(state, kStateSlot);
  const KvShape kv = kv_shape(*model_->program);
  layout_ = KvLayout::of(kv, model_->kv);
  const KvPages need = layout_.need(context, model_->program->max_rows);
  const KvPages pages = {need.plain + 1, layout_.packs ? need.packed + 1 : 0};
  backend_->allocate_kv(kv, pages);
  pool_ = KvPool(pages.plain);
  packed_pool_ = KvPool(pages.packed);
  reset();
}

void Forward::reset() {
  position_ = 0;
  pages_.close(pool_, packed_pool_);
  pages_.open(layout_, context_, pool_.allocate(pool_.size()),
              packed_pool_.allocate(packed_pool_.size()));
}

std::vector<float> Forward::append(std::span<const std::int32_t> tokens, std::int64_t last) {
  const auto count = static_cast<std::int64_t>(tokens.size());
  const Program& program = *model_->program;
  if (position_ + count > context_)
    fail(ErrorCode::invalid_argument, "{} + {} tokens; the context is {}", position_, count,
         context_);
  if (last < 0 || last > count)
    fail(ErrorCode::invalid_argument, "logits of {} tokens asked for; {} were given", last, count);
  for (const std::int32_t token : tokens)
    if (token < 0 || token >= program.vocab)
      fail(ErrorCode::invalid_argument, "token {}; ids are from 0 to {}", token, program.vocab - 1);
  std::vector<float> logits(static_cast<std::size_t>(last * program.vocab));
  const kernels::SampleRow greedy = [] {
    kernels::SampleRow row{};
    row.min_tokens_to_keep = 1;
    return row;
  }();
  std::int64_t written = 0;
  for (std::int64_t done = 0; done < count;) {
    RowGroup group;
    const std::int64_t most = std::min(program.max_rows, count - done);
    std::int64_t taken = 0;
    for (; taken < most; ++taken) {
      const bool wanted = done + taken >= count - last;
      if (wanted && static_cast<std::int64_t>(group.sampled.size()) == program.max_sampled) break;
      group.tokens.push_back(tokens[static_cast<std::size_t>(done + taken)]);
      const std::int64_t position = position_ + done + taken;
      pages_.make_ready(layout_, position, 1);
      group.seq.push_back(pages_.row(layout_, position));
      group.seq.back().state_in = position == 0 ? 0 : kStateSlot;
      group.seq.back().state_out = kStateSlot;
      if (!wanted) continue;
      group.sampled.push_back(static_cast<std::int32_t>(taken));
      group.sampling.push_back(greedy);
    }
    group.logits = logits.data() + written * program.vocab;
    backend_->collect(backend_->launch(group));
    written += static_cast<std::int64_t>(group.sampled.size());
    pages_.retire(layout_, position_ + done + taken);
    done += taken;
  }
  position_ += count;
  return logits;
}

}  // namespace stepless
