// What a line typed into a chat means.
#pragma once
#include <string>

namespace stepless::cli {

struct ChatLine {
  enum class Kind { empty, message, quit, reset, help, system, save, load, retry, stats, set };
  Kind kind = Kind::empty;
  std::string text;  // the message, or what follows the command
};

/// q, r and h alone are mlx-lm's commands; others begin with a slash. Throws Error
/// (invalid_argument) for a command that is not known or lacks its argument, with the nearest name.
ChatLine parse_chat_line(const std::string& line);

/// What /help prints.
const char* chat_help();

}  // namespace stepless::cli
