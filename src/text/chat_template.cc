#include "text/chat_template.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "base/error.hpp"
#include "text/jinja_interp.hpp"
#include "text/jinja_lexer.hpp"
#include "text/jinja_unicode.hpp"

namespace stepless {
namespace {

constexpr std::array<std::string_view, 4> kUserVariables = {"messages", "tools", "documents",
                                                            "custom_tools"};

bool is_user_variable(std::string_view name, std::span<const std::string> more) {
  return std::find(kUserVariables.begin(), kUserVariables.end(), name) != kUserVariables.end() ||
         std::find(more.begin(), more.end(), name) != more.end();
}

std::vector<TextRun> cut_into_runs(const jinja::Text& text) {
  std::vector<TextRun> runs;
  const auto add = [&](std::int64_t begin, std::int64_t end, bool from_user) {
    if (begin == end) return;
    runs.push_back({text.bytes().substr(static_cast<std::size_t>(begin),
                                        static_cast<std::size_t>(end - begin)),
                    from_user});
  };
  std::int64_t done = 0;
  for (const jinja::Span& span : text.user_spans()) {
    add(done, span.begin, false);
    add(span.begin, span.end, true);
    done = span.end;
  }
  add(done, text.size(), false);
  return runs;
}

}  // namespace

struct ChatTemplate::Parsed {
  std::string what;
  TemplateLimits limits;
  jinja::Program program;

  jinja::Text render(const OrderedJson& variables, std::int64_t now_unix,
                     std::span<const std::string> user_variables) const;
};

ChatTemplate ChatTemplate::parse(std::string source, std::string_view what,
                                 const TemplateLimits& limits) {
  const auto bytes = static_cast<std::int64_t>(source.size());
  if (bytes > limits.template_bytes)
    fail(ErrorCode::exhausted, "{}: a chat template of {} bytes; the limit is {}", what, bytes,
         limits.template_bytes);
  if (!jinja::is_valid_utf8(source))
    fail(ErrorCode::corrupt, "{}: the chat template is not valid UTF-8", what);
  try {
    return ChatTemplate(
        std::make_shared<Parsed>(Parsed{std::string(what), limits, jinja::parse(source, limits)}));
  } catch (const jinja::SyntaxError& error) {
    fail(ErrorCode::corrupt, "{}: chat template, line {}: {}", what, error.line, error.what());
  } catch (const jinja::Failure& error) {
    const ErrorCode code = error.code() == ErrorCode::exhausted ? error.code() : ErrorCode::corrupt;
    fail(code, "{}: chat template: {}", what, error.what());
  }
}

jinja::Text ChatTemplate::Parsed::render(const OrderedJson& variables, std::int64_t now_unix,
                                         std::span<const std::string> user_variables) const {
  if (!variables.is_object())
    fail(ErrorCode::invalid_argument, "{}: the variables are {}; an object is expected", what,
         variables.type_name());
  jinja::Meter meter(limits);
  jinja::Interp interp(program, meter, now_unix);
  try {
    for (const std::string& name : program.names) {
      const auto at = variables.find(name);
      if (at != variables.end())
        interp.define(name, jinja::from_json(*at, is_user_variable(name, user_variables), meter));
    }
    return interp.run();
  } catch (const jinja::Failure& error) {
    fail(error.code(), "{}: chat template, line {}: {}", what, interp.line(), error.what());
  }
}

std::string ChatTemplate::render(const OrderedJson& variables, std::int64_t now_unix) const {
  return parsed_->render(variables, now_unix, {}).bytes();
}

std::vector<TextRun> ChatTemplate::render_runs(const OrderedJson& variables, std::int64_t now_unix,
                                               std::span<const std::string> user_variables) const {
  return cut_into_runs(parsed_->render(variables, now_unix, user_variables));
}

std::string_view default_chat_template() {
  return R"({%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\n' }}
{%- if message.content is string -%}
{{- message.content }}
{%- else -%}
{%- for part in message.content or [] -%}
{%- if part.type == 'text' -%}
{{- part.text }}
{%- else -%}
{{- raise_exception('a content part of type ' ~ part.type ~ '; only text is possible') }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\n' }}
{%- endif -%})";
}

}  // namespace stepless
