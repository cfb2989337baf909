// The messages of a chat, and the file they are saved in: a JSON array as OpenAI's API has it.
#pragma once
#include <string>

#include "base/json.hpp"

namespace stepless::cli {

class Conversation {
 public:
  explicit Conversation(std::string system) : system_(std::move(system)) {}

  void set_system(const std::string& text) { system_ = text; }
  const std::string& system() const { return system_; }
  void add(const char* role, const std::string& text);
  /// Takes back the last message; false when its role is another.
  bool drop_last(const char* role);
  /// Everything but the system message is forgotten.
  void reset() { messages_ = OrderedJson::array(); }
  std::int64_t size() const { return static_cast<std::int64_t>(messages_.size()); }
  /// Whether the last message waits for an answer.
  bool waits() const;

  /// The array that templates and files get; the system message leads.
  OrderedJson json() const;
  /// Mode 0600, whole or not at all. Throws Error.
  void save(const std::string& path) const;
  /// Replaces the conversation. Throws Error naming the file and the message that is wrong; then
  /// the conversation is as it was.
  void load(const std::string& path);

 private:
  std::string system_;
  OrderedJson messages_ = OrderedJson::array();
};

}  // namespace stepless::cli
