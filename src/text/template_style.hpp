// How a model writes tool calls and reasoning, told by the text of its chat template.
#pragma once
#include <string_view>

namespace stepless {

/// "qwen3-coder" (XML in <tool_call>), "hermes" (JSON in <tool_call>), "mistral" ([TOOL_CALLS]),
/// "llama3" (bare JSON or <|python_tag|>), "none".
std::string_view tool_style(std::string_view chat_template);
/// "think" (<think> … </think>) or "none".
std::string_view reasoning_style(std::string_view chat_template);

}  // namespace stepless
