// Chat templates against transformers' own renderings, and the promises besides: provenance,
// limits, threads.
#include "text/chat_template.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <thread>

#include "stepless/error.hpp"
#include "tests/support/paths.hpp"

namespace stepless {
namespace {

constexpr std::int64_t kGoldenNow = 1795165507;  // 2026-11-20 09:05:07

OrderedJson read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return parse_ordered_json(text.str(), path);
}

std::map<std::string, OrderedJson> read_inputs(const std::string& folder) {
  std::map<std::string, OrderedJson> out;
  for (const auto& input : read(folder + "/inputs.json")) out[input["name"]] = input["variables"];
  return out;
}

std::string joined(const std::vector<TextRun>& runs) {
  std::string out;
  for (const TextRun& run : runs) out += run.text;
  return out;
}

void check_case(const std::string& source, const OrderedJson& golden,
                const OrderedJson& variables) {
  if (golden.contains("text")) {
    const ChatTemplate parsed = ChatTemplate::parse(source, "golden");
    EXPECT_EQ(parsed.render(variables, kGoldenNow), golden["text"].get<std::string>());
    EXPECT_EQ(joined(parsed.render_runs(variables, kGoldenNow)), golden["text"].get<std::string>());
    return;
  }
  try {
    const std::string text = ChatTemplate::parse(source, "golden").render(variables, kGoldenNow);
    ADD_FAILURE() << "rendered: " << text;
  } catch (const Error& error) {
    if (!golden.contains("raised")) return;
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_NE(std::string(error.what()).find(golden["raised"].get<std::string>()),
              std::string::npos)
        << error.what();
  }
}

/// Renders every case of every template in `folder` and returns how many cases there were.
int check_folder(const std::string& folder) {
  const auto inputs = read_inputs(folder);
  int cases = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".json") continue;
    const OrderedJson file = read(entry.path().string());
    if (!file.is_object() || !file.contains("template")) continue;
    for (const auto& golden : file["cases"]) {
      const std::string input = golden["input"];
      SCOPED_TRACE(entry.path().stem().string() + ", " + input);
      check_case(file["template"], golden, inputs.at(input));
      ++cases;
    }
  }
  return cases;
}

TEST(ChatTemplate, RendersTheFixturesAsTransformersDoes) {
  EXPECT_EQ(check_folder(test::golden_dir() + "/templates"), 249);
}

TEST(ChatTemplate, RendersPublishersTemplatesAsTransformersDoes) {
  const auto shared = test::shared_dir();
  if (!shared) GTEST_SKIP() << "publishers' templates are in the shared folder only";
  EXPECT_GE(check_folder(*shared + "/golden/templates"), 451);
}

TEST(ChatTemplate, SmallTemplatesDoWhatJinjaDoes) {
  const OrderedJson file = read(test::golden_dir() + "/snippets/snippets.json");
  ASSERT_GT(file["cases"].size(), 3000U);
  for (const auto& golden : file["cases"]) {
    SCOPED_TRACE(golden[0].get<std::string>());
    OrderedJson expected = OrderedJson::object();
    if (golden[1].is_string()) expected["text"] = golden[1];
    check_case(golden[0], expected, file["variables"]);
  }
}

/// No test waits for the clock, save the one of that limit.
constexpr TemplateLimits kPatient{.seconds = 600};

std::string render(const std::string& source, const OrderedJson& variables = OrderedJson::object(),
                   const TemplateLimits& limits = kPatient) {
  return ChatTemplate::parse(source, "test.jinja", limits).render(variables);
}

Error error_of(const std::string& source, const OrderedJson& variables = OrderedJson::object(),
               const TemplateLimits& limits = kPatient) {
  try {
    const std::string text = render(source, variables, limits);
    return Error(ErrorCode::internal, "rendered: " + text);
  } catch (const Error& error) {
    return error;
  }
}

OrderedJson with_content(const std::string& content) {
  return {{"messages", OrderedJson::array({{{"role", "user"}, {"content", content}}})}};
}

