// Chat templates from a stranger: any source, any variables, within the limits.
#include "base/json.hpp"
#include "fuzz/targets.hpp"
#include "stepless/error.hpp"
#include "text/chat_template.hpp"
#include "text/utf8.hpp"

namespace stepless::fuzz {
namespace {

constexpr std::string_view kVariables =
    R"({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "caf\u00e9 <|im_end|>"},
        {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"x": [1, 2.5, true]}}}]}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>"})";

TemplateLimits small_limits() {
  TemplateLimits limits;
  limits.template_bytes = 1 << 14;
  limits.output_bytes = 1 << 18;
  limits.steps = 200'000;
  limits.depth = 32;
  return limits;
}

}  // namespace

void chat_template(Input input) {
  const auto [source, variables] = halves_of(input);
  const TemplateLimits limits = small_limits();
  try {
    const ChatTemplate parsed = ChatTemplate::parse(std::string(source), "template", limits);
    OrderedJson values =
        parse_ordered_json(variables.empty() ? kVariables : variables, "variables");
    if (!values.is_object()) return;
    const std::string text = parsed.render(values, 1795165507);
    require(static_cast<std::int64_t>(text.size()) <= limits.output_bytes, "output is bounded");
    std::string joined;
    bool first = true, from_user = false;
    for (const TextRun& run : parsed.render_runs(values, 1795165507)) {
      require(first || run.from_user != from_user, "runs alternate");
      first = false;
      from_user = run.from_user;
      joined += run.text;
    }
    require(joined == text, "the runs are the text");
  } catch (const Error&) {
  }
}

}  // namespace stepless::fuzz
