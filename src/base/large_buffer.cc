#include "base/large_buffer.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/checked.hpp"
#include "base/error.hpp"

namespace stepless {
namespace {

constexpr std::int64_t kHugeBytes = std::int64_t{2} << 20;
constexpr std::int64_t kPageBytes = 65536;  // the largest normal page of the machines we know

}  // namespace

LargeBuffer::LargeBuffer(std::int64_t bytes, std::string_view what, Pages pages) {
  if (bytes < 0) fail(ErrorCode::invalid_argument, "{}: {} bytes of memory asked", what, bytes);
  if (bytes == 0) return;
  const bool huge = pages == Pages::huge && bytes >= kHugeBytes;
  const std::int64_t step = huge ? kHugeBytes : kPageBytes;
  // A step more than needed, so that an aligned start lies inside; what sticks out goes back at
  // once.
  const std::int64_t asked = checked_add(bytes, (huge ? 2 : 1) * step, what);
  const std::int64_t whole = (asked - (huge ? step : 0)) / step * step;
  const std::int64_t total = huge ? whole + step : whole;
  void* const at = ::mmap(nullptr, static_cast<std::size_t>(total), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED)
    fail(ErrorCode::exhausted, "{}: {} bytes of memory asked: {}", what, bytes,
         std::strerror(errno));
  data_ = static_cast<std::byte*>(at);
  size_ = bytes;
  mapped_ = whole;
  if (!huge) return;
  const auto address = reinterpret_cast<std::uintptr_t>(at);
  const std::int64_t before =
      (kHugeBytes - static_cast<std::int64_t>(address % kHugeBytes)) % kHugeBytes;
  if (before > 0) ::munmap(data_, static_cast<std::size_t>(before));
  data_ += before;
  if (before < step) ::munmap(data_ + whole, static_cast<std::size_t>(step - before));
  ::madvise(data_, static_cast<std::size_t>(whole), MADV_HUGEPAGE);
}

LargeBuffer::LargeBuffer(LargeBuffer&& other) noexcept { *this = std::move(other); }

LargeBuffer& LargeBuffer::operator=(LargeBuffer&& other) noexcept {
  if (this == &other) return *this;
  if (data_ != nullptr) ::munmap(data_, static_cast<std::size_t>(mapped_));
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  mapped_ = std::exchange(other.mapped_, 0);
  return *this;
}

LargeBuffer::~LargeBuffer() {
  if (data_ != nullptr) ::munmap(data_, static_cast<std::size_t>(mapped_));
}

}  // namespace stepless
