// Memory that ends at a page nobody may touch: one byte too far is a fault, one byte before the
// start a failed check.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

namespace stepless::test {

class Guarded {
 public:
  /// `bytes` bytes, the last of them `gap` bytes before the forbidden page. gap 0 notices every
  /// read behind the end; gap 1 makes the address odd. All bytes start as 0xff: a NaN of every
  /// float type.
  explicit Guarded(std::int64_t bytes, std::int64_t gap = 0);
  /// The same with contents, read-only.
  explicit Guarded(std::span<const std::uint8_t> contents, std::int64_t gap = 0);
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  ~Guarded();

  std::uint8_t* data() const { return data_; }
  std::int64_t size() const { return size_; }
  std::span<const std::uint8_t> bytes() const { return {data_, static_cast<std::size_t>(size_)}; }
  /// Nothing was written beside the bytes, in the pages that are theirs.
  bool surroundings_intact() const;

 private:
  std::uint8_t* base_ = nullptr;
  std::uint8_t* data_ = nullptr;
  std::int64_t size_ = 0, mapped_ = 0;
};

}  // namespace stepless::test