TEST(ChatTemplate, ErrorsNameTheFileAndTheLine) {
  const Error syntax = error_of("a\n{% if x %}\n{% endfor %}");
  EXPECT_EQ(syntax.code(), ErrorCode::corrupt);
  EXPECT_NE(std::string(syntax.what()).find("test.jinja: chat template, line 3"), std::string::npos)
      << syntax.what();
  const Error open = error_of("\n{% if x %}\n\n");
  EXPECT_NE(std::string(open.what()).find("{% if %} of line 2"), std::string::npos) << open.what();
  const Error running = error_of("a\n\n{{ 'x' + 1 }}");
  EXPECT_EQ(running.code(), ErrorCode::invalid_argument);
  EXPECT_NE(std::string(running.what()).find("line 3: str + int"), std::string::npos)
      << running.what();
  EXPECT_EQ(error_of("\xff").code(), ErrorCode::corrupt);
  EXPECT_EQ(error_of("{{ messages }}", with_content("\xff")).code(), ErrorCode::invalid_argument);
  EXPECT_EQ(error_of("{{ 1 }}", OrderedJson::array()).code(), ErrorCode::invalid_argument);
}

TEST(ChatTemplate, UndefinedValuesSayWhy) {
  EXPECT_NE(std::string(error_of("{{ nosuch.x }}").what()).find("'nosuch' is undefined"),
            std::string::npos);
  EXPECT_NE(std::string(error_of("{{ messages.append(1) }}", with_content("")).what())
                .find("would change a list"),
            std::string::npos);
}

// ---- provenance ----

std::string in_user_runs(const std::vector<TextRun>& runs) {
  std::string out;
  for (const TextRun& run : runs)
    if (run.from_user) out += run.text;
  return out;
}

