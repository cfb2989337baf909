#include "tests/oracle/quantize.hpp"

#include <algorithm>
#include <cmath>

#include "tests/oracle/number.hpp"

namespace stepless::oracle {
namespace {

void append(float number, DType type, std::vector<std::uint8_t>& bytes) {
  const std::size_t at = bytes.size();
  bytes.resize(at + static_cast<std::size_t>(element_bytes(type)));
  store(static_cast<double>(number), type, bytes.data() + at);
}

void affine(const float* w, const QuantSpec& spec, DType type, Codes& out) {
  const float least = *std::min_element(w, w + spec.group_size);  // the first of equals
  const float most = *std::max_element(w, w + spec.group_size);
  const float n = static_cast<float>((1 << spec.bits) - 1);
  float scale = 0, bias = 0;
  if (spec.bits == 1) {
    scale = std::max(most - least, 1e-7f);
    bias = least;
  } else {
    const bool side = std::fabs(least) > std::fabs(most);
    scale = std::max((most - least) / n, 1e-7f);
    if (!side) scale = -scale;
    const float edge = side ? least : most, q0 = std::nearbyint(edge / scale);
    if (q0 != 0) {
      scale = edge / q0;
      bias = edge;
    }
  }
  for (int i = 0; i < spec.group_size; ++i)
    out.codes.push_back(
        static_cast<std::uint8_t>(std::clamp(std::nearbyint((w[i] - bias) / scale), 0.0f, n)));
  append(scale, type, out.scales);
  append(bias, type, out.biases);
}

/// The code whose value is nearest, the largest for all beyond; of two equally near the even one;
/// the sign apart.
std::uint8_t nearest(float x, double (*value)(unsigned), unsigned codes, unsigned sign) {
  unsigned best = 0;
  const double size = std::min(std::fabs(static_cast<double>(x)), value(codes - 1));
  for (unsigned code = 1; code < codes; ++code) {
    const double here = std::fabs(value(code) - size), there = std::fabs(value(best) - size);
    if (here < there || (here == there && code % 2 == 0)) best = code;
  }
  return static_cast<std::uint8_t>(best | (std::signbit(x) ? sign : 0));
}

std::uint8_t element(float x, bool fp4) {
  return fp4 ? nearest(x, e2m1, 8, 8) : nearest(x, e4m3, 127, 128);
}

void floating(const float* w, const QuantSpec& spec, float enc, Codes& out) {
  float most = 0;
  for (int i = 0; i < spec.group_size; ++i) most = std::max(most, std::fabs(w[i]));
  const bool fp4 = spec.mode != Mode::mxfp8;
  if (spec.mode == Mode::nvfp4) {
    const std::uint8_t scale = nearest(most / 6.0f * enc, e4m3, 127, 128);
    out.scales.push_back(scale);
    const float by = static_cast<float>(e4m3(scale));
    for (int i = 0; i < spec.group_size; ++i)
      out.codes.push_back(by == 0 ? std::uint8_t{0} : element(w[i] * enc / by, fp4));
    return;
  }
  const double wanted = static_cast<double>(most / (fp4 ? 6.0f : 448.0f));
  unsigned byte = 0;
  while (byte < 254 && e8m0(byte) < wanted) ++byte;
  out.scales.push_back(static_cast<std::uint8_t>(byte));
  for (int i = 0; i < spec.group_size; ++i)
    out.codes.push_back(element(static_cast<float>(static_cast<double>(w[i]) / e8m0(byte)), fp4));
}

}  // namespace

Codes quantize(const std::vector<float>& w, DType type, const QuantSpec& spec,
               std::optional<float> tensor_scale) {
  Codes out;
  const auto group = static_cast<std::size_t>(spec.group_size);
  for (std::size_t at = 0; at < w.size(); at += group) {
    if (spec.mode == Mode::affine)
      affine(w.data() + at, spec, type, out);
    else
      floating(w.data() + at, spec, tensor_scale ? 2688.0f / *tensor_scale : 1.0f, out);
  }
  return out;
}

std::vector<std::uint8_t> packed(const std::vector<std::uint8_t>& codes, std::int64_t k, int bits) {
  std::vector<std::uint8_t> bytes(codes.size() / 8 * static_cast<std::size_t>(bits));
  const auto columns = static_cast<std::size_t>(k);
  for (std::size_t i = 0; i < codes.size(); ++i)
    for (int bit = 0; bit < bits; ++bit) {
      const std::size_t row_bits = columns * static_cast<std::size_t>(bits);
      const std::size_t at = i / columns * row_bits + i % columns * static_cast<std::size_t>(bits) +
                             static_cast<std::size_t>(bit);
      if ((codes[i] >> bit & 1) != 0) bytes[at / 8] |= static_cast<std::uint8_t>(1 << at % 8);
    }
  return bytes;
}

}  // namespace stepless::oracle
