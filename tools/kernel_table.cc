// Writes docs/kernels.md from the roll call: a line per row. Run by tools/kernel_table, which
// compiles it with the list alone, so it leans on nothing but the standard library.
#include <cstdio>
#include <initializer_list>
#include <string>
#include <utility>

#include "kernels/roll_call.hpp"

namespace stepless {
namespace {

std::string joined(std::initializer_list<std::pair<bool, const char*>> words) {
  std::string text;
  for (const auto& [given, word] : words)
    if (given) text += (text.empty() ? "" : " ") + std::string(word);
  return text;
}

/// The second word of a name: affine in qmm_affine_b4_bf16_m8n2_avx512bf16.
std::string mode_word(const Kernel& row) {
  const auto begin = row.name.find('_') + 1;
  return std::string(row.name.substr(begin, row.name.find('_', begin) - begin));
}

std::string reads(const Kernel& row) {
  const KernelName& is = row.is;
  const std::string bits = is.bits == 0 ? "any bits" : std::to_string(is.bits) + " bits";
  switch (is.op) {
    case KernelOp::qmm:
    case KernelOp::qmmn:
      return (is.mode ? mode_word(row) : "any mode") + ", " + bits;
    case KernelOp::embed:
      return is.mode ? mode_word(row) + ", " + bits : "any mode and bits, dense";
    case KernelOp::attn:
    case KernelOp::kvput:
    case KernelOp::kvpack:
      return (is.mode ? mode_word(row) : "plain") + " cache, " + bits;
    case KernelOp::mm:
    case KernelOp::dot:
    case KernelOp::norm:
    case KernelOp::angles:
    case KernelOp::rope:
    case KernelOp::glu:
    case KernelOp::add:
    case KernelOp::take:
    case KernelOp::route:
    case KernelOp::combine:
    case KernelOp::split:
    case KernelOp::conv:
    case KernelOp::delta:
    case KernelOp::sample:
      return "–";
  }
  return "?";
}

bool has_weight(KernelOp op) {
  return op == KernelOp::qmm || op == KernelOp::qmmn || op == KernelOp::mm || op == KernelOp::embed;
}

std::string rows_text(RowRange rows) {
  if (rows.most == kAnyRows) return "m from " + std::to_string(rows.least);
  return "m " + std::to_string(rows.least) + ".." + std::to_string(rows.most);
}

std::string types(std::uint8_t set) {
  return joined({{(set & kTypeF32) != 0, "f32"},
                 {(set & kTypeF16) != 0, "f16"},
                 {(set & kTypeBf16) != 0, "bf16"}});
}

std::string limits(const Kernel& row) {
  const KernelFields& f = row.fields;
  std::string text;
  const auto add = [&](const std::string& words) { text += (text.empty() ? "" : "; ") + words; };
  if (f.rows.least > 1 || f.rows.most != kAnyRows) add(rows_text(f.rows));
  if (f.n_multiple > 1) add("n a multiple of " + std::to_string(f.n_multiple));
  if (f.k_multiple > 1) add("k a multiple of " + std::to_string(f.k_multiple));
  if (f.head_multiple > 1) add("heads a multiple of " + std::to_string(f.head_multiple));
  if (f.groups != kAllGroups)
    add("groups " + joined({{(f.groups & kG16) != 0, "16"},
                            {(f.groups & kG32) != 0, "32"},
                            {(f.groups & kG64) != 0, "64"},
                            {(f.groups & kG128) != 0, "128"}}));
  if (has_weight(row.is.op) && f.w_types != kAllTypes)
    add((row.is.op == KernelOp::mm ? "weights " : "scales ") + types(f.w_types));
  if (f.x_types != kAllTypes) add("x " + types(f.x_types));
  if (f.f32_y_from != f.x_types && f.f32_y_from != kAllTypes)
    add("y f32 from x " + types(f.f32_y_from) + " only");
  if (f.y_types != kAllTypes) add("y " + types(f.y_types));
  if (f.kept != nullptr) add(std::string("kept: ") + f.kept);
  return text.empty() ? "–" : text;
}

std::string workspace(WorkspaceRule rule) {
  if (rule.per_k == 0 && rule.per_32k == 0) return "–";
  std::string text = std::to_string(rule.per_k) + " k";
  if (rule.per_32k != 0) text += " + " + std::to_string(rule.per_32k) + " k/32";
  return text;
}

void print_row(const Kernel& row) {
  const KernelFields& f = row.fields;
  std::string line = "| `" + std::string(row.name) + "`";
  for (const std::string& cell :
       {std::string(to_string(row.is.op)), reads(row), std::string(to_string(row.is.isa)),
        std::string(to_string(f.order)),
        has_weight(row.is.op) ? std::string(to_string(f.layout)) : "–", workspace(f.workspace),
        limits(row)})
    line += " | " + cell;
  std::puts((line + " |").c_str());
}

constexpr const char* kHead =
    "A name is `op_mode_bits_act_tile_isa`; ops that read nothing packed drop mode and bits. "
    "`wany`, `bany`, `fany`:\n"
    "one file serves all modes, widths or types. The tile counts rows of x (m) and outputs (n); v, "
    "r and h count vector\n"
    "lanes, rows and heads. Kernels of one order give equal bytes. Workspace: bytes per row of x, "
    "k rounded up to 128.\n"
    "Of equal predicted cost the earlier row is chosen.\n\n"
    "| kernel | op | reads | isa | order | layout | workspace | limits "
    "|\n|---|---|---|---|---|---|---|---|";

}  // namespace
}  // namespace stepless

int main() {
  using namespace stepless;
  std::printf(
      "# Kernels\n\nGenerated from src/kernels/kernels.inc by tools/kernel_table; `make docs` "
      "writes it again."
      " %zu rows.\n\n",
      roll_call().size());
  std::puts(kHead);
  for (const Kernel& row : roll_call()) print_row(row);
}
