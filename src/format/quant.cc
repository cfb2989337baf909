// What modes there are, and which pairs of bits and group size each has (contract.md, section 2).
#include "stepless/quant.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <span>

#include "base/error.hpp"

namespace stepless {
namespace {

struct ModeRow {
  std::span<const int> bits, groups;
  QuantSpec standard;
};

constexpr int kAffineBits[] = {1, 2, 3, 4, 5, 6, 8};
constexpr int kAffineGroups[] = {32, 64, 128};
constexpr int kFour[] = {4};
constexpr int kEight[] = {8};
constexpr int kSixteen[] = {16};
constexpr int kThirtyTwo[] = {32};

ModeRow row(Mode mode) {
  switch (mode) {
    case Mode::affine:
      return {kAffineBits, kAffineGroups, {mode, 4, 64}};
    case Mode::mxfp4:
      return {kFour, kThirtyTwo, {mode, 4, 32}};
    case Mode::mxfp8:
      return {kEight, kThirtyTwo, {mode, 8, 32}};
    case Mode::nvfp4:
      return {kFour, kSixteen, {mode, 4, 16}};
  }
  fail(ErrorCode::invalid_argument, "mode: {} is no quantization mode", static_cast<int>(mode));
}

}  // namespace

std::string_view to_string(Mode mode) {
  switch (mode) {
    case Mode::affine:
      return "affine";
    case Mode::mxfp4:
      return "mxfp4";
    case Mode::mxfp8:
      return "mxfp8";
    case Mode::nvfp4:
      return "nvfp4";
  }
  return "unknown";
}

Mode parse_mode(std::string_view name) {
  for (const Mode mode : {Mode::affine, Mode::mxfp4, Mode::mxfp8, Mode::nvfp4})
    if (to_string(mode) == name) return mode;
  fail(ErrorCode::invalid_argument,
       "mode: \"{}\" is unknown; expected affine, mxfp4, mxfp8 or nvfp4", name);
}

QuantSpec make_spec(Mode mode, std::optional<int> bits, std::optional<int> group_size) {
  const ModeRow known = row(mode);
  const QuantSpec spec{mode, bits.value_or(known.standard.bits),
                       group_size.value_or(known.standard.group_size)};
  if (std::ranges::find(known.bits, spec.bits) == known.bits.end())
    fail(ErrorCode::invalid_argument, "bits: {} in mode {}; expected {}", spec.bits,
         to_string(mode), fmt::join(known.bits, ", "));
  if (std::ranges::find(known.groups, spec.group_size) == known.groups.end())
    fail(ErrorCode::invalid_argument, "group_size: {} in mode {}; expected {}", spec.group_size,
         to_string(mode), fmt::join(known.groups, ", "));
  return spec;
}

}  // namespace stepless
