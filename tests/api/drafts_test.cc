// Drafts change speed, never a byte: every drafter, right, wrong or broken, gives the answers that
// there are without.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <limits>
#include <numeric>

#include "stepless/engine.hpp"
#include "tests/api/engine_case.hpp"
#include "tests/support/throws.hpp"
#include "tests/support/tiny_model.hpp"

namespace stepless::test {
namespace {

namespace fs = std::filesystem;

std::int64_t sum(const std::array<std::int64_t, kMostDraftTokens>& counts) {
  return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}

struct Drafted {
  std::vector<Answer> answers;
  EngineStats stats;
};

/// Runs a batch, and checks what the engine counts against itself.
Drafted run_drafted(const Model& model, const std::vector<Request>& requests,
                    EngineOptions options) {
  if (options.context == 0) options.context = std::min<std::int64_t>(512, model.info().context);
  options.sequences = static_cast<std::int64_t>(requests.size());
  Engine engine(model, options);
  Drafted run;
  run.answers.resize(requests.size());
  std::int64_t drafted = 0, accepted = 0;
  for (std::size_t i = 0; i < requests.size(); ++i)
    engine.submit(requests[i], [&, i](const Event& event) {
      run.answers[i].take(event);
      drafted += event.drafted, accepted += event.accepted;
    });
  engine.wait_idle();
  run.stats = engine.stats();
  EXPECT_EQ(run.stats.kv_pages_used, 0);
  EXPECT_EQ(run.stats.drafted, drafted);
  EXPECT_EQ(run.stats.accepted, accepted);
  EXPECT_EQ(sum(run.stats.drafted_at), drafted);
  EXPECT_EQ(sum(run.stats.accepted_at), accepted);
  for (std::size_t i = 0; i < run.stats.drafted_at.size(); ++i) {
    EXPECT_LE(run.stats.accepted_at[i], run.stats.drafted_at[i]);
    if (i == 0) continue;
    EXPECT_LE(run.stats.drafted_at[i], run.stats.drafted_at[i - 1]);
    EXPECT_LE(run.stats.accepted_at[i], run.stats.accepted_at[i - 1]);
  }
  return run;
}

EngineOptions lookup(std::int64_t longest, std::int64_t drafts = 3) {
  EngineOptions options;
  options.prompt_lookup = longest;
  options.draft_tokens = drafts;
  return options;
}

EngineOptions drafting(const Model& draft, std::int64_t drafts = 3) {
  EngineOptions options;
  options.draft_model = draft;
  options.draft_tokens = drafts;
  return options;
}

void expect_same(const std::vector<Answer>& got, const std::vector<Answer>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], want[i]) << "request " << i;
}

/// Prompts that hold their own answers: lookup finds something.
std::vector<Request> repeating_requests(std::size_t count) {
  std::vector<Request> all = mixed_requests(count);
  for (Request& r : all)
    for (std::size_t i = 0; i < 40; ++i) r.tokens.push_back(r.tokens[i]);
  return all;
}

const std::vector<Answer>& alone() {
  static const auto answers = run_alone(demo("tale-draft-4bit"), mixed_requests(17));
  return answers;
}

TEST(Drafts, ADraftModelLeavesEveryByteOfAMixedBatch) {
  struct Case {
    int threads;
    std::int64_t step_rows, drafts;
    std::size_t count;
  };
  // 8 rows a step: drafts shrink to nothing while sequences wait, and the draft reads in pieces.
  for (const Case& c : {Case{1, 256, 1, 17},
                        {2, 256, 3, 17},
                        {1, 8, 3, 17},
                        {1, 64, 16, 5},
                        {2, 24, 3, 1},
                        {1, 256, 0, 3}}) {
    SCOPED_TRACE(testing::Message() << c.count << " prompts, " << c.threads << " threads, "
                                    << c.step_rows << " rows, " << c.drafts << " drafts");
    const Model target = demo("tale-draft-4bit", c.threads, c.step_rows);
    const auto requests = mixed_requests(c.count);
    for (const char* name : {"tale-4bit", "tale-draft-4bit"}) {
      const Model draft = demo(name, c.threads, c.step_rows);
      const Drafted run = run_drafted(target, requests, drafting(draft, c.drafts));
      expect_same(run.answers, {alone().begin(), alone().begin() + static_cast<int>(c.count)});
      EXPECT_EQ(run.stats.drafted > 0, c.drafts > 0);
    }
  }
}

