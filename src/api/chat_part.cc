#include "api/chat_part.hpp"

#include <algorithm>
#include <utility>

#include "base/error.hpp"

namespace stepless {
namespace {

// Characters for private use: no template looks for them, and none is white space to be trimmed.
constexpr const char* kMark = "\uE5A5content\uE5A6";

std::string joined(const std::vector<TextRun>& runs) {
  std::string text;
  for (const TextRun& run : runs) text += run.text;
  return text;
}

/// Bytes [begin, end) of the joined text, as runs.
std::vector<TextRun> slice(const std::vector<TextRun>& runs, std::size_t begin, std::size_t end) {
  std::vector<TextRun> cut;
  std::size_t at = 0;
  for (const TextRun& run : runs) {
    const std::size_t from = std::max(begin, at), to = std::min(end, at + run.text.size());
    if (from < to) cut.push_back({run.text.substr(from - at, to - from), run.from_user});
    at += run.text.size();
  }
  return cut;
}

}  // namespace

std::string mark_last_content(OrderedJson& messages) {
  if (!messages.is_array() || messages.empty() || !messages.back().is_object() ||
      !messages.back().contains("content") || !messages.back()["content"].is_string())
    fail(ErrorCode::invalid_argument, "messages: the last one has no text as its content");
  return std::exchange(messages.back()["content"], kMark).get<std::string>();
}

std::vector<TextRun> cut_runs(const Marked& conversation, ChatPart part) {
  const std::string text = joined(conversation.runs), around = joined(conversation.marked);
  const std::string mark = kMark;
  const std::size_t at = around.find(mark);
  const std::string before = around.substr(0, at);
  const std::string behind = at == std::string::npos ? "" : around.substr(at + mark.size());
  const std::size_t rest = before.size() + behind.size();
  if (at == std::string::npos || text.size() < rest || !text.starts_with(before) ||
      !text.ends_with(behind) ||
      conversation.content.find(text.substr(before.size(), text.size() - rest)) ==
          std::string::npos)
    fail(ErrorCode::unsupported,
         "chat template: what it writes around the last message depends on that message, so it "
         "cannot be continued; --ignore-chat-template takes the prompt as it is");
  if (part == ChatPart::from_content) return slice(conversation.runs, before.size(), text.size());
  return slice(conversation.runs, 0, text.size() - behind.size());
}

}  // namespace stepless
