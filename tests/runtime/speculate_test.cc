// Guessing alone: prompt lookup against a plain search, what may be guessed, and a draft model
// whose device fails while requests run.
#include "runtime/speculate.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/json.hpp"
#include "ops/cpu/cpu_backend.hpp"
#include "runtime/engine_core.hpp"
#include "runtime/model_drafter.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/random.hpp"
#include "tests/support/throws.hpp"
#include "tests/support/tiny_model.hpp"

namespace stepless::test {
namespace {

namespace fs = std::filesystem;
using Tokens = std::vector<std::int32_t>;

std::shared_ptr<const LoadedModel> load(const std::string& folder) {
  LoadOptions options;
  options.machine = this_machine(1);
  options.step_rows = 16;
  return load_model(folder, options);
}

TEST(LookUp, ContinuesTheLatestOfTheLongestMatches) {
  struct Case {
    Tokens tokens;
    std::int64_t longest, most;
    Tokens want;
  };
  const Case cases[] = {
      {{}, 3, 3, {}},
      {{1}, 3, 3, {}},
      {{1, 2, 3}, 3, 3, {}},                              // 3 was never seen
      {{1, 2, 3, 1}, 3, 2, {2, 3}},                       // one token is enough
      {{1, 2, 3, 9, 1, 2, 4, 8, 1, 2}, 3, 2, {4, 8}},     // both match 1 2: the later
      {{7, 1, 2, 3, 9, 1, 2, 4, 7, 1, 2}, 3, 2, {3, 9}},  // 7 1 2 is longer than 1 2
      {{7, 1, 2, 3, 9, 1, 2, 4, 7, 1, 2}, 2, 2, {4, 7}},  // unless 2 are all that count
      {{5, 6, 7, 5}, 3, 5, {6, 7, 5, 6, 7}},              // a text that repeats goes on
      {{4, 4}, 1, 4, {4, 4, 4, 4}},
  };
  for (const Case& c : cases)
    EXPECT_EQ(look_up(c.tokens, c.longest, c.most), c.want) << testing::PrintToString(c.tokens);
}

/// The definition, word by word: every earlier place, its common ending, the best one.
Tokens plain_search(const Tokens& tokens, std::size_t longest, std::size_t most) {
  std::size_t best = 0, next = 0;
  for (std::size_t end = 1; end < tokens.size(); ++end) {
    std::size_t same = 0;
    while (same < longest && same < end &&
           tokens[end - 1 - same] == tokens[tokens.size() - 1 - same])
      ++same;
    if (same > 0 && same >= best) best = same, next = end;
  }
  Tokens all = tokens;
  for (std::size_t i = 0; best > 0 && i < most; ++i) all.push_back(all[next + i]);
  return Tokens(all.begin() + static_cast<std::ptrdiff_t>(tokens.size()), all.end());
}

TEST(LookUp, EqualsAPlainSearch) {
  Random random(5);
  for (int round = 0; round < 2000; ++round) {
    Tokens tokens(static_cast<std::size_t>(random.below(40)));
    const std::int64_t kinds = 1 + random.below(6);
    for (std::int32_t& token : tokens) token = static_cast<std::int32_t>(random.below(kinds));
    const std::int64_t longest = 1 + random.below(5), most = random.below(7);
    ASSERT_EQ(
        look_up(tokens, longest, most),
        plain_search(tokens, static_cast<std::size_t>(longest), static_cast<std::size_t>(most)))
        << testing::PrintToString(tokens) << ", " << longest << ", " << most;
  }
}

Request request(Tokens tokens, std::int64_t max_tokens) {
  Request r;
  r.tokens = std::move(tokens);
  r.max_tokens = max_tokens;
  r.ignore_eos = true;
  r.sampling.logit_bias = {{2, -1e6f}};
  return r;
}

KvRoom ten_pages() {
  KvRoom room;
  room.layout.page_tokens = 64;
  room.pages.plain = 10;
  return room;
}

TEST(AddGuess, StopsAtWhatTheTargetCouldNotGoOnAfter) {
  const auto model = load(tiny_model().write("guess"));
  Request r = request({3, 4}, 9);
  r.ignore_eos = false;
  r.extra_eos = {40};
  Sequence s = make_sequence(*model, r, 100, ten_pages());
  for (const std::int32_t id : {-1, 96, 2, 40}) EXPECT_FALSE(add_guess(*model, s, id)) << id;
  EXPECT_EQ(s.guessed, 0);
  EXPECT_TRUE(add_guess(*model, s, 95));
  EXPECT_TRUE(add_guess(*model, s, 0));
  EXPECT_EQ(s.tokens, (Tokens{3, 4, 95, 0}));
  EXPECT_EQ(s.known(), 2);
  EXPECT_EQ(s.drawn(), 0);
  EXPECT_EQ(take_guesses(s), (Tokens{95, 0}));
  EXPECT_EQ(s.tokens, (Tokens{3, 4}));
  EXPECT_EQ(take_guesses(s), Tokens{});
}

TEST(Drafts, TheLastTokenIsNeverGuessed) {
  const auto model = load(tiny_model().write("last"));
  Sequence s = make_sequence(*model, request({3, 4}, 5), 100, ten_pages());
  EXPECT_EQ(s.drafts(3), 0) << "nothing is guessed before the prompt is read";
  s.phase = Phase::decode;
  for (const std::int64_t want : {3, 3, 2, 1, 0}) {
    EXPECT_EQ(s.drafts(3), want) << s.drawn() << " drawn";
    s.tokens.push_back(7);
  }
}

TEST(MakeDrafter, RefusesOptionsThatContradict) {
  const auto model = load(tiny_model().write("options"));
  const auto make = [&](auto&& change, bool draft = false) {
    EngineOptions options;
    change(options);
    return make_drafter(model, options,
                        draft ? DraftModel{model, make_cpu_backend(1)} : DraftModel{});
  };
  for (const std::int64_t bad : {-1, 17})
    expect_error(ErrorCode::invalid_argument, fmt::format("draft tokens: {}; from 0 to 16", bad),
                 [&] { make([&](EngineOptions& o) { o.draft_tokens = bad; }); });
  expect_error(ErrorCode::invalid_argument, "prompt lookup: -1",
               [&] { make([](EngineOptions& o) { o.prompt_lookup = -1; }); });
  expect_error(ErrorCode::invalid_argument, "both",
               [&] { make([](EngineOptions& o) { o.prompt_lookup = 2; }, true); });
  EXPECT_EQ(make([](EngineOptions&) {}), nullptr);
  EXPECT_EQ(make([](EngineOptions& o) { o.draft_tokens = 0; }, true), nullptr);
  EXPECT_EQ(make([](EngineOptions& o) { o.draft_tokens = 0, o.prompt_lookup = 2; }), nullptr);
  EXPECT_NE(make([](EngineOptions& o) { o.prompt_lookup = 2; }), nullptr);
  EXPECT_NE(make([](EngineOptions&) {}, true), nullptr);
}

TEST(Vocabulary, MustHaveTheSameTokens) {
  const auto demo = load(models_dir() + "/tale-draft-4bit"), tiny = load(tiny_model().write("own"));
  EXPECT_NO_THROW(check_same_vocabulary(*demo, *demo));
  EXPECT_NO_THROW(check_same_vocabulary(*demo, *load(models_dir() + "/tale-4bit")));
  EXPECT_NO_THROW(check_same_vocabulary(*tiny, *tiny));
  expect_error(ErrorCode::invalid_argument,
               "draft model " + tiny->name +
                   ": not the vocabulary of tale-draft-4bit: 96 tokens, "
                   "not 4096",
               [&] { check_same_vocabulary(*demo, *tiny); });

  const std::string folder = scratch_dir("swapped") + "/swapped";
  fs::copy(models_dir() + "/tale-draft-4bit", folder, fs::copy_options::recursive);
  Json json = read_json(folder + "/tokenizer.json");
  Json& vocab = json["model"]["vocab"];
  std::string a, b;
  for (const auto& [token, id] : vocab.items()) {
    if (id == 700) a = token;
    if (id == 701) b = token;
  }
  // Names of two tokens that no merge makes would do as well; these change places in all merges.
  vocab[a] = 701, vocab[b] = 700;
  std::ofstream(folder + "/tokenizer.json") << json.dump();
  expect_error(ErrorCode::invalid_argument, "draft model swapped: not the vocabulary of tale-draft",
               [&] { check_same_vocabulary(*demo, *load(folder)); });
  expect_error(ErrorCode::invalid_argument, "token 700 is",
               [&] { check_same_vocabulary(*demo, *load(folder)); });
}

/// A device that fails at one launch, and after it.
class Failing final : public Backend {
 public:
  explicit Failing(int launches) : left_(launches) {}
  std::int64_t free_bytes() const override { return inner_->free_bytes(); }
  void prepare(std::shared_ptr<const Program> program) override {
    inner_->prepare(std::move(program));
  }
  void allocate_kv(const KvShape& shape, const KvPages& pages) override {
    inner_->allocate_kv(shape, pages);
  }
  void allocate_state(const StateShape& shape, std::int64_t slots) override {
    inner_->allocate_state(shape, slots);
  }
  void copy_pages(std::span<const PageCopy> copies) override { inner_->copy_pages(copies); }
  PageBytes read_pages(int layer, std::span<const std::int32_t> pages) const override {
    return inner_->read_pages(layer, pages);
  }
  void write_pages(int layer, std::span<const std::int32_t> pages, const std::byte* keys,
                   const std::byte* values) override {
    inner_->write_pages(layer, pages, keys, values);
  }
  Ticket launch(const RowGroup& group) override {
    if (left_-- <= 0) throw Error(ErrorCode::device, "the draft's device is gone");
    return inner_->launch(group);
  }
  Sampled collect(Ticket ticket) override { return inner_->collect(ticket); }

