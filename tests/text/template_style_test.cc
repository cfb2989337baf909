#include "text/template_style.hpp"

#include <gtest/gtest.h>

namespace stepless {
namespace {

TEST(TemplateStyle, IsToldByTheMarksOfEachFamily) {
  const std::pair<const char*, const char*> tools[] = {
      {"{{ '<tool_call>\\n{\"name\": ' }}", "hermes"},
      {"<tool_call>\\n<function=' ~ name ~ '>", "qwen3-coder"},
      {"{{ '[TOOL_CALLS] [' }}", "mistral"},
      {"{{ '<|python_tag|>' }}", "llama3"},
      {"role == 'ipython' {\"name\": f, \"parameters\": d}", "llama3"},
      {"role == 'ipython'", "none"},
      {"{{ message.content }}", "none"}};
  for (const auto& [text, style] : tools) EXPECT_EQ(tool_style(text), style) << text;
  EXPECT_EQ(reasoning_style("content.split('</think>')[-1]"), "think");
  EXPECT_EQ(reasoning_style("{{ '<think>\\n' }}"), "think");
  EXPECT_EQ(reasoning_style("{{ 'think' }}"), "none");
}

}  // namespace
}  // namespace stepless
