// Rows of f32, f16 or bf16 in memory that ends at a forbidden page, with room between the rows that
// must stay as it is.
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "stepless/tensor.hpp"
#include "tests/oracle/number.hpp"
#include "tests/support/guard.hpp"
#include "tests/support/random.hpp"

namespace stepless::test {

class TypedRows {
 public:
  /// Poisoned with NaN. `room`: elements between rows.
  TypedRows(DType type, std::int64_t rows, std::int64_t width, std::int64_t room = 3)
      : type_(type),
        rows_(rows),
        width_(width),
        stride_(width + room),
        memory_(((rows - 1) * stride_ + width) * size_of(type)) {}

  /// Filled with normal numbers times `scale`, rounded to the type.
  TypedRows& fill(Random& random, double scale = 1) {
    for (std::int64_t i = 0; i < rows_; ++i)
      for (std::int64_t j = 0; j < width_; ++j) set(i, j, random.normal() * scale);
    return *this;
  }

  void set(std::int64_t i, std::int64_t j, double v) { oracle::store(v, type_, at(i, j)); }
  double get(std::int64_t i, std::int64_t j) const { return oracle::value(at(i, j), type_); }

  std::vector<double> row(std::int64_t i) const { return run(i, 0, width_); }
  std::vector<double> run(std::int64_t i, std::int64_t from, std::int64_t n) const {
    std::vector<double> values;
    for (std::int64_t j = from; j < from + n; ++j) values.push_back(get(i, j));
    return values;
  }
  std::vector<std::uint8_t> row_bytes(std::int64_t i) const {
    return {at(i, 0), at(i, 0) + width_ * size_of(type_)};
  }

  /// The room between rows still holds the poison, and nothing beside the memory changed.
  bool untouched_between() const {
    for (std::int64_t i = 0; i + 1 < rows_; ++i)
      for (const std::uint8_t* byte = at(i, width_); byte != at(i + 1, 0); ++byte)
        if (*byte != 0xff) return false;
    return memory_.surroundings_intact();
  }

  std::uint8_t* data() const { return memory_.data(); }
  std::int64_t stride() const { return stride_; }
  std::int64_t width() const { return width_; }
  std::int64_t rows() const { return rows_; }
  DType type() const { return type_; }

 private:
  std::uint8_t* at(std::int64_t i, std::int64_t j) const {
    return memory_.data() + (i * stride_ + j) * size_of(type_);
  }

  DType type_;
  std::int64_t rows_, width_, stride_;
  Guarded memory_;
};

inline constexpr DType kFloatTypes[] = {DType::f32, DType::f16, DType::bf16};

/// Half a unit in the last place, relative; below the normal range absolute (least_step).
inline double half_step(DType type) {
  return type == DType::f32 ? 0x1p-24 : type == DType::f16 ? 0x1p-11 : 0x1p-8;
}
inline double least_step(DType type) { return type == DType::f16 ? 0x1p-25 : 1e-38; }

/// y is ref rounded once to `type`, after float32 arithmetic whose error is at most `f32_error` of
/// `size`.
inline void expect_rounded(double y, double ref, DType type, double f32_error, double size) {
  if (std::isnan(ref)) {
    EXPECT_TRUE(std::isnan(y));
    return;
  }
  const double allowed = half_step(type) * std::abs(ref) + least_step(type) + f32_error * size;
  if (!(std::abs(y - oracle::rounded(ref, type)) <= 2 * allowed && std::abs(y - ref) <= allowed))
    ADD_FAILURE() << "got " << y << ", expected " << ref << ", off by "
                  << std::abs(y - ref) / allowed << " of what is allowed";
}

}  // namespace stepless::test