TEST(Provenance, UserTextStaysTheUsersThroughEveryOperation) {
  // The user writes Chinese characters, which no filter changes; the template writes none.
  const std::vector<std::string> expressions = {"c",
                                                "c + 'x'",
                                                "'x' + c",
                                                "'x' ~ c ~ 1",
                                                "c * 2",
                                                "c | trim",
                                                "c | replace('<', '«')",
                                                "c | replace('漢', c)",
                                                "'abab' | replace('a', c)",
                                                "c.replace('<|', c)",
                                                "c.split('|')[0]",
                                                "c.split('|') | join('+')",
                                                "c.split()[-1]",
                                                "c.rsplit(None, 1)[0]",
                                                "c[:-3]",
                                                "c[::-1]",
                                                "c[2:5]",
                                                "c[3]",
                                                "c | first",
                                                "c | last",
                                                "c | list | join",
                                                "c | upper",
                                                "c | lower",
                                                "c | title",
                                                "c | capitalize",
                                                "c.swapcase()",
                                                "c.casefold()",
                                                "c.strip('<')",
                                                "c.lstrip()",
                                                "c.partition('字')[2]",
                                                "c.rpartition('字') | join",
                                                "c.splitlines() | join('/')",
                                                "c | tojson",
                                                "messages | tojson",
                                                "messages | tojson(indent=2, ensure_ascii=true)",
                                                "messages",
                                                "[c]",
                                                "{'k': c}",
                                                "{c: 1}",
                                                "'%s!' | format(c)",
                                                "'%5s|%r' % (c, c)",
                                                "'{}{x:>9}'.format(c, x=c)",
                                                "c.format()",
                                                "c % ()",
                                                "c | indent(2)",
                                                "c | truncate(5, true)",
                                                "c | center(40)",
                                                "c.ljust(40, '*')",
                                                "c.zfill(40)",
                                                "c.expandtabs()",
                                                "c | e",
                                                "c | forceescape",
                                                "(c | safe) + '<'",
                                                "c | striptags",
                                                "c | urlencode",
                                                "c | string",
                                                "c | default('d')",
                                                "[c, 'b'] | join(', ')",
                                                "['a', 'b'] | join(c)",
                                                "c.join(['a', 'b'])",
                                                "[c, 'a'] | sort | first",
                                                "[c] | max",
                                                "messages | map(attribute='content') | join",
                                                "messages[0].items() | list",
                                                "messages[0].values() | list | string",
                                                "messages[0] | dictsort",
                                                "messages | groupby('content')",
                                                "c.removeprefix('<')",
                                                "namespace(t=c).t",
                                                "dict(a=c).a",
                                                "c | reverse",
                                                "c | batch(3) | list",
                                                "c | slice(2) | map('join') | join('-')",
                                                "strftime_now('%Y' ~ c)",
                                                "messages[0].get('content')",
                                                "c if c else 'x'",
                                                "none or c",
                                                "caller_of(c)",
                                                "cycler(c).next()",
                                                "dict(**{c: 1}).keys() | first",
                                                "names(**{c: 1})",
                                                "1 | tojson(indent=c)",
                                                "[[1, 2]] | tojson(separators=(c, c))",
                                                "'x'.join([c, c])",
                                                "('{:漢>9}' ~ c).format(1)",
                                                "range(3) | join(c)",
                                                "joiner(c)",
                                                "messages | sum(attribute='content', start='')"};
  const std::string setup =
      "{%- set c = messages[0].content -%}{%- macro caller_of(x) -%}[{{ x }}]{%- endmacro -%}"
      "{%- macro names() -%}{{ kwargs.keys() | join }}{%- endmacro -%}";
  const std::string content = " <|im_end|>漢字\t仮名 a\nb|字 ";
  int rendered = 0;
  for (const std::string& expression : expressions) {
    SCOPED_TRACE(expression);
    const std::string source = setup + "<|im_start|>{{ " + expression + " }}<|im_start|>";
    std::vector<TextRun> runs;
    try {
      runs = ChatTemplate::parse(source, "p").render_runs(with_content(content));
    } catch (const Error&) {
      continue;  // a few of them are refused, e.g. sum of texts
    }
    ++rendered;
    ASSERT_GE(runs.size(), 1U);
    EXPECT_FALSE(runs.front().from_user);
    EXPECT_TRUE(runs.front().text.starts_with("<|im_start|>"));
    EXPECT_TRUE(runs.back().text.ends_with("<|im_start|>"));
    for (std::size_t i = 0; i < runs.size(); ++i) {
      EXPECT_FALSE(runs[i].text.empty());
      if (i > 0) {
        EXPECT_NE(runs[i].from_user, runs[i - 1].from_user) << "runs alternate";
      }
      if (runs[i].from_user) continue;
      EXPECT_EQ(runs[i].text.find("im_end"), std::string::npos) << runs[i].text;
      for (const std::string_view mine : {"漢", "字", "仮", "名"})
        EXPECT_EQ(runs[i].text.find(mine), std::string::npos) << runs[i].text;
    }
  }
  EXPECT_GE(rendered, 75);
}

TEST(Provenance, SpecialTokensOfUsersStayInUserRuns) {
  const OrderedJson variables = {
      {"bos_token", "<s>"},
      {"messages", OrderedJson::array({{{"role", "user"}, {"content", "  a<|im_end|>b  "}}})},
      {"tools", OrderedJson::array({{{"name", "<s>"}}})}};
  const auto runs = ChatTemplate::parse(
                        "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ "
                        "m.content | trim }}<|im_end|>"
                        "{% endfor %}{{ tools | tojson }}",
                        "p")
                        .render_runs(variables);
  ASSERT_EQ(runs.size(), 6U);
  EXPECT_EQ(runs[0].text, "<s><|im_start|>");
  EXPECT_EQ(runs[1].text, "user");
  EXPECT_EQ(runs[2].text, "\n");
  EXPECT_EQ(runs[3].text, "a<|im_end|>b");
  EXPECT_EQ(runs[4].text, "<|im_end|>");
  EXPECT_EQ(runs[5].text, "[{\"name\": \"<s>\"}]");
  for (std::size_t i = 0; i < runs.size(); ++i) EXPECT_EQ(runs[i].from_user, i % 2 == 1);
}

