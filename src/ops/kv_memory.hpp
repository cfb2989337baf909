// How the KV cache lies in one block of memory, on any device.
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

}  // namespace stepless
