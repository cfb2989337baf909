// Models with recurrent state: batches, cut prompts, cancelling and slots used again leave every
// request's bytes alone, and no state outlives its request.
#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <thread>

#include "tests/api/engine_case.hpp"
#include "tests/support/throws.hpp"
#include "tests/support/tiny_next.hpp"

namespace stepless::test {
namespace {

constexpr std::int32_t kVocab = 96, kPoison = 5;

/// Token 5 is not a number; only prompts that hold it can tell.
TinyModel poisoned() {
  TinyModel tiny = tiny_next_model();
  Tensor& table = tiny.at("model.embed_tokens.weight");
  std::vector<float> values = values_of(table);
  std::fill(values.begin() + kPoison * 32, values.begin() + (kPoison + 1) * 32,
            std::numeric_limits<float>::quiet_NaN());
  table = tensor_of(table.type, table.shape, values);
  return tiny;
}

Model open(int threads = 1, std::int64_t step_rows = 16) {
  static const std::string folder = poisoned().write("recurrent");
  ModelOptions options;
  options.threads = threads;
  options.step_rows = step_rows;
  return Model::open(folder, options);
}

std::vector<Request> requests(std::size_t count) {
  constexpr std::size_t kLengths[] = {1, 40, 3, 65, 2, 17, 4, 9, 130, 5};
  Random random(3);
  std::vector<Request> all(count);
  for (std::size_t i = 0; i < count; ++i) {
    Request& r = all[i];
    for (std::size_t t = 0; t < kLengths[i % 10]; ++t)
      r.tokens.push_back(static_cast<std::int32_t>(6 + random.below(kVocab - 6)));
    r.max_tokens = 5 + static_cast<std::int64_t>(i * 3 % 7);
    r.ignore_eos = true;
    r.sampling.seed = i;
    r.sampling.logit_bias = {{kPoison, -1e6f}};
    if (i % 2 == 1) r.sampling.temperature = 1;
  }
  return all;
}

const std::vector<Answer>& alone() {
  static const auto answers = run_alone(open(), requests(10));
  return answers;
}

void expect_same(const std::vector<Answer>& got, const std::vector<Answer>& want) {
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], want[i]) << "request " << i;
}

TEST(RecurrentEngine, BatchesCutsAndThreadsChangeNothing) {
  for (std::size_t i = 1; i < 10; ++i) EXPECT_NE(alone()[i].tokens, alone()[i - 1].tokens);
  for (const int threads : {1, 2, 3})
    for (const std::int64_t step_rows : {1, 5, 16, 256}) {
      SCOPED_TRACE(testing::Message() << threads << " threads, " << step_rows << " rows a step");
      expect_same(run_batch(open(threads, step_rows), requests(10)), alone());
    }
}

TEST(RecurrentEngine, FewSlotsQueueAndAreUsedAgain) {
  for (const std::int64_t at_once : {1, 2, 3}) {
    EngineOptions options;
    options.context = 256;
    options.sequences = at_once;
    options.kv_bytes = std::int64_t{1} << 20;  // pages for all: slots are what is short
    const Model model = open();
    Engine engine(model, options);
    EXPECT_EQ(engine.stats().state_slots, at_once);
    EXPECT_EQ(engine.stats().state_bytes, at_once * model.info().state_bytes_per_sequence);
    expect_same(run_batch(engine, requests(10)), alone());
    EXPECT_EQ(engine.stats().state_slots_used, 0);
    EXPECT_EQ(engine.stats().kv_pages_used, 0);
  }
}

