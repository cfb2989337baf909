// A row of the roll call: what a kernel is called, what it accepts, in which order it sums. Rows
// are host data and compile everywhere; only `entry` depends on what was built. Names are parsed at
// compile time.
#pragma once
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

#include "kernels/args.hpp"

namespace stepless {

/// Instruction sets and GPU architectures; the branch is the folder under kernels/ (cpu and cuda:
/// the `any` folders).
enum class Isa : std::uint8_t {
  cpu,
  avx2,
  avxvnni,
  avx512,
  avx512vnni,
  avx512bf16,
  avx512vbmi,
  amx,
  neon,
  neondot,
  neonbf16,
  cuda,
  sm80,
  sm90
};
enum class KernelOp : std::uint8_t {
  qmm,
  qmmn,
  mm,
  dot,
  embed,
  norm,
  angles,
  rope,
  kvput,
  kvpack,
  attn,
  split,
  conv,
  delta,
  glu,
  add,
  take,
  route,
  combine,
  sample
};
enum class Layout : std::uint8_t { mapped };  // rows as in the checkpoint
/// How k is summed. Kernels that claim one order give equal bytes for equal rows.
enum class Order : std::uint8_t {
  none,           // nothing is summed, or the op has one kernel
  lanes_f32,      // `any`: see its file
  fma_lanes,      // a warp's lanes, plain fma: cuda/sm80/dense_lanes.cuh
  avx2_f32,       // 8 float32 lanes
  avx2_i16,       // 16-bit integers within a group: cpu/avx2/i16_tile.hpp
  avx512_f32,     // 16 float32 lanes
  avx512_i16,     // 16-bit integers within a group, groups in turn: cpu/avx512vnni
  avx512_bf16,    // VDPBF16PS pairs
  neon_f32,       // 8 float32 lanes with fma: cpu/neon/tile.hpp
  neon_i16,       // 16-bit integers within a group, groups in turn: cpu/neondot/planes.hpp
  int8_groups,    // x rounded to 8 bits, groups in turn; --fast-int8 alone: cpu/any/byte_scale.hpp
  cuda_f64,       // `any` of CUDA: see its file
  mma_k512,       // tensor cores, chains of 512: cuda/sm80/flat_units.cuh
  mma_units,      // tensor cores, other formats and types: cuda/sm80/unit_order.cuh
  mma_pieces,     // the same, x as a sum of bf16: cuda/sm80/x_pieces.cuh
  wgmma_rounded,  // tensor cores, one chain, weights rounded to the type of x:
                  // cuda/sm90/prompt_tile.cuh
  mma_pages,      // tensor cores over chunks of 64 positions: cuda/sm80/attention_tiles.cuh
  mma_packed,     // tensor cores over packed pages: cuda/sm80/packed_attention.cuh
  wgmma_pages     // as mma_pages, one chunk after the other: cuda/sm90/prompt_attention.cuh
};
/// The axis a Slice counts.
enum class Unit : std::uint8_t { outputs, rows, row_heads, dot_blocks };

inline constexpr std::int64_t kAnyRows = std::numeric_limits<std::int64_t>::max();
inline constexpr std::int64_t kInvariantRows = 64;

struct RowRange {
  std::int64_t least = 1, most = kAnyRows;
};

/// Which types or group sizes a row accepts, as bits.
enum TypeSet : std::uint8_t { kTypeF32 = 1, kTypeF16 = 2, kTypeBf16 = 4, kAllTypes = 7 };
enum GroupSet : std::uint8_t { kG16 = 1, kG32 = 2, kG64 = 4, kG128 = 8, kAllGroups = 15 };

/// Bytes of prepared x: rows * (per_k * padded_k + per_32k * padded_k / 32), padded_k a multiple of
/// 128.
struct WorkspaceRule {
  int per_k = 0;
  int per_32k = 0;
};

/// What the name does not say; the fields of a line of kernels.inc.
struct KernelFields {
  RowRange rows = {};
  int n_multiple = 1, k_multiple = 1;
  std::uint8_t groups = kAllGroups;
  std::uint8_t w_types = kAllTypes;  // affine scale types, or types of a dense weight
  std::uint8_t x_types = kAllTypes;
  std::uint8_t f32_y_from = kAllTypes;  // types of x that may give a float32 y
  std::uint8_t y_types = kAllTypes;
  std::int64_t most_head = kernels::kMaxHeadDim;  // attn: elements of a head
  std::int64_t head_multiple = 1;
  Layout layout = Layout::mapped;
  Order order = Order::none;
  Unit unit = Unit::rows;
  WorkspaceRule workspace = {};
  const char* kept = nullptr;  // why a row that no golden route chooses stays
};

/// The words of a name: op_mode_bits_act_tile_isa; op_act_tile_isa for ops that read nothing
/// packed.
struct KernelName {
  KernelOp op = KernelOp::qmm;
  std::optional<Mode> mode;    // empty: `wany`, or the op has none
  int bits = 0;                // 0: `bany`, or the op has none
  std::optional<DType> act;    // empty: `fany`, or `i8`: any, rounded to 8 bits
  int tile_m = 1, tile_n = 1;  // m rows and n outputs per tile; v, r, h tiles set tile_n
  Isa isa = Isa::cpu;
};

struct Kernel {
  std::string_view name;
  KernelName is;
  KernelFields fields;
  const kernels::CpuEntry* entry = nullptr;  // null when this build has no such target, or on a GPU
  const kernels::CudaEntry* device = nullptr;  // the same for CUDA
  constexpr bool built() const { return entry != nullptr || device != nullptr; }
};

std::string_view to_string(Isa isa);
std::string_view to_string(KernelOp op);
std::string_view to_string(Layout layout);
std::string_view to_string(Order order);

}  // namespace stepless
