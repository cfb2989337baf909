// A request at the door, and how a sequence ends.
#include "runtime/sequence.hpp"

#include <gtest/gtest.h>

#include "tests/support/paths.hpp"
#include "tests/support/throws.hpp"
#include "tests/support/tiny_model.hpp"

namespace stepless::test {
namespace {

std::shared_ptr<const LoadedModel> load(const std::string& folder) {
  LoadOptions options;
  options.machine = this_machine(1);
  options.step_rows = 8;
  return load_model(folder, options);
}

const LoadedModel& demo() {
  static const auto model = load(models_dir() + "/tale-draft-4bit");
  return *model;
}

const LoadedModel& tiny() {
  static const auto model = [] {
    TinyModel tiny = tiny_model();
    tiny.config["eos_token_id"] = {90, 2, 40};  // not in order
    return load(tiny.write("sequence"));
  }();
  return *model;
}

Request request(std::size_t prompt, std::int64_t max_tokens = 5) {
  Request r;
  r.tokens.assign(prompt, 9);
  r.max_tokens = max_tokens;
  return r;
}

KvRoom room(std::int64_t pages) {
  KvRoom room;
  room.layout.page_tokens = 16;
  room.pages.plain = pages;
  room.step_rows = 8;
  return room;
}

Sequence make(Request r, std::int64_t context = 100, std::int64_t pool = 10) {
  return make_sequence(tiny(), std::move(r), context, room(pool));
}

void refused(Request r, std::string_view words) {
  expect_error(ErrorCode::invalid_argument, words, [&] { make(std::move(r)); });
}

TEST(MakeSequence, RefusesWhatCannotRun) {
  refused(request(0), "prompt: empty; at least one token");
  refused(request(100), "prompt: 100 tokens leave no room in a context of 100");
  refused(request(3, -1), "max_tokens: -1");
  for (const std::int32_t id : {-1, 96}) {
    Request bad = request(3);
    bad.tokens[1] = id;
    refused(bad, fmt::format("token {}; ids are from 0 to 95", id));
    Request bad_eos = request(3);
    bad_eos.extra_eos = {0, id};
    refused(bad_eos, fmt::format("{}; ids are from 0 to 95", id));
  }
  Request sampling = request(3);
  sampling.sampling.top_p = 2;
  refused(sampling, "top_p: 2");
  for (const std::int32_t logprobs : {-1, 97}) {
    Request bad = request(3);
    bad.logprobs = logprobs;
    refused(bad, fmt::format("logprobs: {}; from 0 to 96", logprobs));
  }
}

TEST(MakeSequence, CountsPagesForThePromptAndAllThatMayBeDrawn) {
  struct Case {
    std::size_t prompt;
    std::int64_t max_tokens, limit, pages;
  };
  for (const Case c : {Case{1, 1, 1, 1},
                       {1, 15, 15, 1},
                       {1, 16, 16, 2},
                       {16, 1, 1, 2},
                       {99, 5, 1, 7},
                       {3, 0, 97, 7},
                       {3, 1000, 97, 7}}) {
    const Sequence s = make(request(c.prompt, c.max_tokens));
    EXPECT_EQ(s.limit, c.limit) << c.prompt << " + " << c.max_tokens;
    EXPECT_EQ(s.pages_needed, c.pages) << c.prompt << " + " << c.max_tokens;
    EXPECT_EQ(s.phase, Phase::waiting);
    EXPECT_GE(s.tokens.capacity(), c.prompt + static_cast<std::size_t>(c.limit));
  }
  EXPECT_NO_THROW(make(request(3, 0), 100, 7));
  expect_error(ErrorCode::invalid_argument,
               "3 tokens and 97 to generate need 7 KV pages of 16 tokens; the cache has 6",
               [] { make(request(3, 0), 100, 6); });
}

TEST(MakeSequence, StopStringsNeedATokenizer) {
  Request r = request(3);
  r.stop = {"end"};
  expect_error(ErrorCode::unsupported, "stop: the model has no tokenizer", [&] { make(r); });
  EXPECT_NO_THROW(make_sequence(demo(), r, 100, room(10)));
  r.stop = {""};
  expect_error(ErrorCode::invalid_argument, "stop",
               [&] { make_sequence(demo(), r, 100, room(10)); });
}

TEST(MakeSequence, XtcSparesNewlinesAndStopTokens) {
  const Sequence s = make_sequence(demo(), request(3), 100, room(10));
  const auto& exempt = s.arrays.xtc_exempt;
  const auto newline = demo().tokenizer->encode("\n");
  for (const std::int32_t id : newline)
    EXPECT_EQ(std::count(exempt.begin(), exempt.end(), id), 1) << id;
  EXPECT_EQ(std::count(exempt.begin(), exempt.end(), 2), 1);
}

/// Feeds tokens until the sequence says that it is done.
FinishReason feed(const LoadedModel& model, Sequence& s, const std::vector<std::int32_t>& tokens,
                  std::vector<Event>& events) {
  s.listener = [&](const Event& event) { events.push_back(event); };
  for (const std::int32_t token : tokens)
    if (const FinishReason reason = accept_token(model, s, token, {}); reason != FinishReason::none)
      return reason;
  return FinishReason::none;
}

TEST(AcceptToken, EveryStopTokenEndsAndIsNotReported) {
  for (const std::int32_t eos : {2, 40, 90}) {
    Sequence s = make(request(3));
    std::vector<Event> events;
    EXPECT_EQ(feed(tiny(), s, {7, eos, 8}, events), FinishReason::stop) << eos;
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0].token, 7);
  }
  Request ignoring = request(3);
  ignoring.ignore_eos = true;
  ignoring.extra_eos = {40};
  Sequence s = make(ignoring);
  std::vector<Event> events;
  EXPECT_EQ(feed(tiny(), s, {2, 90, 40}, events), FinishReason::stop);
  EXPECT_EQ(events.size(), 2u);
}

TEST(AcceptToken, EndsAtTheLimit) {
  Sequence s = make(request(3, 2));
  std::vector<Event> events;
  EXPECT_EQ(feed(tiny(), s, {7, 8, 9}, events), FinishReason::length);
  EXPECT_EQ(events.size(), 2u);
  EXPECT_EQ(s.drawn(), 2);
}

TEST(AcceptToken, AStopStringCutsTheText) {
  const auto tokens = demo().tokenizer->encode("There was a fox, and the end came.");
  Request r = request(3, 50);
  r.stop = {"fox, a"};
  Sequence s = make_sequence(demo(), r, 100, room(10));
  std::vector<Event> events;
  EXPECT_EQ(feed(demo(), s, tokens, events), FinishReason::stop);
  std::string text;
  for (const Event& event : events) text += event.text;
  EXPECT_EQ(text, "There was a ");
  EXPECT_LT(events.size(), tokens.size());
}

}  // namespace
}  // namespace stepless::test