TEST(Provenance, TheCallerNamesFurtherUserVariables) {
  const OrderedJson variables = {
      {"title", "<|x|>"}, {"eos_token", "</s>"}, {"documents", {"d"}}, {"n", 5}};
  const ChatTemplate parsed =
      ChatTemplate::parse("{{ title }}|{{ eos_token }}|{{ documents[0] }}|{{ n + 1 }}", "p");
  EXPECT_EQ(in_user_runs(parsed.render_runs(variables)), "d");
  const std::vector<std::string> names = {"title", "n"};
  EXPECT_EQ(in_user_runs(parsed.render_runs(variables, 0, names)), "<|x|>d6");
}

TEST(Provenance, PiecesKeepTheirExactBorders) {
  const auto runs =
      ChatTemplate::parse(
          "{% set t = 'ab' ~ messages[0].content ~ 'ef' %}{{ t[1:-1].upper().replace('D', 'dd') }}",
          "p")
          .render_runs(with_content("cd"));
  ASSERT_EQ(runs.size(), 3U);
  EXPECT_EQ(runs[0].text, "B");
  EXPECT_EQ(runs[1].text, "C");
  EXPECT_EQ(runs[2].text, "ddE") << "what replaces is the template's";
}

// ---- limits ----

TEST(Limits, EachIsNamedWhenItIsReached) {
  const auto check = [](const std::string& source, const TemplateLimits& limits,
                        std::string_view message) {
    const Error error = error_of(source, with_content("abc"), limits);
    EXPECT_EQ(error.code(), ErrorCode::exhausted) << source.substr(0, 60) << error.what();
    EXPECT_NE(std::string(error.what()).find(message), std::string::npos) << error.what();
  };
  check("0123456789", {.template_bytes = 9}, "10 bytes; the limit is 9");
  check("{% for i in range(100) %}0123456789{% endfor %}", {.output_bytes = 999},
        "the limit is 999");
  check("{% set x = 'a' * 1000 %}", {.output_bytes = 999}, "the limit is 999");
  check("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        {.steps = 100'000, .seconds = 600}, "more than 100000 steps");
  check("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", kPatient, "deeper than 64");
  check("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", kPatient, "deeper than 64");
  check(
      "{% set ns = namespace(l=[]) %}{% for i in range(1000) %}{% set ns.l = [ns.l] %}{% endfor %}",
      {}, "deeper than 200");
  check("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        {.steps = std::int64_t{1} << 40, .seconds = 0.02}, "still running after");
}

TEST(Limits, ATemplateJustInsideThemRenders) {
  EXPECT_EQ(render("0123456789", OrderedJson::object(), {.template_bytes = 10, .output_bytes = 10}),
            "0123456789");
  EXPECT_EQ(render("{% macro f(n) %}{% if n %}{{ f(n - 1) }}{% else %}x{% endif %}{% endmacro %}{{ "
                   "f(63) }}"),
            "x");
}

std::string repeated(std::string_view part, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += part;
  return out;
}

TEST(Limits, DeepSourcesAndValuesDoNotOverflowTheStack) {
  for (const auto& [open, middle, close] :
       std::vector<std::tuple<std::string, std::string, std::string>>{
           {"{{ " + repeated("(", 50000), "1", repeated(")", 50000) + " }}"},
           {"{{ " + repeated("[", 50000), "", repeated("]", 50000) + " }}"},
           {"{{ " + repeated("not ", 50000), "1", " }}"},
           {"{{ " + repeated("-", 1), repeated(" -", 50000), "1 }}"},
           {"{{ x", repeated(".a", 50000), " }}"},
           {"{{ x", repeated("()", 50000), " }}"},
           {"{{ 1", repeated("|d", 50000), " }}"},
           {"{{ ", repeated("1 if 0 else ", 50000), "2 }}"},
           {repeated("{% if 1 %}", 20000), "", repeated("{% endif %}", 20000)},
           {"{% set ", repeated("(", 50000), "a" + repeated(")", 50000) + " = 1 %}"}}) {
    EXPECT_EQ(error_of(open + middle + close).code(), ErrorCode::exhausted) << open.substr(0, 20);
  }
  EXPECT_EQ(render("{{ 1" + repeated(" + 1", 50000) + " }}"), "50001");
  EXPECT_EQ(render("{{ ''" + repeated(" ~ 1", 50000) + " }}"), repeated("1", 50000));
  EXPECT_EQ(render("{{ 0" + repeated(" or 0", 50000) + " }}"), "0");
  OrderedJson deep = 1;
  for (int i = 0; i < 300; ++i) deep = OrderedJson::array({std::move(deep)});
  EXPECT_EQ(error_of("{{ messages }}", {{"messages", deep}}).code(), ErrorCode::invalid_argument);
}

TEST(Limits, ValuesThatReachThemselvesAreFreed) {
  EXPECT_EQ(render("{% set ns = namespace() %}{% set ns.me = [ns] %}{{ ns.me | length }}"), "1");
  EXPECT_EQ(error_of("{% set ns = namespace() %}{% set ns.me = [ns] %}{{ ns }}").code(),
            ErrorCode::invalid_argument);
  EXPECT_EQ(render("{% set ns = namespace() %}{% for i in range(10000) %}{% set ns.l = "
                   "namespace(p=ns.l) %}{% endfor %}x"),
            "x");
  EXPECT_EQ(render("{% set ns = namespace(l=0) %}{% for i in range(10000) %}{% for x in [ns.l] "
                   "%}{% set ns.l = loop %}"
                   "{% endfor %}{% endfor %}x"),
            "x");
}

TEST(Limits, LongContentsCostStepsInProportion) {
  const std::string content = repeated("Long — <|im_end|> text.\n", 40000);  // 1 MB
  const std::string source =
      "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content | trim + '<|im_end|>' "
      "}}{% endfor %}";
  const OrderedJson variables = with_content(content);
  const TemplateLimits limits{.steps =
                                  200'000};  // 1 MB is copied a handful of times: 16,000 steps each
  const std::string text = render(source, variables, limits);
  EXPECT_EQ(text.size(), content.size() - 1 + std::string("<|im_start|>user\n<|im_end|>").size());
  EXPECT_EQ(render("{% for c in messages[0].content %}{{ c }}{% endfor %}", variables).size(),
            content.size());
}

TEST(ChatTemplate, OneTemplateRendersOnManyThreads) {
  const ChatTemplate parsed = ChatTemplate::parse(
      "{% macro f(x) %}{{ x | upper }}{% endmacro %}{% set ns = namespace(n=0) %}{% for m in "
      "messages %}{% set ns.n = ns.n + 1 %}"
      "{{ f(m.content) }}{{ ns.n }}{{ loop.cycle('a', 'b') }}{% endfor %}{{ [3, 1] | sort }}",
      "threads");
  std::vector<std::string> results(4);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < results.size(); ++i)
    threads.emplace_back([&, i] {
      for (int round = 0; round < 50; ++round)
        results[i] = parsed.render(with_content("hi" + std::to_string(i)));
    });
  for (std::thread& thread : threads) thread.join();
  for (std::size_t i = 0; i < results.size(); ++i)
    EXPECT_EQ(results[i], "HI" + std::to_string(i) + "1a[1, 3]");
}

TEST(DefaultTemplate, IsChatMl) {
  const ChatTemplate parsed = ChatTemplate::parse(std::string(default_chat_template()), "default");
  const OrderedJson variables = {
      {"messages",
       OrderedJson::array({{{"role", "system"}, {"content", "S"}},
                           {{"role", "user"}, {"content", {{{"type", "text"}, {"text", " hi\n"}}}}},
                           {{"role", "assistant"}, {"content", nullptr}}})},
      {"add_generation_prompt", true}};
  EXPECT_EQ(parsed.render(variables),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n "
            "hi\n<|im_end|>\n<|im_start|>assistant\n<|im_end|>\n"
            "<|im_start|>assistant\n");
  const OrderedJson image = {
      {"messages", OrderedJson::array({{{"role", "user"}, {"content", {{{"type", "image"}}}}}})}};
  EXPECT_THROW(parsed.render(image), Error);
}

}  // namespace
}  // namespace stepless
