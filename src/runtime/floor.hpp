// What a decode step cannot be faster than, as planned for this machine.
#pragma once
#include "model/model.hpp"
#include "ops/backend.hpp"

namespace stepless {

/// Microseconds for `rows` rows that read `context_rows` positions in all.
double floor_us(const LoadedModel& model, const KvShape& kv, std::int64_t rows,
                double context_rows);

}  // namespace stepless
