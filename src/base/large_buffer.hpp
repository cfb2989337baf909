// Large zeroed memory straight from the kernel: KV pages, arenas, repacked weights. Given back when
// it ends.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace stepless {

enum class Pages : std::uint8_t {
  normal,
  huge,  // aligned to 2 MiB and advised: fewer TLB misses under random access; a wish, not a
         // promise
};

/// Movable. At least 64-byte aligned (4096 in fact), zero until written; untouched pages cost no
/// memory.
class LargeBuffer {
 public:
  LargeBuffer() = default;
  /// Throws Error: invalid_argument (negative), exhausted, naming `what` and the size asked.
  LargeBuffer(std::int64_t bytes, std::string_view what, Pages pages = Pages::normal);
  LargeBuffer(LargeBuffer&& other) noexcept;
  LargeBuffer& operator=(LargeBuffer&& other) noexcept;
  LargeBuffer(const LargeBuffer&) = delete;
  LargeBuffer& operator=(const LargeBuffer&) = delete;
  ~LargeBuffer();

  std::byte* data() const { return data_; }
  std::int64_t size() const { return size_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  std::byte* data_ = nullptr;
  std::int64_t size_ = 0, mapped_ = 0;
};

}  // namespace stepless
