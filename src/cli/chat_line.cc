#include "cli/chat_line.hpp"

#include <vector>

#include "base/error.hpp"
#include "base/quote.hpp"
#include "cli/settings.hpp"

namespace stepless::cli {
namespace {

using Kind = ChatLine::Kind;
enum class Takes { nothing, maybe, text };

struct Row {
  const char* name;
  Kind kind;
  Takes takes;
};
constexpr Row kCommands[] = {
    {"/quit", Kind::quit, Takes::nothing},   {"/reset", Kind::reset, Takes::nothing},
    {"/help", Kind::help, Takes::nothing},   {"/system", Kind::system, Takes::maybe},
    {"/save", Kind::save, Takes::text},      {"/load", Kind::load, Takes::text},
    {"/retry", Kind::retry, Takes::nothing}, {"/stats", Kind::stats, Takes::nothing},
    {"/set", Kind::set, Takes::maybe}};

std::string trimmed(const std::string& text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

[[noreturn]] void not_known(const std::string& name) {
  std::vector<std::string> names;
  for (const Row& row : kCommands) names.emplace_back(row.name);
  const std::string near = nearest_name(names, name);
  fail(ErrorCode::invalid_argument,
       "{}: no such command; {}; a message that begins with / goes between \"\"\"", in_quotes(name),
       near.empty() ? "/help lists them" : "did you mean " + near + "?");
}

}  // namespace

ChatLine parse_chat_line(const std::string& line) {
  const std::string text = trimmed(line);
  if (text.empty()) return {};
  if (text == "q") return {Kind::quit, ""};
  if (text == "r") return {Kind::reset, ""};
  if (text == "h") return {Kind::help, ""};
  if (text[0] != '/') return {Kind::message, line};
  const std::size_t end = std::min(text.find_first_of(" \t"), text.size());
  const std::string name = text.substr(0, end), rest = trimmed(text.substr(end));
  for (const Row& row : kCommands) {
    if (name != row.name) continue;
    if (row.takes == Takes::nothing && !rest.empty())
      fail(ErrorCode::invalid_argument, "{}: takes nothing; {} follows it", name, in_quotes(rest));
    if (row.takes == Takes::text && rest.empty())
      fail(ErrorCode::invalid_argument, "{}: needs a file name", name);
    return {row.kind, rest};
  }
  not_known(name);
}

const char* chat_help() {
  return "/quit, q        end; so do Ctrl-D and Ctrl-C twice\n"
         "/reset, r       forget the conversation, keep the system message\n"
         "/help, h        this list\n"
         "/system T       set the system message; without T: remove it\n"
         "/save F         write the conversation as JSON messages\n"
         "/load F         go on with a saved conversation\n"
         "/retry          answer the last message again, with the next seed\n"
         "/stats          tokens, speed and memory so far\n"
         "/set temp 0.7   change a sampling flag or max-tokens; without a name: show them\n"
         "\"\"\"             begins and ends a message of several lines\n"
         "Ctrl-C          ends an answer; at the prompt it clears the line\n";
}

}  // namespace stepless::cli
