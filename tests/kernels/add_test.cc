// Sums of rows, and the rows taken for sampling.
#include <gtest/gtest.h>

#include <cstring>
#include <optional>

#include "tests/support/each_row.hpp"
#include "tests/support/typed_rows.hpp"

namespace stepless::test {
namespace {

struct AddCase {
  DType type = DType::f32, b_type = DType::f32, y_type = DType::f32;
  std::int64_t rows = 2, width = 5;
  bool with_b = true, b_row = false;
  double a_scale = 1, b_scale = 1, softcap = 0;
};

class EachAdd : public EachRow {
 protected:
  static void run(const AddCase& c, const TypedRows& a, const TypedRows& b, const TypedRows& y,
                  kernels::Slice slice, const Kernel& kernel = row()) {
    kernels::AddArgs args = {};
    args.a = a.data();
    args.b = c.with_b ? b.data() : nullptr;
    args.y = y.data();
    args.type = c.type;
    args.b_type = c.b_type;
    args.y_type = c.y_type;
    args.b_row = c.b_row;
    args.rows = c.rows;
    args.width = c.width;
    args.a_stride = a.stride();
    args.b_stride = b.stride();
    args.y_stride = y.stride();
    args.a_scale = static_cast<float>(c.a_scale);
    args.b_scale = static_cast<float>(c.b_scale);
    args.softcap = static_cast<float>(c.softcap);
    kernel.entry->run(&args, slice);
  }

