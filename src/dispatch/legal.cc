#include "dispatch/legal.hpp"

#include <fmt/format.h>

#include <optional>

#include "dispatch/select.hpp"

namespace stepless {
namespace {

std::uint8_t type_bit(DType type) {
  if (type == DType::f32) return kTypeF32;
  if (type == DType::f16) return kTypeF16;
  if (type == DType::bf16) return kTypeBf16;
  return 0;
}

std::uint8_t group_bit(int group) {
  switch (group) {
    case 16:
      return kG16;
    case 32:
      return kG32;
    case 64:
      return kG64;
    case 128:
      return kG128;
    default:
      return 0;
  }
}

std::string types_text(std::uint8_t types) {
  std::string text;
  for (const DType type : {DType::f32, DType::f16, DType::bf16})
    if ((types & type_bit(type)) != 0)
      text += (text.empty() ? "" : ", ") + std::string(to_string(type));
  return text;
}

std::string groups_text(std::uint8_t groups) {
  std::string text;
  for (const int group : {16, 32, 64, 128})
    if ((groups & group_bit(group)) != 0)
      text += (text.empty() ? "" : ", ") + std::to_string(group);
  return text;
}

/// Names of ops whose weight may be dense or packed say `wany`, which serves both; `full` is a
/// cache in 16 bits.
std::string packing_reason(const Kernel& kernel, const Problem& p) {
  const KernelName& is = kernel.is;
  if (p.packed && p.op == KernelOp::attn && !is.mode) return "reads a cache of 16 bits only";
  if (!p.packed)
    return is.mode ? fmt::format("reads {} {} only", to_string(*is.mode),
                                 has_weight(p.op) ? "weights" : "pages")
                   : "";
  if (is.mode && *is.mode != p.quant.mode)
    return fmt::format("reads {}, not {}", to_string(*is.mode), to_string(p.quant.mode));
  if (is.bits != 0 && is.bits != p.quant.bits)
    return fmt::format("reads {} bits, not {}", is.bits, p.quant.bits);
  if ((kernel.fields.groups & group_bit(p.quant.group_size)) == 0)
    return fmt::format("groups of {}, not {}", groups_text(kernel.fields.groups),
                       p.quant.group_size);
  return "";
}

std::string type_reason(const Kernel& kernel, const Problem& p) {
  const KernelName& is = kernel.is;
  if (is.act && *is.act != p.x_type)
    return fmt::format("takes {}, not {}", to_string(*is.act), to_string(p.x_type));
  // `fany` is every real float type; a dot product's is complex64 as well.
  if (!is.act && !is_float(p.x_type) && !(p.op == KernelOp::dot && p.x_type == DType::complex64))
    return fmt::format("takes {}, not {}", types_text(kAllTypes), to_string(p.x_type));
  const auto lacks_x = [&](std::uint8_t types) {
    return types != kAllTypes && (types & type_bit(p.x_type)) == 0;
  };
  if (lacks_x(kernel.fields.x_types))
    return fmt::format("takes {}, not {}", types_text(kernel.fields.x_types), to_string(p.x_type));
  if (p.y_type == DType::f32 && lacks_x(kernel.fields.f32_y_from))
    return fmt::format("gives f32 from {} only, not from {}", types_text(kernel.fields.f32_y_from),
                       to_string(p.x_type));
  if (kernel.fields.y_types != kAllTypes && (kernel.fields.y_types & type_bit(p.y_type)) == 0)
    return fmt::format("gives {}, not {}", types_text(kernel.fields.y_types), to_string(p.y_type));
  const bool typed_weight = has_weight(p.op) && (!p.packed || p.quant.mode == Mode::affine);
  if (typed_weight && (kernel.fields.w_types & type_bit(p.w_type)) == 0)
    return fmt::format("{} of {}, not {}", p.packed ? "scales" : "weights",
                       types_text(kernel.fields.w_types), to_string(p.w_type));
  return "";
}

}  // namespace

std::string why_not_any_m(const Kernel& kernel, const Problem& p, const Machine& machine) {
  if (kernel.is.op != p.op)
    return fmt::format("computes {}, not {}", to_string(kernel.is.op), to_string(p.op));
  if (!machine.has(kernel.is.isa))
    return fmt::format("{} has no {}", machine.name, to_string(kernel.is.isa));
  if (std::string reason = packing_reason(kernel, p); !reason.empty()) return reason;
  if (std::string reason = type_reason(kernel, p); !reason.empty()) return reason;
  if (p.head > kernel.fields.most_head)
    return fmt::format("heads of up to {} elements, not {}", kernel.fields.most_head, p.head);
  if (p.head % kernel.fields.head_multiple != 0)
    return fmt::format("heads of {} elements or a multiple, not {}", kernel.fields.head_multiple,
                       p.head);
  if (p.n % kernel.fields.n_multiple != 0)
    return fmt::format("n = {} is no multiple of {}", p.n, kernel.fields.n_multiple);
  if (p.k % kernel.fields.k_multiple != 0)
    return fmt::format("k = {} is no multiple of {}", p.k, kernel.fields.k_multiple);
  return "";
}

std::string why_not(const Kernel& kernel, const Problem& p, const Machine& machine) {
  if (std::string reason = why_not_any_m(kernel, p, machine); !reason.empty()) return reason;
  const RowRange rows = kernel.fields.rows;
  if (p.m < rows.least) return fmt::format("at least {} rows, not {}", rows.least, p.m);
  if (p.m > rows.most) return fmt::format("at most {} rows, not {}", rows.most, p.m);
  return "";
}

}  // namespace stepless
