#include "format/safetensors.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/checked.hpp"
#include "base/json.hpp"
#include "base/quote.hpp"
#include "format/dtype.hpp"

namespace stepless {
namespace {

constexpr std::int64_t kMostHeaderBytes = 100'000'000;
constexpr std::size_t kMostDims = 8;

struct Range {
  std::int64_t begin, end;
  std::string_view name;
};

// The header's text. `data_begin` becomes the offset of the data in the file.
std::string_view header_text(const MappedFile& file, std::int64_t& data_begin) {
  const std::int64_t size = file.size();
  if (size < 8)
    fail(ErrorCode::corrupt, "{}: {} bytes; a safetensors file has at least 8", file.path(), size);
  std::uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | static_cast<std::uint64_t>(file.data()[i]);
  const std::int64_t most = std::min(kMostHeaderBytes, size - 8);
  if (length > static_cast<std::uint64_t>(most))
    fail(ErrorCode::corrupt, "{}: header of {} bytes; at most {} in a file of {} bytes",
         file.path(), length, most, size);
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + 8, length);
  if (!text.starts_with('{'))
    fail(ErrorCode::corrupt, "{}: the header does not start with '{{'; not a safetensors file",
         file.path());
  data_begin = 8 + static_cast<std::int64_t>(length);
  return text;
}

std::int64_t to_count(const Json& value, const std::string& what) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > INT64_MAX)
    fail(ErrorCode::corrupt, "{}: {}; expected a non-negative integer below 2^63", what,
         value.is_primitive() ? value.dump() : std::string(value.type_name()));
  return static_cast<std::int64_t>(value.get<std::uint64_t>());
}

const Json& field(const Json& entry, const char* key, const std::string& what) {
  const auto at = entry.find(key);
  if (at == entry.end()) fail(ErrorCode::corrupt, "{}: no \"{}\"", what, key);
  return *at;
}

DType read_type(const Json& value, const std::string& what) {
  if (!value.is_string())
    fail(ErrorCode::corrupt, "{}: dtype is {}; expected a string", what, value.type_name());
  const std::string& name = value.get_ref<const std::string&>();
  const std::optional<DType> type = find_safetensors_dtype(name);
  if (!type)
    fail(
        ErrorCode::unsupported,
        "{}: dtype {} is not supported; expected F32, F16, BF16, F64, C64, BOOL or an integer of 8 "
        "to 64 bits",
        what, in_quotes(name));
  return *type;
}

Shape read_shape(const Json& value, const std::string& what) {
  if (!value.is_array())
    fail(ErrorCode::corrupt, "{}: shape is {}; expected an array", what, value.type_name());
  if (value.size() > kMostDims)
    fail(ErrorCode::corrupt, "{}: {} dimensions; at most {}", what, value.size(), kMostDims);
  Shape shape;
  for (const Json& size : value) shape.push_back(to_count(size, what + ": shape"));
  return shape;
}

// A product that overflows is the file's fault here, not the machine's.
std::int64_t stated_bytes(const Shape& shape, DType type, const std::string& what) {
  try {
    return bytes_of(shape, type, what);
  } catch (const Error& error) {
    throw Error(ErrorCode::corrupt, error.what());
  }
}

Range read_range(const Json& entry, std::int64_t data_bytes, const std::string& what) {
  const Json& offsets = field(entry, "data_offsets", what);
  if (!offsets.is_array() || offsets.size() != 2)
    fail(ErrorCode::corrupt, "{}: data_offsets is not a pair", what);
  const std::int64_t begin = to_count(offsets[0], what + ": data_offsets");
  const std::int64_t end = to_count(offsets[1], what + ": data_offsets");
  if (begin > end || end > data_bytes)
    fail(ErrorCode::corrupt,
         "{}: data_offsets [{}, {}]; expected begin <= end <= {}, the bytes of data in the file",
         what, begin, end, data_bytes);
  return {begin, end, {}};
}

// Sorted by place, the ranges must tile the data: no overlap, no hole, nothing after the last.
void check_tiling(std::vector<Range>& ranges, std::int64_t data_bytes, const std::string& path) {
  std::ranges::sort(ranges, {}, [](const Range& r) { return std::pair(r.begin, r.end); });
  std::int64_t at = 0;
  for (const Range& range : ranges) {
    if (range.begin != at)
      fail(ErrorCode::corrupt,
           "{}: tensor {}: begins at byte {} of the data; {} at {}, expected {}", path,
           in_quotes(range.name), range.begin,
           range.begin < at ? "it overlaps the tensor that ends"
                            : "there is a hole behind the one that ends",
           at, at);
    at = range.end;
  }
  if (at != data_bytes)
    fail(ErrorCode::corrupt, "{}: the last tensor ends at byte {} of the data, which has {}", path,
         at, data_bytes);
}

Metadata read_metadata(const Json& value, const std::string& path) {
  if (value.is_null()) return {};  // what mx.save_safetensors writes without metadata
  if (!value.is_object())
    fail(ErrorCode::corrupt, "{}: __metadata__ is {}; expected an object of strings", path,
         value.type_name());
  Metadata metadata;
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string())
      fail(ErrorCode::corrupt, "{}: __metadata__: {} is {}; expected a string", path,
           in_quotes(key), text.type_name());
    metadata.emplace(key, text.get<std::string>());
  }
  return metadata;
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::string& path) : file_(path) {
  std::int64_t data_begin = 0;
  const std::string_view text = header_text(file_, data_begin);
  const std::int64_t data_bytes = file_.size() - data_begin;
  const Json header = parse_json(text, path + ": header", {.depth = 64, .bytes = kMostHeaderBytes});
  std::vector<Range> ranges;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      metadata_ = read_metadata(entry, path);
      continue;
    }
    const std::string what = fmt::format("{}: tensor {}", path, in_quotes(name));
    if (!entry.is_object())
      fail(ErrorCode::corrupt, "{}: {}; expected an object", what, entry.type_name());
    TensorView view;
    view.type = read_type(field(entry, "dtype", what), what);
    view.shape = read_shape(field(entry, "shape", what), what);
    Range range = read_range(entry, data_bytes, what);
    const std::int64_t bytes = stated_bytes(view.shape, view.type, what);
    if (range.end - range.begin != bytes)
      fail(ErrorCode::corrupt, "{}: {} bytes at [{}, {}]; shape {} of {} takes {}", what,
           range.end - range.begin, range.begin, range.end, shape_text(view.shape),
           safetensors_name(view.type), bytes);
    view.data = file_.data() + data_begin + range.begin;
    range.name = tensors_.emplace(name, std::move(view)).first->first;
    ranges.push_back(range);
  }
  check_tiling(ranges, data_bytes, path);
  file_.check();  // a file cut while its header was read
}

const TensorView* SafetensorsFile::find(std::string_view name) const {
  const auto at = tensors_.find(name);
  return at == tensors_.end() ? nullptr : &at->second;
}

}  // namespace stepless
