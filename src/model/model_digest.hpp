// What tells one checkpoint from another, and one way of computing it from another: files that hold
// what a model computed name both.
#pragma once
#include <string>

#include "model/model.hpp"

namespace stepless {

/// config.json, and of every tensor its name, type, shape and its first and last 4096 bytes: a
/// fine-tune of the same shape is another model, and yet hardly a byte is read. The name and place
/// of the folder do not count.
std::string model_digest(const LoadedModel& model);

/// The orders of summation that the planned program uses, e.g. "avx512_bf16+avx512_f32": the same
/// model gives other last bits with others.
std::string arithmetic_of(const LoadedModel& model);

}  // namespace stepless
