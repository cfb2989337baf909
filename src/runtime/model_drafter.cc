#include "runtime/model_drafter.hpp"

#include <algorithm>
#include <map>

#include "base/checked.hpp"
#include "base/error.hpp"
#include "base/quote.hpp"
#include "ops/plan_program.hpp"
#include "runtime/floor.hpp"
#include "runtime/kv_pool.hpp"

namespace stepless {
namespace {

/// What the draft's cache holds of one sequence. It is brought up to date when the sequence is
/// drafted for: nobody has to tell the drafter which guesses were right.
struct Reading {
  std::vector<std::int32_t> pages;
  std::int64_t read = 0;              // leading tokens of the sequence that are in the cache,
  std::vector<std::int32_t> guesses;  // and after them these, read as guesses
  bool off = false;                   // this sequence cannot be drafted for
};

/// One sequence in one draft().
struct Turn {
  Sequence* sequence;
  Reading* reading;
  std::int64_t most;
  bool open = false;  // has guessed, and may guess on
};

class ModelDrafter final : public Drafter {
 public:
  ModelDrafter(std::shared_ptr<const LoadedModel> target, DraftModel draft);

  double draft(std::span<const DraftTask> tasks) override;
  void forget(const Sequence& sequence) override;
  std::int64_t page_bytes() const override { return kv_.page_bytes(); }
  void allocate(std::int64_t pages) override;
  std::string note() const override { return note_; }

 private:
  std::vector<Turn> begin(std::span<const DraftTask> tasks);
  bool readable(const Sequence& sequence, Reading& reading);
  void catch_up(std::vector<Turn>& turns);
  bool guess_on(std::vector<Turn>& turns);
  void add_row(const Turn& turn, std::int64_t position);
  void draw(Turn& turn);
  void run();

