// Kernel names, parsed at compile time: op_mode_bits_act_tile_isa, or op_act_tile_isa for ops that
// read nothing packed. A misspelt name does not build. The token tables also serve to_string().
#pragma once
#include <array>
#include <string_view>

#include "kernels/kernel.hpp"

namespace stepless {

template <class E>
struct EnumToken {
  E value;
  std::string_view text;
};

inline constexpr EnumToken<KernelOp> kOpTokens[] = {
    {KernelOp::qmm, "qmm"},         {KernelOp::qmmn, "qmmn"},     {KernelOp::mm, "mm"},
    {KernelOp::dot, "dot"},         {KernelOp::embed, "embed"},   {KernelOp::norm, "norm"},
    {KernelOp::angles, "angles"},   {KernelOp::rope, "rope"},     {KernelOp::kvput, "kvput"},
    {KernelOp::kvpack, "kvpack"},   {KernelOp::attn, "attn"},     {KernelOp::glu, "glu"},
    {KernelOp::add, "add"},         {KernelOp::take, "take"},     {KernelOp::route, "route"},
    {KernelOp::combine, "combine"}, {KernelOp::sample, "sample"}, {KernelOp::split, "split"},
    {KernelOp::conv, "conv"},       {KernelOp::delta, "delta"}};
inline constexpr EnumToken<Isa> kIsaTokens[] = {{Isa::cpu, "cpu"},
                                                {Isa::avx2, "avx2"},
                                                {Isa::avxvnni, "avxvnni"},
                                                {Isa::avx512, "avx512"},
                                                {Isa::avx512vnni, "avx512vnni"},
                                                {Isa::avx512bf16, "avx512bf16"},
                                                {Isa::avx512vbmi, "avx512vbmi"},
                                                {Isa::amx, "amx"},
                                                {Isa::neon, "neon"},
                                                {Isa::neondot, "neondot"},
                                                {Isa::neonbf16, "neonbf16"},
                                                {Isa::cuda, "cuda"},
                                                {Isa::sm80, "sm80"},
                                                {Isa::sm90, "sm90"}};

/// True for ops whose names carry a mode and bits (packed weights, or the KV cache's).
constexpr bool reads_packed(KernelOp op) {
  return op == KernelOp::qmm || op == KernelOp::qmmn || op == KernelOp::embed ||
         op == KernelOp::attn || op == KernelOp::kvput || op == KernelOp::kvpack;
}

template <class E, std::size_t N>
constexpr E enum_of(const EnumToken<E> (&tokens)[N], std::string_view text) {
  for (const auto& token : tokens)
    if (token.text == text) return token.value;
  throw "a kernel name has an unknown word";
}

template <class E, std::size_t N>
constexpr std::string_view token_of(const EnumToken<E> (&tokens)[N], E value) {
  for (const auto& token : tokens)
    if (token.value == value) return token.text;
  return "?";
}

/// Takes the word before the next underscore off `rest`.
constexpr std::string_view next_word(std::string_view& rest) {
  const auto end = rest.find('_');
  const auto word = rest.substr(0, end);
  rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
  return word;
}

constexpr int digits(std::string_view text, std::size_t& at) {
  int value = 0;
  const std::size_t start = at;
  while (at < text.size() && text[at] >= '0' && text[at] <= '9')
    value = value * 10 + (text[at++] - '0');
  if (at == start) throw "a kernel name lacks a number";
  return value;
}

/// wany: every packed mode. full: attention over a cache that is not quantized.
constexpr void parse_mode_word(std::string_view word, KernelName& name) {
  if (word == "wany" || word == "full") return;
  if (word == "affine")
    name.mode = Mode::affine;
  else if (word == "mxfp4")
    name.mode = Mode::mxfp4;
  else if (word == "mxfp8")
    name.mode = Mode::mxfp8;
  else if (word == "nvfp4")
    name.mode = Mode::nvfp4;
  else
    throw "a kernel name has an unknown mode";
}

/// fany: every float type. i8: every one as well, rounded to 8 bits.
constexpr void parse_act_word(std::string_view word, KernelName& name) {
  if (word == "fany" || word == "i8") return;
  if (word == "f32")
    name.act = DType::f32;
  else if (word == "f16")
    name.act = DType::f16;
  else if (word == "bf16")
    name.act = DType::bf16;
  else if (word == "complex64")
    name.act = DType::complex64;
  else
    throw "a kernel name has an unknown activation type";
}

/// m8n16, or one letter and a number: v16 (vector lanes), r1 (rows), h8 (heads).
constexpr void parse_tile_word(std::string_view word, KernelName& name) {
  std::size_t at = 1;
  if (word.empty()) throw "a kernel name lacks its tile";
  if (word[0] == 'm') {
    name.tile_m = digits(word, at);
    if (at >= word.size() || word[at] != 'n') throw "a tile is m<rows>n<outputs>";
    ++at;
    name.tile_n = digits(word, at);
  } else if (word[0] == 'v' || word[0] == 'r' || word[0] == 'h') {
    name.tile_n = digits(word, at);
  } else {
    throw "a tile begins with m, v, r or h";
  }
  if (at != word.size()) throw "a tile ends early";
}

consteval KernelName parse_name(std::string_view text) {
  KernelName name;
  name.op = enum_of(kOpTokens, next_word(text));
  if (reads_packed(name.op)) {
    parse_mode_word(next_word(text), name);
    const std::string_view bits = next_word(text);
    std::size_t at = 1;
    if (bits != "bany") name.bits = digits(bits, at);
  }
  parse_act_word(next_word(text), name);
  parse_tile_word(next_word(text), name);
  name.isa = enum_of(kIsaTokens, next_word(text));
  if (!text.empty()) throw "a kernel name ends with its isa";
  return name;
}

}  // namespace stepless
