// A pass: after every write of keys and values, finished pages are quantized; attention reads both
// forms.
#pragma once
#include "ops/program.hpp"
#include "stepless/kv.hpp"

namespace stepless {

/// Throws Error (invalid_argument) naming the option, its value and what would be right.
void check_kv_options(const KvOptions& options);

/// The program as it is when the options quantize nothing. Throws Error (invalid_argument) when
/// heads are no multiple of a group.
Program pack_kv(Program program, const KvOptions& options);

}  // namespace stepless
