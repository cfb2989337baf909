#include "ops/cuda/kv_pages.hpp"

#include "base/checked.hpp"
#include "ops/kv_memory.hpp"

namespace stepless {
namespace {

void copy_bytes_of_pages(void* to, const void* from, std::int64_t bytes, cudaStream_t stream) {
  check_cuda(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), cudaMemcpyDefault, stream),
             "KV pages");
}

}  // namespace

DeviceKv::DeviceKv(const KvShape& shape, const KvPages& pages)
    : memory_(kv_memory_bytes(shape, pages), "KV cache"),
      layers_(kv_layers_at(memory_.data(), shape, pages)) {}

void DeviceKv::copy(std::span<const PageCopy> copies, cudaStream_t stream) const {
  for (const kernels::KvLayer& layer : layers_) {
    const std::int64_t k_bytes = page_key_bytes(layer), v_bytes = page_value_bytes(layer);
    for (const PageCopy& copy : copies) {
      copy_bytes_of_pages(layer.k + copy.to * k_bytes, layer.k + copy.from * k_bytes, k_bytes,
                          stream);
      copy_bytes_of_pages(layer.v + copy.to * v_bytes, layer.v + copy.from * v_bytes, v_bytes,
                          stream);
    }
  }
}

PageBytes DeviceKv::read(int index, std::span<const std::int32_t> pages,
                         cudaStream_t stream) const {
  const kernels::KvLayer& layer = layers_[static_cast<std::size_t>(index)];
  const std::int64_t k_bytes = page_key_bytes(layer), v_bytes = page_value_bytes(layer);
  PageBytes bytes{std::vector<std::byte>(pages.size() * static_cast<std::size_t>(k_bytes)),
                  std::vector<std::byte>(pages.size() * static_cast<std::size_t>(v_bytes))};
  for (std::size_t i = 0; i < pages.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    copy_bytes_of_pages(bytes.keys.data() + at * k_bytes, layer.k + pages[i] * k_bytes, k_bytes,
                        stream);
    copy_bytes_of_pages(bytes.values.data() + at * v_bytes, layer.v + pages[i] * v_bytes, v_bytes,
                        stream);
  }
  return bytes;
}

void DeviceKv::write(int index, std::span<const std::int32_t> pages, const std::byte* keys,
                     const std::byte* values, cudaStream_t stream) const {
  const kernels::KvLayer& layer = layers_[static_cast<std::size_t>(index)];
  const std::int64_t k_bytes = page_key_bytes(layer), v_bytes = page_value_bytes(layer);
  for (const std::int32_t page : pages) {
    copy_bytes_of_pages(layer.k + page * k_bytes, keys, k_bytes, stream);
    copy_bytes_of_pages(layer.v + page * v_bytes, values, v_bytes, stream);
    keys += k_bytes;
    values += v_bytes;
  }
}

}  // namespace stepless
