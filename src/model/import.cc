#include "model/import.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>
#include <optional>

#include "base/error.hpp"
#include "format/dtype.hpp"

namespace stepless {
namespace {

/// A piece, and the published tensor it comes from.
struct Found {
  Piece piece;
  std::string source;
  const TensorView* view;
};

/// Type and shape of what a source contributes.
TensorView contribution(const Found& found) {
  TensorView one = *found.view;
  const std::size_t axes = one.shape.size();
  if (found.piece.words && (one.type != DType::u8 || axes != 4 || one.shape[3] % 4 != 0))
    fail(ErrorCode::corrupt,
         "{}: {} of shape {}; codes of experts are bytes, four to a word, of "
         "shape [experts, outputs, groups, bytes]",
         found.source, to_string(one.type), shape_text(one.shape));
  if (found.piece.lines != Lines::all) {
    if (axes < 2 || one.shape[1] % 2 != 0)
      fail(ErrorCode::corrupt, "{}: shape {}; two interleaved matrices have an even second axis",
           found.source, shape_text(one.shape));
    one.shape[1] /= 2;
  }
  if (found.piece.turned) {
    if (axes != 3 || one.shape[1] != 1)
      fail(ErrorCode::corrupt, "{}: shape {}; taps of each channel are [channels, 1, taps]",
           found.source, shape_text(one.shape));
    std::swap(one.shape[1], one.shape[2]);
  }
  if (found.piece.add != 0 && !is_float(one.type))
    fail(ErrorCode::corrupt, "{}: {}; float32, float16 or bfloat16 is expected", found.source,
         to_string(one.type));
  if (found.piece.words) {
    one.shape = {one.shape[0], one.shape[1], one.shape[2] * (one.shape[3] / 4)};
    one.type = DType::u32;
  }
  return one;
}

/// One MLX tensor of its pieces, which are sorted by slot.
ImportedTensor assemble(const std::string& name, const std::vector<Found>& pieces) {
  const Found& first = pieces.front();
  const TensorView one = contribution(first);
  const std::int64_t slots = first.piece.slots;
  ImportedTensor tensor{name, one.type, one.shape, {}, first.piece.lines, first.piece.add};
  for (const Found& found : pieces) {
    const auto at = static_cast<std::int64_t>(tensor.sources.size());
    if (found.piece.slots != slots || (slots == 0 && at > 0) || found.piece.slot < at)
      fail(ErrorCode::corrupt, "{}: made of {} and of {}; one of them is too many", name,
           tensor.sources.empty() ? first.source : tensor.sources.back(), found.source);
    if (slots > 0 && found.piece.slot > at) break;
    const TensorView here = contribution(found);
    if (here.type != one.type || here.shape != one.shape)
      fail(ErrorCode::corrupt, "{}: {} {}; {} is {} {}", found.source, to_string(here.type),
           shape_text(here.shape), first.source, to_string(one.type), shape_text(one.shape));
    tensor.sources.push_back(found.source);
  }
  const auto there = static_cast<std::int64_t>(tensor.sources.size());
  if (slots > 0 && (there < slots || pieces.size() > tensor.sources.size()))
    fail(ErrorCode::corrupt, "{}: expert {} of {} is not there", name, there, slots);
  if (slots > 0) tensor.shape.insert(tensor.shape.begin(), slots);
  return tensor;
}

/// `from` is (first, 2 lines, line): every other line of each first.
void copy_lines(const TensorView& from, Lines which, std::span<std::byte> to) {
  const auto lines = static_cast<std::size_t>(from.shape[0] * from.shape[1] / 2);
  const std::size_t line = to.size() / lines, skip = which == Lines::odd ? line : 0;
  for (std::size_t j = 0; j < lines; ++j)
    std::memcpy(to.data() + j * line, from.data + 2 * j * line + skip, line);
}

}  // namespace

std::vector<Piece> import_plain(const Config& config, const TensorMap&, std::string_view name) {
  if (name.ends_with("rotary_emb.inv_freq")) return {};
  if (name.starts_with("lm_head.") && config.flag_or("tie_word_embeddings", false)) return {};
  return {{std::string(name)}};
}

std::vector<Piece> import_experts(const Config& config, const TensorMap& published,
                                  std::string_view name, const char* count) {
  const auto expert = parse_expert(name);
  if (!expert) return import_plain(config, published, name);
  return {{std::string(expert->prefix) + ".switch_mlp." + std::string(expert->rest), expert->index,
           config.integer(count, 1, 65536)}};
}

std::optional<ExpertName> parse_expert(std::string_view name) {
  constexpr std::string_view kMark = ".experts.";
  const auto at = name.find(kMark);
  if (at == std::string_view::npos) return std::nullopt;
  const char* first = name.data() + at + kMark.size();
  const char* end = name.data() + name.size();
  std::int64_t index = 0;
  const auto [stop, code] = std::from_chars(first, end, index);
  if (code != std::errc() || index < 0 || stop == end || *stop != '.') return std::nullopt;
  return ExpertName{name.substr(0, at), std::string_view(stop + 1, end), index};
}

std::vector<ImportedTensor> import_tensors(ImportRule rule, const Config& config,
                                           const TensorMap& published) {
  std::map<std::string, std::vector<Found>> by_name;
  for (const auto& [name, view] : published)
    for (Piece& piece : rule(config, published, name)) {
      if (piece.slots > 0 && piece.slot >= piece.slots)
        fail(ErrorCode::corrupt, "{}: expert {}; config.json has {}", name, piece.slot,
             piece.slots);
      std::vector<Found>& home = by_name[piece.name];
      home.push_back({std::move(piece), name, &view});
    }
  std::vector<ImportedTensor> tensors;
  for (auto& [name, pieces] : by_name) {
    std::stable_sort(pieces.begin(), pieces.end(),
                     [](const Found& a, const Found& b) { return a.piece.slot < b.piece.slot; });
    tensors.push_back(assemble(name, pieces));
  }
  return tensors;
}

std::int64_t source_bytes(const ImportedTensor& tensor) {
  return bytes_of(tensor.shape, tensor.type, tensor.name) /
         static_cast<std::int64_t>(tensor.sources.size());
}

void add_to_all(DType type, float add, std::span<std::byte> bytes) {
  const auto count = static_cast<std::int64_t>(bytes.size()) / size_of(type);
  std::vector<float> values(static_cast<std::size_t>(count));
  to_f32(bytes.data(), type, values.data(), count);
  for (float& value : values) value += add;
  from_f32(values.data(), type, bytes.data(), count);
}

void copy_source(const ImportedTensor& tensor, std::size_t i, const TensorMap& published,
                 std::span<std::byte> to) {
  const TensorView& from = published.at(tensor.sources[i]);
  if (static_cast<std::int64_t>(to.size()) != source_bytes(tensor))
    fail(ErrorCode::internal, "{}: room for {} bytes; a source has {}", tensor.name, to.size(),
         source_bytes(tensor));
  if (to.empty()) return;
  if (tensor.lines == Lines::all) {
    std::memcpy(to.data(), from.data, to.size());
  } else {
    copy_lines(from, tensor.lines, to);
  }
  if (tensor.add != 0) add_to_all(tensor.type, tensor.add, to);
}

}  // namespace stepless
