#include "text/jinja_lexer.hpp"

#include <gtest/gtest.h>

#include <random>

namespace stepless::jinja {
namespace {

std::vector<std::string> texts(std::string_view source) {
  std::vector<std::string> out;
  for (const Token& token : tokenize(source))
    if (token.kind == TokenKind::text) out.push_back(token.value);
  return out;
}

using Texts = std::vector<std::string>;

TEST(JinjaLexer, BlanksAndNewlinesAroundTags) {
  EXPECT_EQ(texts("a\n  {% x %}\n b"), (Texts{"a\n", " b"}));
  EXPECT_EQ(texts("a\n  {%+ x +%}\n b"), (Texts{"a\n  ", "\n b"}));
  EXPECT_EQ(texts("a \n {%- x -%} \n b"), (Texts{"a", "b"}));
  EXPECT_EQ(texts("a\n  {{ x }}\n b"), (Texts{"a\n  ", "\n b"}));
  EXPECT_EQ(texts("a {% x %}  {% y %}"), (Texts{"a ", "  "}));
  EXPECT_EQ(texts("{% x %}\n  {% y %}"), Texts{});
  EXPECT_EQ(texts("  {# c #}\n  {#- d -#}  e"), Texts{"e"});
  EXPECT_EQ(texts("a\r\nb\rc\n"), Texts{"a\nb\nc"});
  EXPECT_EQ(texts("{% raw %} {{ x }} {% y %}\n  {% endraw %}\nz"),
            (Texts{" {{ x }} {% y %}\n", "z"}));
}

TEST(JinjaLexer, ClosingDelimitersInsideBracketsAndStringsDoNotClose) {
  const auto tokens = tokenize("{{ {'a': {'b': '}}'}} }}");
  EXPECT_EQ(tokens.size(), 12U);
  EXPECT_EQ(tokens[7].value, "}}");
}

TEST(JinjaLexer, StringsResolvePythonsEscapes) {
  const auto value = [](const std::string& literal) {
    return tokenize("{{ " + literal + " }}")[1].value;
  };
  EXPECT_EQ(value(R"('\n\t\\\'\"\x41\u00e9\U0001F642\101\0\q')"),
            std::string("\n\t\\'\"Aé🙂A\0\\q", 16));
  EXPECT_EQ(value("'a\\\nb'"), "ab");
  EXPECT_EQ(value("'a\r\nb'"), "a\nb");
  for (const std::string bad : {R"('\x4')", R"('\ud83d')", R"('\U00110000')", R"('\uzzzz')"})
    EXPECT_THROW(value(bad), SyntaxError) << bad;
}

TEST(JinjaLexer, ErrorsCarryTheLine) {
  for (const std::string bad : {"\n\n{{ 'x", "\n\n{{ x", "\n\n{% x", "\n\n{# x", "\n\n{{ $ }}",
                                "\n\n{{ ) }}", "\n\n{{ (] }}", "\n\n{% raw %}x"}) {
    try {
      tokenize(bad);
      ADD_FAILURE() << bad;
    } catch (const SyntaxError& error) {
      EXPECT_EQ(error.line, 3) << bad;
    }
  }
}

TEST(JinjaLexer, AnyBytesEitherLexOrFail) {
  std::mt19937 random(6);
  const std::vector<std::string> parts = {"{{",     "}}", "{%", "%}", "{#", "#}", "-", "+", "raw",
                                          "endraw", " ",  "\n", "'",  "\"", "\\", "(", ")", "1",
                                          ".",      "e",  "_",  "x",  "é",  "{",  "}"};
  for (int round = 0; round < 20000; ++round) {
    std::string source;
    for (auto i = random() % 12; i > 0; --i) source += parts[random() % parts.size()];
    try {
      EXPECT_EQ(tokenize(source).back().kind, TokenKind::end);
    } catch (const SyntaxError&) {
    } catch (const Failure&) {
    }
  }
}

}  // namespace
}  // namespace stepless::jinja