  std::shared_ptr<const LoadedModel> target_, model_;
  std::unique_ptr<Backend> backend_;
  KvShape kv_;
  KvPool pool_{1};
  std::map<std::int64_t, Reading> readings_;  // by the number of the sequence
  RowGroup group_;
  std::vector<Turn*> drawing_;  // of group_.sampled
  double floor_us_ = 0;
  std::string note_;
};

ModelDrafter::ModelDrafter(std::shared_ptr<const LoadedModel> target, DraftModel draft)
    : target_(std::move(target)),
      model_(std::move(draft.model)),
      backend_(std::move(draft.backend)) {
  const Program& program = *model_->program;
  const std::int64_t step_bytes = program.arena_bytes + workspace_bytes(program);
  const std::int64_t free_bytes = backend_->free_bytes();
  if (step_bytes > free_bytes)
    fail(ErrorCode::exhausted,
         "draft model {}: a step of {} rows takes {} bytes; {} are free; give --prefill-step-size "
         "less",
         model_->name, program.max_rows, step_bytes, free_bytes);
  backend_->prepare(model_->program);
  kv_.layers = program.kv_layers;
  kv_.type = program.act;
}

void ModelDrafter::allocate(std::int64_t pages) {
  backend_->allocate_kv(kv_, pages);
  backend_->load_kernels();
  pool_ = KvPool(pages);
}

void ModelDrafter::forget(const Sequence& sequence) {
  const auto at = readings_.find(sequence.id);
  if (at == readings_.end()) return;
  pool_.release(at->second.pages);
  readings_.erase(at);
}

/// Whether the sequence can be drafted for now. Sets the reading right: guesses that came true
/// count as read.
bool ModelDrafter::readable(const Sequence& s, Reading& reading) {
  if (reading.off) return false;
  if (reading.pages.empty()) {
    const std::int64_t positions = std::min(s.prompt + s.limit, model_->context);
    reading.pages = pool_.allocate(divide_up(positions, kv_.page_tokens));
    if (reading.pages.empty()) {
      note_ = "the draft model's KV pages are all in use; drafts wait for some";
      return false;
    }
  }
  for (const std::int32_t guess : reading.guesses) {
    if (reading.read == s.known() || s.tokens[static_cast<std::size_t>(reading.read)] != guess)
      break;
    ++reading.read;
  }
  reading.guesses.clear();
  const std::int64_t vocab = model_->program->vocab;
  const auto unread = s.tokens.begin() + reading.read;
  const auto strange = std::find_if(unread, s.tokens.end(), [&](auto id) { return id >= vocab; });
  if (strange == s.tokens.end()) return true;
  note_ = fmt::format("{} has no token {}; no drafts for a request that holds it", model_->name,
                      *strange);
  reading.off = true;
  return false;
}

/// Those nearly caught up first: a long prompt is read in what rows they leave.
std::vector<Turn> ModelDrafter::begin(std::span<const DraftTask> tasks) {
  std::vector<Turn> turns;
  for (const DraftTask& task : tasks) {
    Sequence& s = *task.sequence;
    const std::int64_t most = std::min(task.most, model_->context - s.known() + 1);
    if (most < 1) continue;
    Reading& reading = readings_[s.id];
    if (readable(s, reading)) turns.push_back({&s, &reading, most});
  }
  std::stable_sort(turns.begin(), turns.end(), [](const Turn& a, const Turn& b) {
    return a.sequence->known() - a.reading->read < b.sequence->known() - b.reading->read;
  });
  return turns;
}

void ModelDrafter::add_row(const Turn& turn, std::int64_t position) {
  group_.tokens.push_back(turn.sequence->tokens[static_cast<std::size_t>(position)]);
  group_.seq.push_back({turn.reading->pages.data(), position});
}

/// The row added last draws, as the target will draw there: the same filters, penalties and random
/// number. Two models that nearly agree then mostly draw the same token at any temperature.
void ModelDrafter::draw(Turn& turn) {
  const Sequence& s = *turn.sequence;
  group_.sampled.push_back(static_cast<std::int32_t>(group_.tokens.size()) - 1);
  group_.sampling.push_back(sample_row(s.request.sampling, s.arrays, s.tokens,
                                       static_cast<std::int64_t>(s.tokens.size()), 0));
  drawing_.push_back(&turn);
}

/// One launch reads what the sequences have gained since the last draft(); those that are then up
/// to date have their first guess.
void ModelDrafter::catch_up(std::vector<Turn>& turns) {
  const Program& program = *model_->program;
  for (Turn& turn : turns) {
    Reading& reading = *turn.reading;
    const std::int64_t unread = turn.sequence->known() - reading.read;
    const auto rows = static_cast<std::int64_t>(group_.tokens.size());
    std::int64_t count = std::min(unread, program.max_rows - rows);
    const bool place = static_cast<std::int64_t>(group_.sampled.size()) < program.max_sampled;
    if (count == unread && !place) --count;  // its last row waits for a place among the drawing
    for (std::int64_t i = 0; i < count; ++i) add_row(turn, reading.read + i);
    reading.read += count;
    if (count == unread) draw(turn);
  }
  run();
}

/// One launch for one more guess of each sequence that has not ended. False: there is none.
bool ModelDrafter::guess_on(std::vector<Turn>& turns) {
  for (Turn& turn : turns) {
    if (!turn.open) continue;
    Sequence& s = *turn.sequence;
    turn.reading->guesses.push_back(s.tokens.back());
    add_row(turn, static_cast<std::int64_t>(s.tokens.size()) - 1);
    draw(turn);
  }
  if (drawing_.empty()) return false;
  run();
  return true;
}

void ModelDrafter::run() {
  if (group_.tokens.empty()) return;
  const Sampled drawn = backend_->collect(backend_->launch(group_));
  model_->tensors.check();
  double context = 0;
  for (const kernels::SeqRow& row : group_.seq) context += static_cast<double>(row.position + 1);
  floor_us_ += floor_us(*model_, static_cast<std::int64_t>(group_.tokens.size()),
                        context * static_cast<double>(kv_.token_bytes()));
  for (std::size_t i = 0; i < drawing_.size(); ++i) {
    Turn& turn = *drawing_[i];
    turn.open =
        add_guess(*target_, *turn.sequence, drawn.tokens[i]) && turn.sequence->guessed < turn.most;
    if (drawn.tokens[i] >= 0) continue;
    turn.reading->off = true;
    note_ =
        fmt::format("{}: its logits are not finite; no more drafts for that request", model_->name);
  }
  drawing_.clear();
  group_.tokens.clear();
  group_.seq.clear();
  group_.sampled.clear();
  group_.sampling.clear();
}

double ModelDrafter::draft(std::span<const DraftTask> tasks) {
  floor_us_ = 0;
  std::vector<Turn> turns = begin(tasks);
  catch_up(turns);
  while (guess_on(turns)) {
  }
  return floor_us_;
}

}  // namespace

void check_same_vocabulary(const LoadedModel& target, const LoadedModel& draft) {
  const auto differ = [&](const std::string& how) {
    fail(ErrorCode::invalid_argument,
         "draft model {}: not the vocabulary of {}: {}; drafts need a model with the same tokens",
         draft.name, target.name, how);
  };
  if (!target.tokenizer || !draft.tokenizer) {
    if (target.program->vocab != draft.program->vocab)
      differ(fmt::format("{} tokens, not {}", draft.program->vocab, target.program->vocab));
    return;
  }
  // The logits may be padded differently beyond the tokens there are.
  const Tokenizer &wanted = *target.tokenizer, &got = *draft.tokenizer;
  if (wanted.vocab_size() != got.vocab_size())
    differ(fmt::format("{} tokens, not {}", got.vocab_size(), wanted.vocab_size()));
  for (TokenId id = 0; id < wanted.vocab_size(); ++id)
    if (wanted.token(id) != got.token(id))
      differ(fmt::format("token {} is {}, not {}", id, in_quotes(got.token(id)),
                         in_quotes(wanted.token(id))));
}

std::unique_ptr<Drafter> make_model_drafter(std::shared_ptr<const LoadedModel> target,
                                            DraftModel draft) {
  return std::make_unique<ModelDrafter>(std::move(target), std::move(draft));
}

}  // namespace stepless
