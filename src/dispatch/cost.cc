#include "dispatch/cost.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

namespace stepless {
namespace {

struct MeasuredRow {
  std::string_view profile, kernel;
  int bits;  // of the weights; 0: any
  Share share;
};
struct AssumedRow {
  Isa isa;
  std::string_view op;
  Share share;
};
struct PinRow {
  std::string_view profile, kernel;
  std::int64_t least_m, most_m;
  std::string_view evidence;
};

// An empty list is no array: each begins with a line that fits nothing.
constexpr MeasuredRow kMeasured[] = {
    {"", "", 0, {}},
#define MEASURED_BITS(profile, kernel, bits, memory, compute, source) \
  {#profile, #kernel, bits, {memory, compute, source}},
#define MEASURED(profile, kernel, memory, compute, source) \
  MEASURED_BITS(profile, kernel, 0, memory, compute, source)
#define ASSUMED(isa, op, memory, compute, source)
#include "dispatch/measured.inc"
#undef MEASURED_BITS
#undef MEASURED
#undef ASSUMED
};
constexpr AssumedRow kAssumed[] = {
#define MEASURED_BITS(profile, kernel, bits, memory, compute, source)
#define MEASURED(profile, kernel, memory, compute, source)
#define ASSUMED(isa, op, memory, compute, source) {Isa::isa, #op, {memory, compute, source}},
#include "dispatch/measured.inc"
#undef MEASURED_BITS
#undef MEASURED
#undef ASSUMED
};
constexpr PinRow kPins[] = {
    {"", "", 1, 0, ""},
#define PREFER(profile, kernel, least, most, evidence) {#profile, #kernel, least, most, evidence},
#include "dispatch/prefer.inc"
#undef PREFER
};

double size(DType type) { return static_cast<double>(size_of(type)); }

/// n outputs times k inputs, whichever way the groups run.
double weight_bytes(const Problem& p) {
  const double elements = static_cast<double>(p.n) * static_cast<double>(p.k);
  if (!p.packed) return elements * size(p.w_type);
  const double per_group = p.quant.mode == Mode::affine ? 2 * size(p.w_type) : 1;
  return elements * (p.quant.bits / 8.0 + per_group / p.quant.group_size);
}

/// VPMADDUBSW and its add take twice the products of VPMADDWD and its own.
double int8_rate(const Machine& machine) {
  return std::max(machine.int8_gops, 2 * machine.int16_gops);
}

/// What reading and computing take that go on beside each other. A GPU hides the shorter one. A
/// CPU's core does both, the less so the nearer they are: the cube root of cubes is within 10 % of
/// 4-bit rows at m = 1 to 64, where the larger alone says 20 to 40 % too little at m = 4 to 8.
double together(const Kernel& kernel, double memory, double compute) {
  if (kernel.is.isa >= Isa::cuda) return std::max(memory, compute);
  return std::cbrt(memory * memory * memory + compute * compute * compute);
}

}  // namespace

Traffic traffic_of(const Problem& p) {
  const double m = static_cast<double>(p.m), n = static_cast<double>(p.n),
               k = static_cast<double>(p.k);
  const double x = size(p.x_type), y = size(p.y_type);
  switch (p.op) {
    case KernelOp::qmm:
    case KernelOp::qmmn:
    case KernelOp::mm:
      return {weight_bytes(p), m * k * x, m * n * y, 2 * m * n * k};
    case KernelOp::dot:
      return {0, 2 * k * x, y, (p.x_type == DType::complex64 ? 8 : 2) * k};
    case KernelOp::embed:  // m of the table's n rows, and their ids
      return {n > 0 ? weight_bytes(p) / n * m : 0, 4 * m, m * k * y, 2 * m * k};
    case KernelOp::attn: {  // every row its own k positions of keys and values; n = heads *
                            // head_dim
      const double kv_n = static_cast<double>(p.kv_n > 0 ? p.kv_n : p.n);
      const double element = p.packed ? p.quant.bits / 8.0 + 2 * x / p.quant.group_size : x;
      return {2 * m * k * kv_n * element, m * n * x, m * n * y, 4 * m * n * k};
    }
    case KernelOp::glu:
      return {0, 2 * m * n * x, m * n * y, 8 * m * n};
    case KernelOp::add:
      return {0, 2 * m * n * x, m * n * y, 2 * m * n};
    case KernelOp::norm:
      return {n * size(p.w_type), m * n * x, m * n * y, 4 * m * n};
    case KernelOp::rope:
      return {0, m * n * (x + 4), m * n * y, 4 * m * n};
    case KernelOp::angles:  // a sine costs some dozens of operations
      return {0, 8 * m, m * n * y, 40 * m * n};
    case KernelOp::conv:  // a product per tap, and silu; the state is as good as cached
      return {n * k * size(p.w_type), m * n * x, m * n * y, m * n * (2 * k + 8)};
    case KernelOp::delta:  // every row a sequence of its own: its state comes and goes
      return {0, m * n * (k * 4 + x), m * n * (k * 4 + y), 7 * m * n * k};
    case KernelOp::kvpack:  // n elements of a row become codes
      return {0, m * n * x, m * n * p.quant.bits / 8.0, 8 * m * n};
    case KernelOp::kvput:
    case KernelOp::split:
    case KernelOp::take:
      return {0, m * n * x, m * n * y, 0};
    case KernelOp::route:  // n experts: an exp each, and k passes
      return {0, m * n * x, 8 * m * k, 30 * m * n};
    case KernelOp::combine:  // k rows of n
      return {0, m * n * k * x, m * n * y, 2 * m * n * k};
    case KernelOp::sample:  // an exp per logit and a few passes
      return {0, m * n * x, 8 * m, 20 * m * n};
  }
  return {};
}

double read_rate(const Machine& machine) {
  return 1e3 * (machine.threads > 1 ? machine.read_gbps_all : machine.read_gbps);
}

double best_rate(const Problem& p, const Machine& machine, Precision precision) {
  // bf16 x is one bf16 plane, f16 two; float32 would take three and lose to plain fma (kernels.md,
  // CPU 2). GPUs multiply f16 as fast as bf16.
  double rate = machine.f32_gflops;
  if (p.x_type == DType::bf16) rate = std::max(rate, machine.bf16_gflops);
  if (p.x_type == DType::f16)
    rate = std::max(rate, machine.bf16_gflops / (machine.has(Isa::sm80) ? 1 : 2));
  if (p.x_type == DType::f32 && machine.has(Isa::sm80))
    rate = std::max(rate, machine.bf16_gflops / 3);  // a float32 is three bf16
  // Codes are integers, and 16 bits hold what either x is rounded to; E4M3 needs more.
  // Two planes of bytes hold them as well.
  const bool codes = p.op == KernelOp::qmm || (p.op == KernelOp::attn && p.packed);
  if (codes && p.x_type != DType::f32 && p.quant.mode != Mode::mxfp8)
    rate = std::max({rate, machine.int16_gops, machine.int8_gops / 2});
  if (p.op == KernelOp::qmm && precision == Precision::int8)
    rate = std::max(rate, int8_rate(machine));
  return 1e3 * rate * machine.threads;
}

/// TDPBUSD takes eight times the products of two VPDPBUSD.
constexpr double kTiles = 8;

double kernel_rate(const Kernel& kernel, const Problem& p, const Machine& machine) {
  double rate = machine.f32_gflops;
  if (kernel.is.isa == Isa::avx512bf16 && machine.bf16_gflops > 0)
    rate = p.x_type == DType::bf16 ? machine.bf16_gflops : machine.bf16_gflops / 2;
  if (kernel.fields.order == Order::avx2_i16 && machine.int16_gops > 0) rate = machine.int16_gops;
  // The machine's rate is that of tiles where it has them.
  const double slower = machine.has(Isa::amx) && kernel.is.isa != Isa::amx ? kTiles : 1;
  const bool half = kernel.is.isa == Isa::avxvnni && machine.has(Isa::avx512vnni);  // of a vector
  if (kernel.fields.order == Order::avx512_i16 && machine.int8_gops > 0)
    rate = machine.int8_gops / (half ? 4 : 2) / slower;
  if (kernel.fields.order == Order::neon_i16 && machine.int8_gops > 0) {
    rate = machine.int8_gops / 2;
    // SDOT does half of what SMMLA does, which the machine's rate is that of.
    if (kernel.is.isa == Isa::neondot && machine.has(Isa::neonbf16)) rate /= 2;
  }
  if (kernel.fields.order == Order::int8_groups) {
    const bool vnni = kernel.is.isa == Isa::avx512vnni || kernel.is.isa == Isa::avxvnni;
    if (vnni || kernel.is.isa == Isa::amx)
      rate = std::max(rate, machine.int8_gops / (half ? 2 : 1) / slower);
    else
      rate = std::max(rate, 2 * machine.int16_gops);
  }
  const int pieces = kernel.fields.order == Order::mma_pieces ? 2 : 1;  // of f16
  if (kernel.is.isa >= Isa::sm80)
    rate = std::max(rate, machine.bf16_gflops / (p.x_type == DType::f32 ? 3 : pieces));
  return 1e3 * rate * machine.threads;
}

Share share_of(const Kernel& kernel, int bits, const Machine& machine) {
  for (const MeasuredRow& row : kMeasured)
    if (row.profile == machine.profile && row.kernel == kernel.name &&
        (row.bits == 0 || row.bits == bits))
      return row.share;
  for (const AssumedRow& row : kAssumed)
    if (row.isa == kernel.is.isa && (row.op == to_string(kernel.is.op) || row.op == "any"))
      return row.share;
  return {0.3, 0.3, "assumed: measured.inc has no line for this folder"};
}

double memory_floor_us(const Problem& p, const Machine& machine) {
  return traffic_of(p).bytes() / read_rate(machine);
}

double floor_us(const Problem& p, const Machine& machine, Precision precision) {
  return std::max(memory_floor_us(p, machine),
                  traffic_of(p).flop / best_rate(p, machine, precision));
}

double cost_us(const Kernel& kernel, int bits, const Machine& machine, double memory_us,
               double compute_us) {
  const Share share = share_of(kernel, bits, machine);
  return together(kernel, memory_us / share.memory, compute_us / share.compute) + machine.fixed_us;
}

double cost_us(const Kernel& kernel, const Problem& p, const Machine& machine) {
  return cost_us(kernel, packed_bits(p), machine, memory_floor_us(p, machine),
                 traffic_of(p).flop / kernel_rate(kernel, p, machine));
}

std::string_view pin_of(const Kernel& kernel, const Problem& p, const Machine& machine) {
  for (const PinRow& pin : kPins)
    if (pin.profile == machine.profile && pin.kernel == kernel.name && p.m >= pin.least_m &&
        p.m <= pin.most_m)
      return pin.evidence;
  return "";
}

}  // namespace stepless
