// Whether this build carries a sanitizer: it adds memory of its own and needs terabytes of address
// space.
#pragma once

namespace stepless::test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace stepless::test
