// What a decode step cannot be faster than, as planned for this machine.
#pragma once
#include "model/model.hpp"

namespace stepless {

/// Microseconds for `rows` rows that read so many bytes of keys and values in all.
double floor_us(const LoadedModel& model, std::int64_t rows, double kv_bytes);

}  // namespace stepless
