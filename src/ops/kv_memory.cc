#include "ops/kv_memory.hpp"

#include "base/checked.hpp"
#include "format/dtype.hpp"

namespace stepless {

std::int64_t page_key_bytes(const kernels::KvLayer& layer) {
  return layer.kv_heads * layer.page_tokens * layer.k_dim * size_of(layer.type);
}

std::int64_t page_value_bytes(const kernels::KvLayer& layer) {
  return layer.kv_heads * layer.page_tokens * layer.v_dim * size_of(layer.type);
}

std::int64_t kv_memory_bytes(const KvShape& shape, const KvPages& pages) {
  return checked_add(checked_mul(shape.page_bytes(), pages.plain, "KV cache"),
                     checked_mul(shape.packed_page_bytes(), pages.packed, "KV cache"), "KV cache");
}

std::vector<kernels::KvLayer> kv_layers_at(std::uint8_t* at, const KvShape& shape,
                                           const KvPages& pages) {
  std::vector<kernels::KvLayer> layers;
  for (const KvLayerShape& layer : shape.layers) {
    const std::int64_t places = pages.plain * shape.page_tokens * layer.kv_heads;
    const std::int64_t packed_places = pages.packed * shape.page_tokens * layer.kv_heads;
    kernels::KvLayer memory = {nullptr,        nullptr,     shape.type, shape.page_tokens,
                               layer.kv_heads, layer.k_dim, layer.v_dim};
    const auto take = [&at](std::int64_t bytes) {
      std::uint8_t* const taken = at;
      at += bytes;
      return taken;
    };
    memory.k = take(places * layer.k_dim * size_of(shape.type));
    memory.v = take(places * layer.v_dim * size_of(shape.type));
    if (shape.packing) {
      const std::int64_t bits = shape.packing->bits, group = shape.packing->group_size;
      kernels::PackedKv& packed = memory.packed;
      packed.bits = shape.packing->bits, packed.group_size = shape.packing->group_size;
      packed.k = take(packed_places * layer.k_dim * bits / 8);
      packed.v = take(packed_places * layer.v_dim * bits / 8);
      for (std::uint8_t** of_keys : {&packed.k_scales, &packed.k_biases})
        *of_keys = take(packed_places * layer.k_dim / group * size_of(shape.type));
      for (std::uint8_t** of_values : {&packed.v_scales, &packed.v_biases})
        *of_values = take(packed_places * layer.v_dim / group * size_of(shape.type));
    }
    layers.push_back(memory);
  }
  return layers;
}

std::vector<kernels::StateLayer> state_layers_at(float* at, const StateShape& shape,
                                                 std::int64_t slots) {
  std::vector<kernels::StateLayer> layers;
  for (const std::int64_t width : shape.layers) {
    layers.push_back({at, width});
    at += width * slots;
  }
  return layers;
}

}  // namespace stepless
