// How the KV cache and recurrent state lie in one block of memory each, on any device.
#pragma once
#include <vector>

#include "ops/backend.hpp"

namespace stepless {

/// Bytes of all pages, page 0 of each form included. Throws Error (exhausted) on overflow.
std::int64_t kv_memory_bytes(const KvShape& shape, const KvPages& pages);
/// The layers' arrays in memory that begins at `at`: per layer plain keys and values, then what is
/// packed.
std::vector<kernels::KvLayer> kv_layers_at(std::uint8_t* at, const KvShape& shape,
                                           const KvPages& pages);
/// Bytes of one plain page's keys, and of its values.
std::int64_t page_key_bytes(const kernels::KvLayer& layer);
std::int64_t page_value_bytes(const kernels::KvLayer& layer);

/// The layers' slots in memory that begins at `at`: per layer all of its slots.
std::vector<kernels::StateLayer> state_layers_at(float* at, const StateShape& shape,
                                                 std::int64_t slots);

}  // namespace stepless
