// Which part of a rendered conversation belongs to a prompt cache and which is appended to one: a
// second rendering, with a mark in place of the last message's content, shows where that content
// is.
#pragma once
#include <vector>

#include "base/json.hpp"
#include "stepless/model.hpp"
#include "text/chat_template.hpp"

namespace stepless {

/// Puts the mark in place of the last message's content. Throws Error (invalid_argument): there is
/// no last message, or its content is no text.
void mark_last_content(OrderedJson& messages);

/// `part` of what `runs` say; `marked` is the same conversation rendered with the mark. Throws
/// Error (unsupported) when the two differ in more than the content.
std::vector<TextRun> cut_runs(const std::vector<TextRun>& runs, const std::vector<TextRun>& marked,
                              ChatPart part);

}  // namespace stepless
