#include "model/convert_rows.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/error.hpp"
#include "format/dtype.hpp"
#include "format/quantized.hpp"

namespace stepless {

ImportedBytes::ImportedBytes(const ImportedTensor& tensor, const TensorMap& published)
    : tensor_(tensor), published_(published), part_(source_bytes(tensor)) {
  for (const std::string& name : tensor.sources) sources_.push_back(published.at(name).data);
  if (tensor.lines == Lines::all) return;
  line_ = size_of(tensor.type);
  for (std::size_t axis = 2; axis < tensor.shape.size(); ++axis) line_ *= tensor.shape[axis];
}

const std::byte* ImportedBytes::at(std::int64_t begin, std::int64_t count,
                                   std::vector<std::byte>& room) const {
  if (tensor_.as_stored() && begin + count <= end_of_source(begin))
    return sources_[static_cast<std::size_t>(begin / part_)] + begin % part_;
  room.resize(static_cast<std::size_t>(count));
  const std::int64_t step = line_ > 0 ? line_ : part_;
  for (std::int64_t done = 0; done < count;) {
    const std::int64_t from = begin + done, in_source = from % part_;
    const std::int64_t some = std::min(count - done, step - in_source % step);
    // A source of two interleaved tensors: before every line stands one of each.
    const std::int64_t other = in_source / step + (tensor_.lines == Lines::odd ? 1 : 0);
    std::memcpy(room.data() + done,
                sources_[static_cast<std::size_t>(from / part_)] + in_source +
                    (line_ > 0 ? other * line_ : 0),
                static_cast<std::size_t>(some));
    done += some;
  }
  if (tensor_.add != 0) add_to_all(tensor_.type, tensor_.add, room);
  return room.data();
}

const std::string& ImportedBytes::source_name(std::int64_t begin) const {
  // Rows of an interleaved tensor are counted in it, not in the published pair.
  if (tensor_.lines != Lines::all || part_ == 0) return tensor_.name;
  return tensor_.sources[static_cast<std::size_t>(begin / part_)];
}

void ImportedBytes::drop(std::int64_t begin, std::int64_t count) const {
  const std::int64_t times = tensor_.lines == Lines::all ? 1 : 2;
  while (count > 0) {
    const std::int64_t some = std::min(count, end_of_source(begin) - begin);
    const std::byte* data =
        sources_[static_cast<std::size_t>(begin / part_)] + begin % part_ * times;
    published_.drop({data, DType::u8, {some * times}});
    begin += some;
    count -= some;
  }
}

namespace {

/// The first number that is not finite, or -1. The exponent alone tells.
std::int64_t find_bad(const float* values, std::int64_t n) {
  constexpr std::uint32_t kExponent = 0x7f800000u;
  std::uint32_t met = 0;
  for (std::int64_t i = 0; i < n; ++i)
    met |= (std::bit_cast<std::uint32_t>(values[i]) & kExponent) == kExponent ? 1u : 0u;
  if (met == 0) return -1;
  return std::find_if_not(values, values + n, [](float x) { return std::isfinite(x); }) - values;
}

/// Calls f(row, values) for each row as f32, checked.
template <class F>
void each_row(const TensorView& rows, const RowsName& name, F&& f) {
  const std::int64_t k = rows.shape.back(), count = rows_of(rows);
  std::vector<float> values(static_cast<std::size_t>(k));
  for (std::int64_t r = 0; r < count; ++r) {
    to_f32(rows.data + r * k * size_of(rows.type), rows.type, values.data(), k);
    if (const std::int64_t bad = find_bad(values.data(), k); bad >= 0)
      fail(ErrorCode::corrupt, "{}: row {}: column {} is {}; expected finite numbers", name.tensor,
           name.first + r, bad, values[static_cast<std::size_t>(bad)]);
    f(r, values);
  }
}

}  // namespace

void check_rows(const TensorView& rows, const RowsName& name) {
  each_row(rows, name, [](std::int64_t, const std::vector<float>&) {});
}

void cast_rows(const TensorView& from, DType type, std::byte* to, const RowsName& name) {
  const std::int64_t k = from.shape.back();
  std::vector<float> back(static_cast<std::size_t>(k));
  each_row(from, name, [&](std::int64_t r, const std::vector<float>& values) {
    std::byte* const row = to + r * k * size_of(type);
    from_f32(values.data(), type, row, k);
    to_f32(row, type, back.data(), k);
    if (const std::int64_t bad = find_bad(back.data(), k); bad >= 0)
      fail(ErrorCode::corrupt, "{}: row {}: column {} is {}, beyond {}; choose another dtype",
           name.tensor, name.first + r, bad, values[static_cast<std::size_t>(bad)],
           torch_name(type));
  });
}

}  // namespace stepless