TEST(Drafts, LookupLeavesEveryByteOfAMixedBatch) {
  const auto requests = repeating_requests(9);
  const auto want = run_alone(demo("tale-draft-4bit"), requests);
  for (const std::int64_t drafts : {0, 1, 3, 16})
    for (const int threads : {1, 2}) {
      const Model model = demo("tale-draft-4bit", threads, drafts == 3 ? 24 : 256);
      const Drafted run = run_drafted(model, requests, lookup(1 + drafts % 3, drafts));
      expect_same(run.answers, want);
      EXPECT_EQ(run.stats.drafted > 0, drafts > 0);
    }
}

TEST(Drafts, TheSmallDemoGuessesForTheLargeOne) {
  const auto requests = mixed_requests(4);
  const auto want = run_alone(demo("tale-4bit"), requests);
  const Drafted run =
      run_drafted(demo("tale-4bit", 2), requests, drafting(demo("tale-draft-4bit", 2)));
  expect_same(run.answers, want);
  EXPECT_GT(run.stats.accepted, 0);
}

TEST(Drafts, AModelThatGuessesForItselfIsAlwaysRight) {
  auto requests = mixed_requests(12);
  for (Request& r : requests) r.stop.clear(), r.max_tokens = 25;  // greedy, filters, penalties
  const Model model = demo("tale-draft-4bit");
  const auto want = run_alone(model, requests);
  for (const std::int64_t drafts : {1, 3, 16}) {
    const Drafted run = run_drafted(model, requests, drafting(model, drafts));
    expect_same(run.answers, want);
    EXPECT_EQ(run.stats.accepted, run.stats.drafted);
    // 24 tokens after the first, 1 + drafts at a time; half, as prompts and their reading come
    // first.
    EXPECT_GE(run.stats.drafted * 2, 12 * (24 - (24 + drafts) / (1 + drafts)));
  }
}

// --- tiny models: right, wrong and broken on purpose

Model open_tiny(const TinyModel& tiny, const std::string& name, int threads = 1) {
  ModelOptions options;
  options.threads = threads;
  options.step_rows = 16;
  return Model::open(tiny.write(name), options);
}

TinyModel untied() { return tiny_model({DType::f32, {}, false}); }

/// Its best token is the other's worst.
TinyModel contrary() {
  TinyModel tiny = untied();
  std::vector<float> values = values_of(tiny.at("lm_head.weight"));
  for (float& value : values) value = -value;
  tiny.at("lm_head.weight") = tensor_of(DType::f32, tiny.at("lm_head.weight").shape, values);
  return tiny;
}

Request tiny_request(std::size_t prompt, std::int64_t max_tokens) {
  Request r;
  for (std::size_t i = 0; i < prompt; ++i)
    r.tokens.push_back(static_cast<std::int32_t>(3 + (i * 37 + prompt) % 90));
  r.max_tokens = max_tokens;
  r.ignore_eos = true;
  return r;
}

TEST(Drafts, AModelThatIsAlwaysWrongCostsNothingButTime) {
  const Model model = open_tiny(untied(), "right"), wrong = open_tiny(contrary(), "wrong");
  std::vector<Request> requests;
  for (const std::size_t prompt : {1, 5, 60, 64}) requests.push_back(tiny_request(prompt, 40));
  const auto want = run_alone(model, requests);
  for (const std::int64_t drafts : {1, 3, 16}) {
    const Drafted run = run_drafted(model, requests, drafting(wrong, drafts));
    expect_same(run.answers, want);
    EXPECT_GT(run.stats.drafted, 0);
    EXPECT_EQ(run.stats.accepted, 0);
    EXPECT_EQ(run_drafted(model, requests, drafting(model, drafts)).answers, want);
  }
}

TEST(Drafts, RunsAcrossPageBordersAndUpToTheEndOfTheContext) {
  const Model model = open_tiny(untied(), "pages"), wrong = open_tiny(contrary(), "wrong-pages");
  std::vector<Request> requests;
  for (const std::size_t prompt : {59, 61, 62, 63, 64, 65, 127, 128, 240, 254, 255})
    requests.push_back(tiny_request(prompt, 12));  // the context is 256
  requests.push_back(tiny_request(200, 0));
  const auto want = run_alone(model, requests);
  EXPECT_EQ(want.back().tokens.size(), 56u);
  for (const std::int64_t drafts : {1, 3, 7, 16})
    for (const Model& draft : {model, wrong})
      expect_same(run_drafted(model, requests, drafting(draft, drafts)).answers, want);
}