 private:
  std::unique_ptr<Backend> inner_ = make_cpu_backend(1);
  int left_;
};

struct Told {
  std::vector<Tokens> tokens;
  EngineStats stats;
};

Told run(const std::shared_ptr<const LoadedModel>& model, DraftModel draft) {
  EngineOptions options;
  options.sequences = 3;
  EngineCore core(model, make_cpu_backend(1), options, std::move(draft));
  Told told;
  told.tokens.resize(3);
  for (std::size_t i = 0; i < 3; ++i) {
    const auto first = static_cast<std::int32_t>(10 + i);
    Sequence s =
        make_sequence(*model, request({first, 20, 30}, 12 + static_cast<int>(i)), 256, core.room());
    s.id = static_cast<std::int64_t>(i) + 1;
    s.listener = [&told, i](const Event& event) {
      if (event.kind == Event::Kind::token) told.tokens[i].push_back(event.token);
      if (event.kind == Event::Kind::finished) {
        EXPECT_EQ(event.reason, FinishReason::length);
      }
    };
    core.add(std::move(s));
  }
  for (int step = 0; step < 1000 && !core.idle(); ++step) core.step();
  EXPECT_TRUE(core.idle());
  told.stats = core.stats();
  return told;
}

TEST(DraftFaults, ADeviceThatFailsEndsTheDraftsAndNoRequest) {
  const auto model = load(tiny_model().write("failing"));
  const Told want = run(model, {});
  EXPECT_EQ(want.stats.drafted, 0);
  EXPECT_EQ(want.stats.draft_note, "");
  for (const int launches : {0, 1, 2, 5}) {
    const Told got = run(model, {model, std::make_unique<Failing>(launches)});
    EXPECT_EQ(got.tokens, want.tokens) << launches;
    EXPECT_NE(got.stats.draft_note.find("the draft's device is gone"), std::string::npos);
    EXPECT_EQ(got.stats.accepted, got.stats.drafted) << "the model guesses its own tokens";
    EXPECT_EQ(got.stats.drafted > 0, launches > 3);
  }
  const Told whole = run(model, {model, make_cpu_backend(1)});
  EXPECT_EQ(whole.tokens, want.tokens);
  EXPECT_EQ(whole.stats.draft_note, "");
  EXPECT_LT(whole.stats.steps, want.stats.steps);
}

}  // namespace
}  // namespace stepless::test
