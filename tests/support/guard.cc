#include "tests/support/guard.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace stepless::test {
namespace {
constexpr int kSurroundings = 0xa5;
}

Guarded::Guarded(std::int64_t bytes, std::int64_t gap) : size_(bytes) {
  const std::int64_t page = ::sysconf(_SC_PAGESIZE);
  const std::int64_t open = (bytes + gap + page - 1) / page * page;
  mapped_ = open + page;
  void* const at = ::mmap(nullptr, static_cast<std::size_t>(mapped_), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) throw std::bad_alloc();
  base_ = static_cast<std::uint8_t*>(at);
  data_ = base_ + open - gap - bytes;
  std::memset(base_, kSurroundings, static_cast<std::size_t>(open));
  std::memset(data_, 0xff, static_cast<std::size_t>(bytes));
  if (::mprotect(base_ + open, static_cast<std::size_t>(page), PROT_NONE) != 0)
    throw std::bad_alloc();
}

Guarded::Guarded(std::span<const std::uint8_t> contents, std::int64_t gap)
    : Guarded(static_cast<std::int64_t>(contents.size()), gap) {
  std::ranges::copy(contents, data_);
  const std::int64_t page = ::sysconf(_SC_PAGESIZE);
  if (mapped_ > page && ::mprotect(base_, static_cast<std::size_t>(mapped_ - page), PROT_READ) != 0)
    throw std::bad_alloc();
}

Guarded::~Guarded() { ::munmap(base_, static_cast<std::size_t>(mapped_)); }

bool Guarded::surroundings_intact() const {
  const std::uint8_t* const end = base_ + mapped_ - ::sysconf(_SC_PAGESIZE);
  const auto intact = [](std::uint8_t byte) { return byte == kSurroundings; };
  return std::all_of(static_cast<const std::uint8_t*>(base_),
                     static_cast<const std::uint8_t*>(data_), intact) &&
         std::all_of(static_cast<const std::uint8_t*>(data_ + size_), end, intact);
}

}  // namespace stepless::test
