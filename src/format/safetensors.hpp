// safetensors files: read through a mapping with every field checked before it is used, written
// whole or not at all.
//   | u64 header bytes | JSON header, padded with spaces | data; offsets in the header count from
//   here |
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.hpp"
#include "stepless/tensor.hpp"

namespace stepless {

using TensorsByName = std::map<std::string, TensorView, std::less<>>;
using Metadata = std::map<std::string, std::string, std::less<>>;

/// One file. The views point into its mapping and live as long as the object. Immutable after
/// construction.
class SafetensorsFile {
 public:
  /// Throws Error: not_found; corrupt, with file, tensor and values, for whatever hardening L1-L3
  /// refuses; unsupported for element types we do not hold (F8_E4M3 ...).
  explicit SafetensorsFile(const std::string& path);

  const std::string& path() const { return file_.path(); }
  const MappedFile& file() const { return file_; }
  /// Null when there is no such tensor.
  const TensorView* find(std::string_view name) const;
  /// In the order of names.
  const TensorsByName& tensors() const { return tensors_; }
  const Metadata& metadata() const { return metadata_; }

 private:
  MappedFile file_;
  TensorsByName tensors_;
  Metadata metadata_;
};

/// One tensor to be written.
struct TensorInfo {
  std::string name;
  DType type = DType::f32;
  Shape shape;
};

/// Who may read a file that is written: whom the umask lets, or the owner alone.
enum class FileReaders : std::uint8_t { umask, owner };

/// Writes a file tensor by tensor, in the order announced, under a temporary name beside it;
/// finish() puts it in place. An object destroyed before that leaves nothing behind.
class SafetensorsWriter {
 public:
  /// Throws Error: invalid_argument (a name twice or "__metadata__", bad shape), exhausted (sizes,
  /// header, disk).
  SafetensorsWriter(std::string path, std::vector<TensorInfo> tensors,
                    const Metadata& metadata = {}, FileReaders readers = FileReaders::umask);
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;
  ~SafetensorsWriter();

  /// The next bytes of the data; a tensor may come in pieces. Throws Error: invalid_argument (more
  /// than announced), exhausted (disk full or unwritable).
  void append(const void* data, std::int64_t bytes);
  /// Flushes to the disk and renames. Throws Error: invalid_argument when bytes are missing;
  /// exhausted.
  void finish();

 private:
  void write_all(const void* data, std::int64_t bytes);

  std::string path_, temporary_;
  int file_ = -1;
  std::int64_t expected_ = 0, written_ = 0;
};

struct NamedView {
  std::string name;
  TensorView view;
};

/// All of it at once, in the given order; errors as SafetensorsWriter.
void write_safetensors(const std::string& path, std::span<const NamedView> tensors,
                       const Metadata& metadata = {});

}  // namespace stepless
