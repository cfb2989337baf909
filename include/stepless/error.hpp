// The one error type of the library. Every function that can fail throws it; nothing prints or
// exits.
#pragma once
#include <stdexcept>
#include <string>
#include <string_view>

namespace stepless {

enum class ErrorCode {
  invalid_argument = 1,  // a value the caller passed; the message names it
  unsupported,           // right, but not something this build or machine can do
  not_found,             // a file, model or name that is not there
  corrupt,               // a file that contradicts itself or its format
  exhausted,             // memory, disk or a stated limit
  device,                // an accelerator failed
  cancelled,             // asked to stop
  internal,              // a bug in Stepless
};

/// The token of a code, e.g. "invalid_argument".
std::string_view to_string(ErrorCode code);

/// Message form: `thing: what is wrong, with the values; what would be right`.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace stepless
