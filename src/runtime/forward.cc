#include "runtime/forward.hpp"

#include <algorithm>

#include "base/checked.hpp"
#include "ops/plan_program.hpp"

namespace stepless {

Forward::Forward(std::shared_ptr<const LoadedModel> model, std::unique_ptr<Backend> backend,
                 std::int64_t context, std::int64_t sequences)
    : model_(std::move(model)),
      backend_(std::move(backend)),
      sequences_(static_cast<std::size_t>(sequences)),
      context_(context) {
  const Program& program = *model_->program;
  const KvShape kv = kv_shape(program);
  layout_ = KvLayout::of(kv, model_->kv);
  const KvPages each = layout_.need(context, program.max_rows);
  const auto all_of = [&](std::int64_t pages) {  // page 0 belongs to nobody
    return checked_add(checked_mul(pages, sequences, "KV pages"), 1, "KV pages");
  };
  const KvPages all{all_of(each.plain), layout_.packs ? all_of(each.packed) : 0};
  const std::int64_t kv_bytes =
      checked_add(checked_mul(kv.page_bytes(), all.plain, "KV cache"),
                  checked_mul(kv.packed_page_bytes(), all.packed, "KV cache"), "KV cache");
  const StateShape state{program.state_layers};
  const std::int64_t step_bytes =
      checked_add(program.arena_bytes + workspace_bytes(program),
                  checked_mul(state.slot_bytes(), sequences, "recurrent state"), "recurrent state");
  if (const std::int64_t free = backend_->free_bytes(); kv_bytes > free - step_bytes)
    fail(ErrorCode::exhausted,
         "a step and its state take {} bytes, the KV cache of {} x {} positions {}; {} are free",
         step_bytes, sequences, context, kv_bytes, free);
  backend_->prepare(model_->program);
  if (!state.layers.empty()) backend_->allocate_state(state, sequences);
  backend_->allocate_kv(kv, all);
  pool_ = KvPool(all.plain);
  packed_pool_ = KvPool(all.packed);
  reset();
}

void Forward::reset() {
  const KvPages each = layout_.need(context_, model_->program->max_rows);
  for (Sequence& sequence : sequences_) {
    sequence.pages.close(pool_, packed_pool_);
    sequence.pages.open(layout_, context_, pool_.allocate(each.plain),
                        packed_pool_.allocate(each.packed));
    sequence.position = 0;
  }
}

std::int64_t Forward::most_rows() const {
  return std::min(model_->program->max_rows, model_->program->max_sampled);
}

void Forward::add_row(RowGroup& group, const ForwardRow& row, bool wanted) {
  Sequence& sequence = sequences_[static_cast<std::size_t>(row.sequence)];
  const auto slot = static_cast<std::int32_t>(row.sequence + 1);  // of recurrent state
  group.tokens.push_back(row.token);
  sequence.pages.make_ready(layout_, sequence.position, 1);
  kernels::SeqRow& seq = group.seq.emplace_back(sequence.pages.row(layout_, sequence.position));
  seq.state_in = sequence.position == 0 ? 0 : slot;
  seq.state_out = slot;
  ++sequence.position;
  if (!wanted) return;
  kernels::SampleRow greedy{};
  greedy.min_tokens_to_keep = 1;
  group.sampled.push_back(static_cast<std::int32_t>(group.tokens.size()) - 1);
  group.sampling.push_back(greedy);
}

void Forward::run(const RowGroup& group) {
  backend_->collect(backend_->launch(group));
  model_->tensors.check();  // weights cut under us would have computed nonsense
  for (Sequence& sequence : sequences_) sequence.pages.retire(layout_, sequence.position);
}

namespace {

void check_token(const Program& program, std::int32_t token) {
  if (token < 0 || token >= program.vocab)
    fail(ErrorCode::invalid_argument, "token {}; ids are from 0 to {}", token, program.vocab - 1);
}

}  // namespace

void Forward::step(std::span<const ForwardRow> rows, float* logits) {
  const auto count = static_cast<std::int64_t>(rows.size());
  if (count > most_rows())
    fail(ErrorCode::invalid_argument, "{} rows in one step; at most {}", count, most_rows());
  std::vector<std::int64_t> added(sequences_.size());
  for (const ForwardRow& row : rows) {
    if (row.sequence < 0 || row.sequence >= static_cast<std::int64_t>(sequences_.size()))
      fail(ErrorCode::invalid_argument, "sequence {}; there are {}", row.sequence,
           sequences_.size());
    check_token(*model_->program, row.token);
    const auto s = static_cast<std::size_t>(row.sequence);
    if (sequences_[s].position + ++added[s] > context_)
      fail(ErrorCode::invalid_argument, "{} + {} tokens; the context is {}", sequences_[s].position,
           added[s], context_);
  }
  RowGroup group;
  for (const ForwardRow& row : rows) add_row(group, row, true);
  group.logits = logits;
  run(group);
}

std::vector<float> Forward::append(std::span<const std::int32_t> tokens, std::int64_t last) {
  const auto count = static_cast<std::int64_t>(tokens.size());
  const Program& program = *model_->program;
  if (position() + count > context_)
    fail(ErrorCode::invalid_argument, "{} + {} tokens; the context is {}", position(), count,
         context_);
  if (last < 0 || last > count)
    fail(ErrorCode::invalid_argument, "logits of {} tokens asked for; {} were given", last, count);
  for (const std::int32_t token : tokens) check_token(program, token);
  std::vector<float> logits(static_cast<std::size_t>(last * program.vocab));
  std::int64_t written = 0;
  for (std::int64_t done = 0; done < count;) {
    RowGroup group;
    for (const std::int64_t first = done; done < count && done - first < program.max_rows; ++done) {
      const bool wanted = done >= count - last;
      if (wanted && static_cast<std::int64_t>(group.sampled.size()) == program.max_sampled) break;
      add_row(group, {0, tokens[static_cast<std::size_t>(done)]}, wanted);
    }
    group.logits = logits.data() + written * program.vocab;
    run(group);
    written += static_cast<std::int64_t>(group.sampled.size());
  }
  return logits;
}

}  // namespace stepless
