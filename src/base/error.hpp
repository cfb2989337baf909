// Throwing an Error with a formatted message: fail(ErrorCode::corrupt, "{}: header of {} bytes",
// file, n).
#pragma once
#include <fmt/format.h>

#include <utility>

#include "stepless/error.hpp"

namespace stepless {

template <class... Args>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<Args...> form, Args&&... args) {
  throw Error(code, fmt::format(form, std::forward<Args>(args)...));
}

}  // namespace stepless
