#include "text/template_style.hpp"

namespace stepless {

std::string_view tool_style(std::string_view chat_template) {
  const auto has = [&](std::string_view mark) {
    return chat_template.find(mark) != std::string_view::npos;
  };
  if (has("<tool_call>")) return has("<function=") ? "qwen3-coder" : "hermes";
  if (has("[TOOL_CALLS]")) return "mistral";
  // Llama 3.2's has no python tag, but the same role for a tool's answer.
  if (has("<|python_tag|>") || (has("ipython") && has("\"parameters\""))) return "llama3";
  return "none";
}

std::string_view reasoning_style(std::string_view chat_template) {
  return chat_template.find("</think>") != std::string_view::npos ||
                 chat_template.find("<think>") != std::string_view::npos
             ? "think"
             : "none";
}

}  // namespace stepless
