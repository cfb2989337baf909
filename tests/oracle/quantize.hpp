// Quantizing one number after the other, written from contract.md, section 3. It shares nothing
// with the library but the packing rule's words.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "stepless/quant.hpp"

namespace stepless::oracle {

/// What the groups of some rows become: codes one by one, scales and biases as stored bytes.
struct Codes {
  std::vector<std::uint8_t> codes, scales, biases;
};

/// `w`: whole groups, values of `type` widened to float32.
Codes quantize(const std::vector<float>& w, DType type, const QuantSpec& spec,
               std::optional<float> tensor_scale = {});

/// Rows of k codes as LSB-first bit streams, bit by bit.
std::vector<std::uint8_t> packed(const std::vector<std::uint8_t>& codes, std::int64_t k, int bits);

}  // namespace stepless::oracle
