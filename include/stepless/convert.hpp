// From a Hugging Face checkpoint to one in MLX's format, quantized or not, and back to floats.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "stepless/quant.hpp"

namespace stepless {

struct ConvertOptions {
  /// A folder with config.json and safetensors, as Hugging Face or mlx-lm write it.
  std::string source;
  /// The folder to make, its parents too. It appears whole or not at all.
  std::string target;
  bool force = false;  // replace a model folder that is there
  /// Quantize the matrices that mlx-lm quantizes, or turn packed ones into floats; not both.
  bool quantize = false, dequantize = false;
  Mode mode = Mode::affine;
  std::optional<int> bits, group_size;  // none: the mode's own (affine 4/64, mxfp4 4/32, ...)
  /// A mixture of two widths by layer: mixed_2_6, mixed_3_4, mixed_3_6, mixed_4_6; affine only.
  std::string recipe;
  /// float16, bfloat16 or float32: what floats become, before quantizing. Empty: config.json's
  /// torch_dtype, else each tensor's own.
  std::string dtype;
  int threads = 1;
  std::int64_t shard_bytes = std::int64_t{5} << 30;  // of tensors per file; one tensor is not cut
  /// Bytes of the source that are done, of how many. Called between pieces, by the calling thread.
  std::function<void(std::int64_t done, std::int64_t total)> progress;
  /// Asked between pieces; true ends convert() with Error (cancelled).
  std::function<bool()> cancelled;
};

struct ConvertReport {
  std::string family;
  std::int64_t source_bytes = 0;  // of the tensors read
  std::int64_t bytes = 0;         // of the tensors written
  std::int64_t parameters = 0;    // decoded weights; a tied head counts once
  std::int64_t tensors = 0, quantized_matrices = 0, float_matrices = 0;
  double bits_per_weight = 0;
  std::vector<std::string> files;    // names inside the target
  std::vector<std::string> formats;  // e.g. "affine 4-bit g64: 43 matrices"
  std::vector<std::string> notes;    // what is odd but no error
};

/// Writes what mlx-lm 0.32 writes: tensors under MLX's names, model.safetensors or shards and their
/// index, config.json with its quantization block, the tokenizer's files as they are. Affine codes,
/// scales and biases are MLX's bit for bit; dequantized values are exact, rounded once. Memory: a
/// few pieces of 16 MiB and the scales of one matrix, whatever the size of the checkpoint.
/// Throws Error: invalid_argument (options that contradict each other, a target that is there, a
/// checkpoint that is quantized already), unsupported (GGUF, GPTQ, AWQ, pickles, a family that is
/// not there), not_found, corrupt (tensor and position of a number that is not finite, names and
/// shapes that do not fit config.json), exhausted (disk), cancelled. Nothing is left behind then.
ConvertReport convert(const ConvertOptions& options);

}  // namespace stepless
