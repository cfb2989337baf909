#include "kernels/roll_call.hpp"

#include <cstddef>

#include "kernels/parse_name.hpp"
#include "kernels/targets.hpp"

namespace stepless {

namespace kernels {
#define KERNEL(isa, name, ...) extern const STEPLESS_ENTRY_##isa name;
#include "kernels/kernels.inc"
#undef KERNEL
}  // namespace kernels

namespace {
constexpr const kernels::CpuEntry* cpu_entry(const kernels::CpuEntry* entry) { return entry; }
[[maybe_unused]] constexpr const kernels::CpuEntry* cpu_entry(const kernels::CudaEntry*) {
  return nullptr;
}
[[maybe_unused]] constexpr const kernels::CpuEntry* cpu_entry(std::nullptr_t) { return nullptr; }
constexpr const kernels::CudaEntry* cuda_entry(const kernels::CpuEntry*) { return nullptr; }
[[maybe_unused]] constexpr const kernels::CudaEntry* cuda_entry(const kernels::CudaEntry* e) {
  return e;
}
[[maybe_unused]] constexpr const kernels::CudaEntry* cuda_entry(std::nullptr_t) { return nullptr; }
}  // namespace

std::span<const Kernel> roll_call() {
  // constexpr, not merely const: clang 14 leaves names parsed at compile time empty otherwise.
  static constexpr Kernel kRows[] = {
#define KERNEL(isa, name, ...)                                \
  Kernel{#name, parse_name(#name), KernelFields{__VA_ARGS__}, \
         cpu_entry(STEPLESS_BUILT_##isa(&kernels::name)),     \
         cuda_entry(STEPLESS_BUILT_##isa(&kernels::name))},
#include "kernels/kernels.inc"
#undef KERNEL
  };
  return kRows;
}

const Kernel* find_kernel(std::string_view name) {
  for (const Kernel& row : roll_call())
    if (row.name == name) return &row;
  return nullptr;
}

std::string_view to_string(Isa isa) { return token_of(kIsaTokens, isa); }
std::string_view to_string(KernelOp op) { return token_of(kOpTokens, op); }

std::string_view to_string(Layout layout) {
  switch (layout) {
    case Layout::mapped:
      return "mapped";
  }
  return "?";
}

std::string_view to_string(Order order) {
  switch (order) {
    case Order::none:
      return "none";
    case Order::lanes_f32:
      return "lanes_f32";
    case Order::fma_lanes:
      return "fma_lanes";
    case Order::avx2_f32:
      return "avx2_f32";
    case Order::avx2_i16:
      return "avx2_i16";
    case Order::avx512_f32:
      return "avx512_f32";
    case Order::avx512_i16:
      return "avx512_i16";
    case Order::avx512_bf16:
      return "avx512_bf16";
    case Order::neon_f32:
      return "neon_f32";
    case Order::neon_i16:
      return "neon_i16";
    case Order::int8_groups:
      return "int8_groups";
    case Order::cuda_f64:
      return "cuda_f64";
    case Order::mma_k512:
      return "mma_k512";
    case Order::mma_pieces:
      return "mma_pieces";
    case Order::wgmma_rounded:
      return "wgmma_rounded";
    case Order::mma_pages:
      return "mma_pages";
    case Order::mma_units:
      return "mma_units";
    case Order::mma_packed:
      return "mma_packed";
    case Order::wgmma_pages:
      return "wgmma_pages";
  }
  return "?";
}

}  // namespace stepless
