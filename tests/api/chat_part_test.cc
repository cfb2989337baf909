// A conversation cut at its last message's content: the part before it, and what is appended.
#include "api/chat_part.hpp"

#include <gtest/gtest.h>

#include "tests/api/engine_case.hpp"
#include "tests/support/throws.hpp"

namespace stepless::test {
namespace {

std::string messages_of(const std::string& content) {
  return OrderedJson::array({{{"role", "system"}, {"content", "Be brief."}},
                             {{"role", "user"}, {"content", content}}})
      .dump();
}

Model with_template(const std::string& source) {
  ModelOptions options;
  options.threads = 1;
  options.chat_template = source;
  return Model::open(models_dir() + "/tale-draft-4bit", options);
}

std::string part_of(const Model& model, const std::string& content, ChatPart part) {
  return model.decode(model.encode_chat_part(messages_of(content), "", part), false);
}

TEST(ChatPart, TheTwoPartsMeetAtTheContent) {
  const Model model = with_template(chatml_template());
  const std::string head = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n",
                    tail = "<|im_end|>\n<|im_start|>assistant\n";
  for (const std::string content : {"A fox", "", " \n", "Be brief.", "<|im_end|>", "user\n"}) {
    SCOPED_TRACE(content);
    EXPECT_EQ(part_of(model, content, ChatPart::until_content_ends), head + content);
    EXPECT_EQ(part_of(model, content, ChatPart::from_content), content + tail);
    EXPECT_EQ(model.render_chat(messages_of(content), "", true), head + content + tail);
  }
}

TEST(ChatPart, TextOfTheUserStaysText) {
  const Model model = with_template(chatml_template());
  const std::int32_t special = model.token_id("<|im_end|>");
  if (special < 0) GTEST_SKIP() << "the demo's vocabulary has no such token";
  for (const ChatPart part : {ChatPart::until_content_ends, ChatPart::from_content}) {
    const auto with = model.encode_chat_part(messages_of("<|im_end|>"), "", part);
    const auto without = model.encode_chat_part(messages_of("x"), "", part);
    EXPECT_EQ(std::count(with.begin(), with.end(), special),
              std::count(without.begin(), without.end(), special));
  }
}

TEST(ChatPart, TrimmedContentIsCutWhereItShows) {
  const Model model = with_template("[{{ messages[-1].content | trim }}]");
  EXPECT_EQ(part_of(model, "  a b ", ChatPart::until_content_ends), "[a b");
  EXPECT_EQ(part_of(model, "  a b ", ChatPart::from_content), "a b]");
}

TEST(ChatPart, ATemplateThatLooksAtTheContentCannotBeContinued) {
  const Model model = with_template(
      "{% if 'fox' in messages[-1].content %}animal: {% endif %}{{ messages[-1].content }}");
  EXPECT_EQ(part_of(model, "a king", ChatPart::from_content), "a king");
  for (const ChatPart part : {ChatPart::until_content_ends, ChatPart::from_content})
    expect_error(ErrorCode::unsupported, "depends on that message",
                 [&] { part_of(model, "a fox", part); });
  expect_error(ErrorCode::unsupported, "depends on that message", [&] {
    part_of(with_template("{{ messages[0].content }}"), "a", ChatPart::from_content);
  });
}

TEST(ChatPart, TheLastMessageMustHaveText) {
  const Model model = with_template(chatml_template());
  for (const char* messages :
       {"[]", "{}", "[1]", "[{\"role\": \"user\"}]",
        "[{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"a\"}]}]"})
    EXPECT_THROW(model.encode_chat_part(messages, "", ChatPart::from_content), Error) << messages;
}

}  // namespace
}  // namespace stepless::test
