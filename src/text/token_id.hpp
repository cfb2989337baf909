// The number of a token.
#pragma once
#include <cstdint>

namespace stepless {

using TokenId = std::int32_t;

}  // namespace stepless
