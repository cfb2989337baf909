// From weights to a planned Program: what an opened checkpoint and a synthetic model have in
// common.
#pragma once
#include "model/families.hpp"
#include "model/model.hpp"

namespace stepless {

/// Builds, fuses, places and plans; fills program, context and machine. `float_type`: the
/// activations' type unless the options name one. Throws Error.
void finish_model(LoadedModel& model, const Family& family, WeightSource& weights, DType float_type,
                  const LoadOptions& options);

}  // namespace stepless
