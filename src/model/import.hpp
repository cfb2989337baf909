// Tensors as Hugging Face publishes a family, turned into those of MLX's format: other names,
// experts one by one instead of stacked, two matrices in one, norms as what is added to 1. What a
// checkpoint in MLX's format holds stays as it is.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/tensor_map.hpp"
#include "model/config.hpp"

namespace stepless {

/// Which lines along the second axis (the outputs of stacked experts) belong to a tensor: two
/// matrices may be interleaved.
enum class Lines : std::uint8_t { all, even, odd };

/// Where a published tensor, or a part of it, goes.
struct Piece {
  std::string name;  // of the MLX tensor
  /// `slots` > 0: slot of that many along a new first axis; 0: this is the whole tensor.
  std::int64_t slot = 0, slots = 0;
  Lines lines = Lines::all;
  bool words = false;   // uint8 (experts, n, groups, b) read as uint32 (experts, n, groups * b / 4)
  bool turned = false;  // (a, 1, b) becomes (a, b, 1): the taps of a convolution per channel
  float add = 0;        // to every element, in float32, rounded once to the tensor's float type
};

/// What a family does with a published tensor, by its name and by what stands beside it. Empty: it
/// is not needed. Throws Error (corrupt, unsupported).
using ImportRule = std::vector<Piece> (*)(const Config&, const TensorMap& published,
                                          std::string_view name);

/// The rule of most families: names are the same; stored rotary frequencies and the head of a tied
/// model go.
std::vector<Piece> import_plain(const Config& config, const TensorMap& published,
                                std::string_view name);
/// The same, and "<prefix>.experts.<i>.<rest>" is slot i of "<prefix>.switch_mlp.<rest>"; `count`
/// is the config's field of how many there are.
std::vector<Piece> import_experts(const Config& config, const TensorMap& published,
                                  std::string_view name, const char* count);

/// "<prefix>.experts.<index>.<rest>".
struct ExpertName {
  std::string_view prefix, rest;
  std::int64_t index;
};
std::optional<ExpertName> parse_expert(std::string_view name);

/// An MLX tensor and the published ones it is made of, in order along the first axis.
struct ImportedTensor {
  std::string name;
  DType type = DType::f32;
  Shape shape;
  std::vector<std::string> sources;
  Lines lines = Lines::all;
  float add = 0;

  /// The bytes of each source are the tensor's, as they stand.
  bool as_stored() const { return lines == Lines::all && add == 0; }
};

/// In the order of names. Throws Error (corrupt): an expert is missing or there twice, shapes or
/// types differ within a stack, lines that do not pair.
std::vector<ImportedTensor> import_tensors(ImportRule rule, const Config& config,
                                           const TensorMap& published);

/// The bytes of tensor.sources[i]: all of the tensor's when it has one source. `to` has exactly
/// that size, see source_bytes().
void copy_source(const ImportedTensor& tensor, std::size_t i, const TensorMap& published,
                 std::span<std::byte> to);
/// What Piece::add asks of copied bytes.
void add_to_all(DType type, float add, std::span<std::byte> bytes);
/// Bytes that each source contributes.
std::int64_t source_bytes(const ImportedTensor& tensor);

}  // namespace stepless
