// Rows taken apart by groups.
#include <gtest/gtest.h>

#include <memory>

#include "tests/support/each_row.hpp"
#include "tests/support/typed_rows.hpp"

namespace stepless::test {
namespace {

class EachSplit : public EachRow {};

TEST_P(EachSplit, EveryElementFindsItsPlace) {
  const std::vector<std::vector<std::int64_t>> all_widths = {{1}, {2, 1}, {64, 64}, {3, 3, 6, 6}};
  for (const DType type : kFloatTypes)
    for (const auto& widths : all_widths)
      for (const std::int64_t groups : {1, 2, 5}) {
        constexpr std::int64_t kRows = 3;
        std::int64_t group_width = 0;
        for (const std::int64_t width : widths) group_width += width;
        Random random(4);
        TypedRows x(type, kRows, groups * group_width, 0);
        x.fill(random);
        std::vector<std::unique_ptr<TypedRows>> parts;
        kernels::SplitArgs args{};
        args.x = x.data();
        for (const std::int64_t width : widths) {
          parts.push_back(std::make_unique<TypedRows>(type, kRows, groups * width, 0));
          args.y[args.parts] = parts.back()->data();
          args.width[args.parts++] = width;
        }
        args.groups = groups, args.rows = kRows, args.type = type;
        row().entry->run(&args, {2, 3});  // any slicing, the same rows
        row().entry->run(&args, {0, 2});
        for (std::int64_t i = 0; i < kRows; ++i) {
          std::int64_t from = 0;
          for (std::int64_t g = 0; g < groups; ++g)
            for (std::size_t j = 0; j < widths.size(); ++j) {
              const std::int64_t width = widths[j];
              EXPECT_EQ(parts[j]->run(i, g * width, width), x.run(i, from, width));
              from += width;
            }
        }
        for (const auto& part : parts) EXPECT_TRUE(part->untouched_between());
      }
}

INSTANTIATE_TEST_SUITE_P(RollCall, EachSplit, testing::ValuesIn(built_rows({KernelOp::split})),
                         row_name);

}  // namespace
}  // namespace stepless::test
