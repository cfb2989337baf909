// What convert will write, decided before anything is: one job per tensor or matrix, the tensors of
// the new files in order, and the new config.json.
#pragma once
#include <string>
#include <vector>

#include "format/safetensors.hpp"
#include "model/convert_source.hpp"
#include "stepless/convert.hpp"

namespace stepless {

enum class ConvertAction : std::uint8_t {
  copy,       // bytes as they are, or floats of another type
  quantize,   // floats become codes, scales and biases
  dequantize  // and back
};

struct ConvertJob {
  ConvertAction action = ConvertAction::copy;
  std::string name;          // copy: the tensor; else the layer
  DType type = DType::bf16;  // copy, dequantize: of what is written; quantize: of the floats before
  QuantSpec spec;            // quantize: to; dequantize: from
  bool codes = false;        // copy: the scales or codes of an fp mode, which have NaNs
};

struct ConvertPlan {
  std::vector<ConvertJob> jobs;
  std::vector<TensorInfo> tensors;  // in the order in which the jobs write them
  OrderedJson config;
  ConvertReport report;  // all but files
};

/// Throws Error: invalid_argument, corrupt.
ConvertPlan plan_convert(const ConvertSource& source, const ConvertOptions& options);

}  // namespace stepless