TEST(Drafts, ARunEndsWhereTheAnswerDoes) {
  const Model model = demo("tale-draft-4bit");
  Request r;
  r.tokens = {2870, 701, 261, 536, 447, 310, 261, 648};
  r.max_tokens = 24;
  const Answer whole = run_batch(model, {r})[0];
  ASSERT_GT(whole.tokens.size(), 12u);
  std::vector<Request> requests;
  for (std::size_t i = 1; i < 12; ++i) {
    requests.push_back(r);  // so many tokens,
    requests.back().max_tokens = static_cast<std::int64_t>(i);
    requests.push_back(r);  // or until this token,
    requests.back().extra_eos = {whole.tokens[i]};
    requests.push_back(r);  // or until a text that may begin and end inside a token
    requests.back().stop = {whole.text.substr(2 * i, 5)};
    requests.push_back(r);
    requests.back().stop = {whole.text.substr(3 * i, 1), "never said"};
    requests.back().logprobs = 2;
  }
  const auto want = run_alone(model, requests);
  for (const std::int64_t drafts : {1, 3, 16})
    expect_same(run_drafted(model, requests, drafting(model, drafts)).answers, want);
  expect_same(run_drafted(model, requests, lookup(2)).answers, want);
}

TEST(Drafts, StopTokensAreDrawnAndNeverGuessed) {
  const Model model = open_tiny(untied(), "eos");
  std::vector<Request> requests;
  for (std::size_t prompt = 1; prompt < 30; ++prompt) {
    Request r = tiny_request(prompt, 60);
    r.ignore_eos = false;
    r.sampling.temperature = 1.5f;
    r.sampling.seed = prompt;
    r.sampling.logit_bias = {{2, 2.0f}};  // the stop token comes early and often
    requests.push_back(r);
  }
  const auto want = run_alone(model, requests);
  EXPECT_GT(std::count_if(want.begin(), want.end(),
                          [](const Answer& a) { return a.reason == FinishReason::stop; }),
            5);
  const Drafted run = run_drafted(model, requests, drafting(model, 5));
  expect_same(run.answers, want);
  EXPECT_EQ(run.stats.accepted, run.stats.drafted) << "no row is spent after a stop token";
}

TEST(Drafts, CancellingAmongDraftsLeavesTheOthersBytes) {
  const Model model = demo("tale-draft-4bit");
  const auto requests = mixed_requests(17);
  EngineOptions options = drafting(model);
  options.context = 512;
  options.sequences = 17;
  Engine engine(model, options);
  for (int round = 0; round < 2; ++round) {  // the second on pages of the first
    std::vector<Answer> answers(17);
    std::vector<std::int64_t> ids(17);
    std::atomic<bool> submitted = false;
    for (std::size_t i = 0; i < 17; ++i)
      ids[i] = engine.submit(requests[i], [&, i](const Event& event) {
        answers[i].take(event);
        submitted.wait(false);  // all numbers are known, however slow this thread is
        if (i == 1 && answers[1].tokens.size() == 3)
          for (const std::size_t other : {1, 3, 8}) engine.cancel(ids[other]);
      });
    submitted = true;
    submitted.notify_all();
    engine.wait_idle();
    for (std::size_t i = 0; i < 17; ++i) {
      EXPECT_EQ(answers[i].finished, 1);
      if (i != 1 && i != 3 && i != 8) {
        EXPECT_EQ(answers[i], alone()[i]) << "request " << i;
        continue;
      }
      EXPECT_TRUE(std::equal(answers[i].tokens.begin(), answers[i].tokens.end(),
                             alone()[i].tokens.begin()));
    }
    EXPECT_EQ(answers[8].reason, FinishReason::cancelled);
    EXPECT_EQ(engine.stats().kv_pages_used, 0);
  }
}

