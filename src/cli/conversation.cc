#include "cli/conversation.hpp"

#include <cstdlib>

#include "base/error.hpp"
#include "cli/private_file.hpp"

namespace stepless::cli {
namespace {

constexpr std::int64_t kMostBytes = std::int64_t{64} << 20;

/// ~ and ~/x, as shells have it: what is typed at a prompt has seen no shell.
std::string expand_home(const std::string& path) {
  const char* home = std::getenv("HOME");
  if (home == nullptr || (path != "~" && !path.starts_with("~/"))) return path;
  return home + path.substr(1);
}

void check_message(const OrderedJson& message, const std::string& what) {
  if (!message.is_object()) fail(ErrorCode::corrupt, "{}: not an object", what);
  for (const char* key : {"role", "content"})
    if (!message.contains(key) || !message[key].is_string())
      fail(ErrorCode::corrupt, "{}: no text \"{}\"; {{\"role\": \"user\", \"content\": \"...\"}}",
           what, key);
  const std::string role = message["role"];
  if (role != "system" && role != "user" && role != "assistant")
    fail(ErrorCode::corrupt, "{}: role \"{}\"; system, user or assistant", what, role);
}

}  // namespace

void Conversation::add(const char* role, const std::string& text) {
  messages_.push_back({{"role", role}, {"content", text}});
}

bool Conversation::drop_last(const char* role) {
  if (messages_.empty() || messages_.back()["role"] != role) return false;
  messages_.erase(messages_.size() - 1);
  return true;
}

bool Conversation::waits() const {
  return !messages_.empty() && messages_.back()["role"] == "user";
}

OrderedJson Conversation::json() const {
  OrderedJson all = OrderedJson::array();
  if (!system_.empty()) all.push_back({{"role", "system"}, {"content", system_}});
  for (const OrderedJson& message : messages_) all.push_back(message);
  return all;
}

void Conversation::save(const std::string& path) const {
  write_private_file(expand_home(path),
                     json().dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n");
}

void Conversation::load(const std::string& given) {
  const std::string path = expand_home(given);
  OrderedJson all = parse_ordered_json(read_text(path, kMostBytes), path);
  if (!all.is_array()) fail(ErrorCode::corrupt, "{}: not a JSON array of messages", path);
  std::string system;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::string what = fmt::format("{}: message {}", path, i + 1);
    check_message(all[i], what);
    if (all[i]["role"] != "system") continue;
    if (i != 0) fail(ErrorCode::corrupt, "{}: a system message; only the first may be one", what);
    system = all[i]["content"];
  }
  if (!all.empty() && all[0]["role"] == "system") all.erase(0);
  system_ = std::move(system);
  messages_ = std::move(all);
}

}  // namespace stepless::cli
