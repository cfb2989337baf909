// Hardening L1-L3: each refusal with a file made here, and the boundary beside it that is accepted.
#include "format/safetensors.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>

#include "base/json.hpp"
#include "format/dtype.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/throws.hpp"

namespace stepless {
namespace {

using test::expect_error;

std::string length_of(std::uint64_t n) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &n, 8);
  return bytes;
}

std::string write_file(const std::string& bytes) {
  static int count = 0;
  const std::string path =
      test::scratch_dir("safetensors") + "/" + std::to_string(count++) + ".safetensors";
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

// A file of this header and `data_bytes` bytes of data: 1, 2, 3 ...
std::string with_header(const std::string& header, std::size_t data_bytes) {
  std::string data;
  for (std::size_t i = 0; i < data_bytes; ++i) data += static_cast<char>(i + 1);
  return write_file(length_of(header.size()) + header + data);
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

void expect_refused(const std::string& path, std::string_view words,
                    ErrorCode code = ErrorCode::corrupt) {
  expect_error(code, words, [&] { SafetensorsFile{path}; });
  expect_error(code, path, [&] { SafetensorsFile{path}; });  // the message names the file
}

void expect_header_refused(const std::string& header, std::size_t data_bytes,
                           std::string_view words, ErrorCode code = ErrorCode::corrupt) {
  SCOPED_TRACE(header.substr(0, 200));
  expect_refused(with_header(header, data_bytes), words, code);
}

TEST(Safetensors, ReadsWhatIsThere) {
  const std::string header =
      R"({"__metadata__":{"format":"mlx"},"b":)" + entry("F32", "[2,1]", "[2,10]") + R"(,"a":)" +
      entry("U8", "[2]", "[0,2]") + R"(,"none":)" + entry("BF16", "[0,7]", "[10,10]") +
      R"(,"one":)" + entry("BOOL", "[]", "[10,11]") + "}   ";
  const SafetensorsFile file(with_header(header, 11));
  EXPECT_EQ(file.tensors().size(), 4u);
  EXPECT_EQ(file.metadata().at("format"), "mlx");
  EXPECT_EQ(file.tensors().begin()->first, "a");
  const TensorView* b = file.find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->type, DType::f32);
  EXPECT_EQ(b->shape, (Shape{2, 1}));
  EXPECT_EQ(b->data[0], std::byte{3});
  EXPECT_EQ(file.find("one")->shape, Shape{});
  EXPECT_EQ(file.find("none")->shape, (Shape{0, 7}));
  EXPECT_EQ(file.find("c"), nullptr);
}

TEST(Safetensors, AnEmptyHeaderIsAFileWithoutTensors) {
  EXPECT_TRUE(SafetensorsFile(with_header("{}", 0)).tensors().empty());
  EXPECT_TRUE(SafetensorsFile(with_header(R"({"__metadata__":{}})", 0)).tensors().empty());
  EXPECT_TRUE(SafetensorsFile(with_header(R"({"__metadata__":null})", 0)).metadata().empty());
}

// L1: the header's length.
TEST(Safetensors, L1HeaderLength) {
  expect_refused(write_file(""), "0 bytes");
  expect_refused(write_file("1234567"), "7 bytes; a safetensors file has at least 8");
  expect_refused(write_file(length_of(0)), "does not start with '{'");
  expect_refused(write_file(length_of(3) + "{}"), "header of 3 bytes; at most 2");
  expect_refused(write_file(length_of(~0ull) + "{}"), "header of 18446744073709551615 bytes");
  expect_refused(write_file(length_of(1ull << 63) + "{}"), "9223372036854775808");
  // A sparse file that is large enough for its header of 100 MB and a byte.
  const std::string path = write_file(length_of(100'000'001));
  ASSERT_EQ(::truncate(path.c_str(), 200'000'000), 0);
  expect_refused(path, "header of 100000001 bytes; at most 100000000");
}

TEST(Safetensors, L1HeaderText) {
  expect_header_refused(" {}", 0, "does not start with '{'");
  expect_header_refused("[]", 0, "does not start with '{'");
  expect_header_refused(std::string("\0\0", 2), 0, "does not start");
  expect_header_refused("{", 0, "not valid JSON");
  expect_header_refused("{}{}", 0, "not valid JSON");
  expect_header_refused("{\"\xff\":1}", 0, "UTF-8");
  expect_header_refused("{\"a\":" + std::string(100'000, '['), 0, "deeper than 64");
  expect_header_refused(
      R"({"a":)" + entry("U8", "[1]", "[0,1]") + R"(,"a":)" + entry("U8", "[1]", "[0,1]") + "}", 1,
      "key 'a' occurs twice");
  expect_header_refused(R"({"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}})", 0,
                        "key 'dtype' occurs twice");
  expect_header_refused(R"({"__metadata__":{"a":"1","a":"2"}})", 0, "key 'a' occurs twice");
}

TEST(Safetensors, L1MetadataMapsStringsToStrings) {
  expect_header_refused(R"({"__metadata__":[]})", 0, "__metadata__ is array");
  expect_header_refused(R"({"__metadata__":{"n":1}})", 0, "__metadata__: 'n' is number");
  expect_header_refused(R"({"__metadata__":{"o":{}}})", 0, "__metadata__: 'o' is object");
}

// L2: shapes, offsets and types.
TEST(Safetensors, L2NonNegativeIntegers) {
  for (const char* bad :
       {"-1", "1.0", "1e0", "\"1\"", "null", "[1]", "true", "9223372036854775808", "1e30", "-0"}) {
    SCOPED_TRACE(bad);
    const std::string one(bad);
    expect_header_refused(R"({"w":)" + entry("U8", "[" + one + "]", "[0,1]") + "}", 1,
                          "tensor 'w': shape: ");
    expect_header_refused(R"({"w":)" + entry("U8", "[1]", "[" + one + ",1]") + "}", 1,
                          "tensor 'w': data_offsets: ");
    expect_header_refused(R"({"w":)" + entry("U8", "[1]", "[0," + one + "]") + "}", 1,
                          "tensor 'w': data_offsets: ");
  }
}

TEST(Safetensors, L2AtMostEightDimensions) {
  EXPECT_NO_THROW(SafetensorsFile(
      with_header(R"({"w":)" + entry("U8", "[1,1,1,1,1,1,1,2]", "[0,2]") + "}", 2)));
  expect_header_refused(R"({"w":)" + entry("U8", "[1,1,1,1,1,1,1,1,2]", "[0,2]") + "}", 2,
                        "tensor 'w': 9 dimensions; at most 8");
}

TEST(Safetensors, L2KnownTypes) {
  for (const char* other : {"F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "F6_E2M3", "Q4", "f32", ""})
    expect_header_refused(R"({"w":)" + entry(other, "[1]", "[0,1]") + "}", 1,
                          "tensor 'w': dtype '" + std::string(other) + "' is not supported",
                          ErrorCode::unsupported);
  expect_header_refused(R"({"w":{"dtype":7,"shape":[1],"data_offsets":[0,1]}})", 1,
                        "dtype is number");
}

TEST(Safetensors, L2FieldsPresentAndOfTheirKind) {
  expect_header_refused(R"({"w":[]})", 0, "tensor 'w': array; expected an object");
  expect_header_refused(R"({"w":{"shape":[1],"data_offsets":[0,1]}})", 1,
                        "tensor 'w': no \"dtype\"");
  expect_header_refused(R"({"w":{"dtype":"U8","data_offsets":[0,1]}})", 1,
                        "tensor 'w': no \"shape\"");
  expect_header_refused(R"({"w":{"dtype":"U8","shape":[1]}})", 1,
                        "tensor 'w': no \"data_offsets\"");
  expect_header_refused(R"({"w":)" + entry("U8", "1", "[0,1]") + "}", 1, "shape is number");
  for (const char* bad : {"[0]", "[0,1,1]", "{}", "0"})
    expect_header_refused(R"({"w":)" + entry("U8", "[1]", bad) + "}", 1,
                          "data_offsets is not a pair");
}

TEST(Safetensors, L2ProductsThatOverflow) {
  expect_header_refused(R"({"w":)" + entry("U8", "[4294967296,4294967296]", "[0,0]") + "}", 0,
                        "does not fit");
  expect_header_refused(R"({"w":)" + entry("F64", "[2305843009213693952]", "[0,0]") + "}", 0,
                        "does not fit");
  // 2^64 elements would be 0 bytes if the product wrapped; so would a zero in front hide it.
  expect_header_refused(R"({"w":)" + entry("U8", "[0,4294967296,4294967296]", "[0,0]") + "}", 0,
                        "does not fit");
  expect_header_refused(
      R"({"w":)" + entry("U8", "[9223372036854775807,9223372036854775807]", "[0,1]") + "}", 1,
      "does not fit");
}

// L3: ranges.
TEST(Safetensors, L3RangesLieInTheData) {
  expect_header_refused(R"({"w":)" + entry("U8", "[3]", "[0,3]") + "}", 2,
                        "data_offsets [0, 3]; expected begin <= end <= 2");
  expect_header_refused(R"({"w":)" + entry("U8", "[1]", "[2,1]") + "}", 2, "data_offsets [2, 1]");
  expect_header_refused(
      R"({"w":)" + entry("U8", "[1]", "[9223372036854775806,9223372036854775807]") + "}", 2,
      "expected begin <= end <= 2");
}

TEST(Safetensors, L3SizeMatchesShapeTimesType) {
  EXPECT_NO_THROW(
      SafetensorsFile(with_header(R"({"w":)" + entry("F16", "[2,3]", "[0,12]") + "}", 12)));
  expect_header_refused(R"({"w":)" + entry("F16", "[2,3]", "[0,11]") + "}", 11,
                        "tensor 'w': 11 bytes at [0, 11]; shape [2, 3] of F16 takes 12");
  expect_header_refused(R"({"w":)" + entry("F16", "[2,3]", "[0,13]") + "}", 13, "13 bytes");
  expect_header_refused(R"({"w":)" + entry("F16", "[0]", "[0,2]") + "}", 2, "takes 0");
}

TEST(Safetensors, L3NoOverlapNoHoleNothingAfterTheLast) {
  const auto two = [](const char* first, const char* second) {
    return R"({"a":)" + entry("U8", "[2]", first) + R"(,"b":)" + entry("U8", "[2]", second) + "}";
  };
  EXPECT_NO_THROW(SafetensorsFile(with_header(two("[2,4]", "[0,2]"), 4)));  // in any order of names
  expect_header_refused(two("[0,2]", "[1,3]"), 3,
                        "tensor 'b': begins at byte 1 of the data; it overlaps");
  expect_header_refused(two("[0,2]", "[0,2]"), 2, "overlaps");
  expect_header_refused(two("[0,2]", "[3,5]"), 5,
                        "tensor 'b': begins at byte 3 of the data; there is a hole");
  expect_header_refused(two("[1,3]", "[3,5]"), 5,
                        "tensor 'a': begins at byte 1 of the data; there is a hole");
  expect_header_refused(two("[0,2]", "[2,4]"), 5,
                        "the last tensor ends at byte 4 of the data, which has 5");
  expect_header_refused("{}", 1, "ends at byte 0 of the data, which has 1");
  // An empty tensor inside another one's bytes.
  expect_header_refused(
      R"({"a":)" + entry("U8", "[2]", "[0,2]") + R"(,"b":)" + entry("U8", "[0]", "[1,1]") + "}", 2,
      "overlaps");
}

TEST(Safetensors, NamesInMessagesAreEscaped) {
  expect_header_refused(R"({"a\u001b[2J\n":[]})", 0, "tensor 'a\\x1b[2J\\x0a': array");
}

TEST(Safetensors, RefusesWhatIsNoFile) {
  expect_refused(test::scratch_dir("safetensors"), "not a regular file", ErrorCode::not_found);
  expect_refused(test::scratch_dir("safetensors") + "/none", "cannot be opened",
                 ErrorCode::not_found);
}

// No prefix of a good file is a good file, and none crashes; nor does any single changed byte of
// the header.
TEST(Safetensors, SurvivesEveryCutAndEveryChangedByte) {
  const std::string header = R"({"__metadata__":{"f":"pt"},"a":)" + entry("U8", "[2]", "[0,2]") +
                             R"(,"b":)" + entry("F32", "[2,1]", "[2,10]") + "}";
  const std::string whole = length_of(header.size()) + header + "0123456789";
  EXPECT_NO_THROW(SafetensorsFile(write_file(whole)));
  for (std::size_t n = 0; n < whole.size(); ++n) {
    const std::string path = write_file(whole.substr(0, n));
    EXPECT_THROW(SafetensorsFile{path}, Error) << n;
    std::remove(path.c_str());
  }
  for (std::size_t at = 0; at < 8 + header.size(); ++at)
    for (const int change : {1, 0x20, 0x80}) {
      std::string bytes = whole;
      bytes[at] = static_cast<char>(bytes[at] ^ change);
      const std::string path = write_file(bytes);
      try {
        const SafetensorsFile file(path);  // a changed name may well be fine
        for (const auto& [name, view] : file.tensors())
          EXPECT_LE(bytes_of(view.shape, view.type, name), 10);
      } catch (const Error&) {
      }
      std::remove(path.c_str());
    }
}

}  // namespace
}  // namespace stepless