TEST(RecurrentEngine, CancellingOneLeavesTheOthersAndACleanSlot) {
  EngineOptions options;
  options.context = 256;
  options.sequences = 4;
  Engine engine(open(2, 8), options);
  const auto all = requests(10);
  std::vector<Answer> answers(10);
  std::vector<std::int64_t> ids(10);
  std::atomic<bool> all_are_in = false;
  for (std::size_t i = 0; i < 10; ++i)
    ids[i] = engine.submit(all[i], [&, i](const Event& event) {
      answers[i].take(event);
      while (!all_are_in) std::this_thread::yield();  // else an id is not known yet
      // Mid-decode, mid-prompt, and one that has not begun.
      if (i == 0 && answers[0].tokens.size() == 2)
        for (const std::size_t other : {0, 3, 8}) engine.cancel(ids[other]);
    });
  all_are_in = true;
  engine.wait_idle();
  for (std::size_t i = 0; i < 10; ++i) {
    if (i == 0 || i == 3 || i == 8) {
      EXPECT_EQ(answers[i].reason, FinishReason::cancelled) << i;
    } else {
      EXPECT_EQ(answers[i], alone()[i]) << i;
    }
  }
  EXPECT_EQ(engine.stats().state_slots_used, 0);
  expect_same(run_batch(engine, all), alone());
}

// Hardening S13: what a sequence left in its slot is never seen by the next.
TEST(RecurrentEngine, AStateThatIsNoNumberDiesWithItsRequest) {
  EngineOptions options;
  options.context = 256;
  options.sequences = 2;
  Engine engine(open(), options);
  std::vector<Request> mixed = requests(10);
  Request bad = mixed[1];
  bad.tokens[7] = kPoison;
  for (const std::size_t at : {0, 3, 7}) mixed.insert(mixed.begin() + static_cast<long>(at), bad);
  const auto got = run_batch(engine, mixed);
  std::size_t good = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (i == 0 || i == 3 || i == 7) {
      EXPECT_EQ(got[i].reason, FinishReason::failed) << i;
    } else {
      EXPECT_EQ(got[i], alone()[good++]) << i;
    }
  }
}

/// Texts of two tokens by turns of a coin: what was said before is a guess that is right sometimes.
std::vector<Request> guessable(std::size_t count) {
  std::vector<Request> all = requests(count);
  for (std::size_t i = 0; i < count; ++i) {
    all[i].max_tokens = 12 + static_cast<std::int64_t>(i);
    all[i].sampling.temperature = i % 3 == 0 ? 0 : 1;
    all[i].sampling.logit_bias = {{kPoison, -1e6f}, {20, 20}, {21, 20}};
  }
  return all;
}

// Hardening S14: a rejected draft's state goes with it.
TEST(RecurrentEngine, DraftsChangeNoByte) {
  const auto all = guessable(10);
  const auto want = run_alone(open(), all);
  for (const std::int64_t drafts : {1, 3, 8})
    for (const std::int64_t at_once : {1, 4, 10}) {
      SCOPED_TRACE(testing::Message() << drafts << " drafts, " << at_once << " at once");
      EngineOptions options;
      options.context = 256;
      options.sequences = at_once;
      options.kv_bytes = std::int64_t{1} << 20;
      options.prompt_lookup = 2;
      options.draft_tokens = drafts;
      Engine engine(open(1 + static_cast<int>(drafts % 2), 32), options);
      EXPECT_EQ(engine.stats().state_slots, at_once * (1 + drafts));
      expect_same(run_batch(engine, all), want);
      const EngineStats stats = engine.stats();
      EXPECT_GT(stats.accepted, 0);
      EXPECT_LT(stats.accepted, stats.drafted) << "no draft was undone";
      EXPECT_EQ(stats.state_slots_used, 0);
    }
}

TEST(RecurrentEngine, InfoTellsWhatASequenceTakes) {
  // Two delta nets: 3 past inputs of 64 channels, 4 heads of 8 x 8, four bytes each.
  EXPECT_EQ(open().info().state_bytes_per_sequence, 2 * (3 * 64 + 4 * 8 * 8) * 4);
  EXPECT_EQ(open().info().layers, 4);
  EXPECT_EQ(demo("tale-draft-4bit").info().state_bytes_per_sequence, 0);
}

TEST(RecurrentEngine, ExplainShowsTheState) {
  const Model model = open();
  const std::string text = model.explain(3, 100, 0, "decode", -1, false);
  EXPECT_NE(text.find("delta"), std::string::npos) << text;
  EXPECT_NE(text.find("linear_attn.conv1d"), std::string::npos) << text;
  expect_error(ErrorCode::invalid_argument, "has layers 0 to 3",
               [&] { model.explain(1, 1, 0, "", 4, false); });
}

}  // namespace
}  // namespace stepless::test
