// Which part of a rendered conversation belongs to a prompt cache and which is appended to one: a
// second rendering, with a mark in place of the last message's content, shows where that content
// is.
#pragma once
#include <string>
#include <vector>

#include "base/json.hpp"
#include "stepless/model.hpp"
#include "text/chat_template.hpp"

namespace stepless {

/// Puts the mark in place of the last message's content, and returns that. Throws Error
/// (invalid_argument): there is no last message, or its content is no text.
std::string mark_last_content(OrderedJson& messages);

/// A conversation rendered as it is and with the mark, and the content that the mark stood for.
struct Marked {
  std::vector<TextRun> runs, marked;
  std::string content;
};
/// `part` of the conversation. Throws Error (unsupported) when the renderings differ in more than
/// the content; the template may trim that.
std::vector<TextRun> cut_runs(const Marked& conversation, ChatPart part);

}  // namespace stepless
