#include "ops/prompt_rows.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stepless::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// Two prompts, each with whole pages and a rest, and a sequence that decodes between them.
RowGroup mixed() {
  RowGroup group;
  group.tokens = {10, 11, 12, 20, 30, 31, 32};
  group.prompt = {1, 1, 0, 0, 1, 1, 1};
  for (std::int64_t i = 0; i < 7; ++i) {
    kernels::SeqRow& row = group.seq.emplace_back();
    row.position = 100 + i;
  }
  group.sampled = {2, 3, 6};
  for (const float temperature : {0.2f, 0.3f, 0.6f}) {
    kernels::SampleRow& row = group.sampling.emplace_back();
    row.temperature = temperature;
  }
  group.top_logprobs = 2;
  return group;
}

TEST(PromptRows, KeepTheirOrderAndTheirNeighbours) {
  const SplitStep split = split_prompt_rows(mixed());
  EXPECT_THAT(split.prompt.tokens, ElementsAre(10, 11, 30, 31, 32));
  EXPECT_THAT(split.rest.tokens, ElementsAre(12, 20));
  ASSERT_EQ(split.prompt.seq.size(), 5u);
  EXPECT_EQ(split.prompt.seq[2].position, 104);
  EXPECT_EQ(split.rest.seq[1].position, 103);
  EXPECT_THAT(split.prompt.sampled, ElementsAre(4)) << "places are those of the part";
  EXPECT_THAT(split.rest.sampled, ElementsAre(0, 1));
  EXPECT_EQ(split.prompt.sampling[0].temperature, 0.6f);
  EXPECT_EQ(split.rest.sampling[1].temperature, 0.3f);
  EXPECT_THAT(split.in_prompt, ElementsAre(0, 0, 1));
  EXPECT_EQ(split.rest.top_logprobs, 2);
}

TEST(PromptRows, OfPromptsAloneLeaveNoRest) {
  RowGroup group = mixed();
  group.prompt.assign(group.tokens.size(), 1);
  const SplitStep split = split_prompt_rows(group);
  EXPECT_EQ(split.prompt.tokens, group.tokens);
  EXPECT_EQ(split.prompt.sampled, group.sampled);
  EXPECT_THAT(split.rest.tokens, IsEmpty());
}

TEST(PromptRows, WhatTheyDrawStandsInTheStepsOrder) {
  const SplitStep split = split_prompt_rows(mixed());
  Sampled prompt, rest;
  prompt.tokens = {7}, prompt.logprobs = {-7}, prompt.top_ids = {70, 71};
  prompt.top_logprobs = {-70, -71};
  rest.tokens = {1, 2}, rest.logprobs = {-1, -2}, rest.top_ids = {10, 11, 20, 21};
  rest.top_logprobs = {-10, -11, -20, -21};
  const Sampled all = merge_sampled(split, prompt, rest);
  EXPECT_THAT(all.tokens, ElementsAre(1, 2, 7));
  EXPECT_THAT(all.logprobs, ElementsAre(-1, -2, -7));
  EXPECT_THAT(all.top_ids, ElementsAre(10, 11, 20, 21, 70, 71));
  EXPECT_THAT(all.top_logprobs, ElementsAre(-10, -11, -20, -21, -70, -71));
}

}  // namespace
}  // namespace stepless::test