  static void check(const AddCase& c) {
    SCOPED_TRACE(testing::Message() << "width " << c.width << ", b_row " << c.b_row);
    Random random(static_cast<std::uint64_t>(c.width + 7));
    TypedRows a(c.type, c.rows, c.width), b(c.b_type, c.b_row ? 1 : c.rows, c.width, 1);
    a.fill(random, 2);
    b.fill(random);
    TypedRows y(c.y_type, c.rows, c.width, 4);
    run(c, a, b, y, {0, c.rows});
    EXPECT_TRUE(y.untouched_between());
    for (std::int64_t i = 0; i < c.rows; ++i)
      for (std::int64_t j = 0; j < c.width; ++j) {
        const double left = a.get(i, j) * c.a_scale;
        const double right = c.with_b ? b.get(c.b_row ? 0 : i, j) * c.b_scale : 0;
        double ref = left + right;
        if (c.softcap != 0) ref = c.softcap * std::tanh(ref / c.softcap);
        expect_rounded(y.get(i, j), ref, c.y_type, 3e-7, std::abs(left) + std::abs(right));
      }
  }
};

TEST_P(EachAdd, EveryTypeAndWidth) {
  for (const DType type : kFloatTypes)
    for (const DType b_type : kFloatTypes)
      for (const std::int64_t width : {1, 3, 4, 63, 256, 257, 515}) {
        check({.type = type, .b_type = b_type, .y_type = type, .rows = 3, .width = width});
        check({.type = type,
               .b_type = b_type,
               .y_type = DType::f32,
               .rows = 3,
               .width = width,
               .b_row = true});
      }
}

TEST_P(EachAdd, ScalesAndSoftcap) {
  for (const DType type : kFloatTypes) {
    check({.type = type, .y_type = type, .width = 301, .a_scale = 0.375, .b_scale = -2});
    check({.type = type, .y_type = type, .width = 301, .with_b = false, .a_scale = 12});
    check({.type = type, .y_type = type, .width = 301, .with_b = false, .softcap = 30});
    check({.type = type, .y_type = type, .width = 301, .a_scale = 50, .softcap = 3});
  }
}

/// A table of biases: each row of a adds the row that its id names, whatever the slice.
TEST_P(EachAdd, RowsOfATableByTheirIds) {
  for (const DType type : kFloatTypes)
    for (const DType b_type : kFloatTypes)
      for (const std::int64_t width : {1, 3, 256, 259}) {
        SCOPED_TRACE(testing::Message() << "width " << width);
        Random random(static_cast<std::uint64_t>(width));
        TypedRows a(type, 6, width), table(b_type, 4, width, 1), y(type, 6, width, 2);
        a.fill(random);
        table.fill(random);
        const std::int32_t ids[] = {3, 0, 0, 2, 3, 1};
        kernels::AddArgs args = {};
        args.a = a.data();
        args.b = table.data();
        args.y = y.data();
        args.type = args.y_type = type;
        args.b_type = b_type;
        args.rows = 6;
        args.width = width;
        args.a_stride = a.stride();
        args.b_stride = table.stride();
        args.y_stride = y.stride();
        args.a_scale = args.b_scale = 1;
        args.b_ids = ids;
        row().entry->run(&args, {0, 1});
        row().entry->run(&args, {1, 6});
        EXPECT_TRUE(y.untouched_between());
        for (std::int64_t i = 0; i < 6; ++i)
          for (std::int64_t j = 0; j < width; ++j) {
            const double left = a.get(i, j), right = table.get(ids[i], j);
            expect_rounded(y.get(i, j), left + right, type, 3e-7, std::abs(left) + std::abs(right));
          }
      }
}

TEST_P(EachAdd, InPlaceOntoEitherSide) {
  const AddCase c = {.rows = 2, .width = 300};
  Random random(2);
  TypedRows a(DType::f32, 2, 300), b(DType::f32, 2, 300), y(DType::f32, 2, 300);
  a.fill(random);
  b.fill(random);
  run(c, a, b, y, {0, 2});
  run(c, a, b, b, {0, 2});
  for (std::int64_t i = 0; i < 2; ++i) EXPECT_EQ(b.row_bytes(i), y.row_bytes(i));
}

/// Every code of two bytes is widened, and sums that lie anywhere between two codes are rounded, in
/// widths that end anywhere in a vector. A NaN keeps what it carries or, as f16, its sign.
TEST_P(EachAdd, BitsAreThoseOfOtherWidths) {
  for (const DType type : kFloatTypes)
    for (const DType y_type : kFloatTypes)
      for (const std::int64_t width : {4096, 4097, 4103, 4127}) {
        const AddCase c = {.type = type,
                           .b_type = type,
                           .y_type = y_type,
                           .rows = 16,
                           .width = width,
                           .b_scale = 0x1p-9};
        TypedRows a(type, 16, width), b(type, 16, width), y(y_type, 16, width);
        TypedRows other(y_type, 16, width);
        for (std::int64_t i = 0; i < 16; ++i)
          for (std::int64_t j = 0; j < width; ++j) {
            const auto code = static_cast<std::uint16_t>(i * 4096 + j);
            std::uint8_t* const to = a.data() + (i * a.stride() + j) * size_of(type);
            const std::uint32_t word = code * 0x10001u;
            std::memcpy(to, type == DType::f32 ? static_cast<const void*>(&word) : &code,
                        static_cast<std::size_t>(size_of(type)));
            b.set(i, j, static_cast<double>(j % 7) - 3);
          }
        run(c, a, b, y, {0, 16});
        run(c, a, b, other, {0, 16}, *find_kernel("add_fany_r1_cpu"));
        for (std::int64_t i = 0; i < 16; ++i)
          EXPECT_EQ(y.row_bytes(i), other.row_bytes(i)) << width << ", row " << i;
      }
}

TEST_P(EachAdd, RowAloneEqualsRowInCompany) {
  const AddCase c = {.type = DType::bf16,
                     .b_type = DType::bf16,
                     .y_type = DType::bf16,
                     .rows = 17,
                     .width = 90,
                     .softcap = 2};
  Random random(4);
  TypedRows a(c.type, 17, 90), b(c.type, 17, 90), together(c.type, 17, 90), split(c.type, 17, 90);
  a.fill(random);
  b.fill(random);
  run(c, a, b, together, {0, 17});
  for (const kernels::Slice slice : {kernels::Slice{0, 1}, {1, 9}, {9, 17}})
    run(c, a, b, split, slice);
  for (std::int64_t i = 0; i < 17; ++i) EXPECT_EQ(together.row_bytes(i), split.row_bytes(i)) << i;
}

INSTANTIATE_TEST_SUITE_P(RollCall, EachAdd, testing::ValuesIn(built_rows({KernelOp::add})),
                         row_name);

class EachTake : public EachRow {};

TEST_P(EachTake, CopiesTheRowsAsked) {
  for (const DType type : kFloatTypes)
    for (const std::int64_t width : {1, 5, 64, 257}) {
      Random random(1);
      TypedRows x(type, 9, width), y(type, 4, width, 2);
      x.fill(random);
      const std::int32_t index[] = {8, 0, 3, 3};
      kernels::TakeArgs args = {x.data(), y.data(), index, 4, width, x.stride(), y.stride(), type};
      row().entry->run(&args, {0, 1});
      row().entry->run(&args, {1, 4});
      EXPECT_TRUE(y.untouched_between());
      for (std::int64_t i = 0; i < 4; ++i) EXPECT_EQ(y.row_bytes(i), x.row_bytes(index[i])) << i;
    }
}

INSTANTIATE_TEST_SUITE_P(RollCall, EachTake, testing::ValuesIn(built_rows({KernelOp::take})),
                         row_name);

}  // namespace
}  // namespace stepless::test