TEST(DraftFaults, LogitsThatAreNotFiniteEndTheDraftsOfARequestOnly) {
  TinyModel poison = untied();
  std::vector<float> values = values_of(poison.at("model.embed_tokens.weight"));
  std::fill(values.begin() + 5 * 64, values.begin() + 6 * 64,
            std::numeric_limits<float>::quiet_NaN());  // token 5
  poison.at("model.embed_tokens.weight") = tensor_of(DType::f32, {96, 64}, values);
  const Model model = open_tiny(untied(), "sound"), draft = open_tiny(poison, "unsound");
  std::vector<Request> requests = {tiny_request(3, 20), tiny_request(4, 20), tiny_request(9, 20)};
  for (Request& r : requests) r.sampling.logit_bias = {{5, -1e6f}};
  requests[1].tokens[2] = 5;
  const auto want = run_alone(model, requests);
  const Drafted run = run_drafted(model, requests, drafting(draft));
  expect_same(run.answers, want);
  EXPECT_EQ(run.stats.accepted, run.stats.drafted);
  EXPECT_GT(run.stats.drafted, 0);
  EXPECT_NE(run.stats.draft_note.find("not finite"), std::string::npos) << run.stats.draft_note;
}

TEST(DraftFaults, AFileCutWhileInUseEndsTheDraftsOnly) {
  const std::string folder = untied().write("draft-cut");
  ModelOptions small;
  small.step_rows = 16;
  const Model model = open_tiny(untied(), "uncut");
  const Answer want = run_batch(model, {tiny_request(3, 120)})[0];
  Engine engine(model, drafting(Model::open(folder, small)));
  Answer got;
  engine.submit(tiny_request(3, 120), [&](const Event& event) {
    got.take(event);
    if (got.tokens.size() == 9) fs::resize_file(folder + "/model.safetensors", 8192);
  });
  engine.wait_idle();
  EXPECT_EQ(got, want);
  EXPECT_GT(engine.stats().accepted, 0);
  EXPECT_NE(engine.stats().draft_note.find("model.safetensors"), std::string::npos)
      << engine.stats().draft_note;
}

TEST(DraftFaults, AShorterContextOfTheDraftEndsItsGuesses) {
  TinyModel brief = untied();
  brief.config["max_position_embeddings"] = 40;
  const Model model = open_tiny(untied(), "long"), draft = open_tiny(brief, "brief");
  const std::vector<Request> requests = {tiny_request(3, 100), tiny_request(39, 20),
                                         tiny_request(40, 20), tiny_request(80, 20)};
  const auto want = run_alone(model, requests);
  const Drafted run = run_drafted(model, requests, drafting(draft));
  expect_same(run.answers, want);
  EXPECT_EQ(run.stats.accepted, run.stats.drafted);
  EXPECT_LT(run.stats.drafted, 45);
  EXPECT_GT(run.stats.drafted, 10);  // how many share a step depends on when they arrive
}

TEST(Drafts, TheDraftsPagesCountInWhatTheCacheMayTake) {
  const Model model = open_tiny(untied(), "counted");
  EngineOptions options = drafting(model);
  options.kv_bytes = model.info().kv_bytes_per_token * 64 * 5;
  Engine engine(model, options);
  EXPECT_EQ(engine.stats().kv_pages, 2) << "five pages of one model are two of both";
  EXPECT_LE(engine.stats().kv_bytes, options.kv_bytes / 5 * 6) << "and page 0";
  std::vector<Request> requests;  // a page or two each: most of them wait
  for (const std::size_t prompt : {3, 60, 70, 5, 64}) requests.push_back(tiny_request(prompt, 30));
  EXPECT_EQ(run_batch(engine, requests), run_alone(model, requests));
  options.kv_bytes = model.info().kv_bytes_per_token * 64 * 3 / 2;
  expect_error(ErrorCode::exhausted, "the draft model's included",
               [&] { Engine e(model, options); });
}

TEST(Drafts, RefusesOtherVocabulariesAndOptionsThatContradict) {
  const Model model = demo("tale-draft-4bit"), other = open_tiny(tiny_model(), "other-tokens");
  expect_error(ErrorCode::invalid_argument, "not the vocabulary of tale-draft-4bit",
               [&] { Engine e(model, drafting(other)); });
  expect_error(ErrorCode::invalid_argument, "draft tokens: 17",
               [&] { Engine e(model, drafting(model, 17)); });
  EngineOptions both = drafting(model);
  both.prompt_lookup = 2;
  expect_error(ErrorCode::invalid_argument, "drafts: ", [&] { Engine e(model, both); });
  ModelOptions elsewhere;
  elsewhere.machine = "aarch64";
  const Model foreign = Model::open(models_dir() + "/tale-draft-4bit", elsewhere);
  expect_error(ErrorCode::unsupported, "planned for aarch64",
               [&] { Engine e(model, drafting(foreign)); });
}

}  // namespace
}  // namespace stepless::test
