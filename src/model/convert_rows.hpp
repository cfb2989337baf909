// The bytes of an imported tensor piece by piece, wherever they lie, and floats of one type as
// those of another, each number checked.
#pragma once
#include <string>
#include <vector>

#include "model/import.hpp"

namespace stepless {

/// Reads an imported tensor without ever holding it.
class ImportedBytes {
 public:
  ImportedBytes(const ImportedTensor& tensor, const TensorMap& published);

  std::int64_t size() const { return part_ * static_cast<std::int64_t>(tensor_.sources.size()); }
  /// Bytes [begin, begin + count), in place when they are stored so, else gathered into `room`.
  /// Interleaved tensors: whole lines.
  const std::byte* at(std::int64_t begin, std::int64_t count, std::vector<std::byte>& room) const;
  /// The first byte after the published tensor that holds `begin`.
  std::int64_t end_of_source(std::int64_t begin) const { return (begin / part_ + 1) * part_; }
  /// The published tensor that holds `begin`, and the byte where it starts; for messages.
  const std::string& source_name(std::int64_t begin) const;
  std::int64_t start_of_source(std::int64_t begin) const { return begin / part_ * part_; }
  /// Gives back the pages of what was read.
  void drop(std::int64_t begin, std::int64_t count) const;

 private:
  const ImportedTensor& tensor_;
  const TensorMap& published_;
  std::vector<const std::byte*> sources_;
  std::int64_t part_ = 0, line_ = 0;  // bytes of one source, and of one of its lines
};

/// Rows of one tensor: where they are in it, for messages.
struct RowsName {
  const std::string& tensor;
  std::int64_t first = 0;
};

/// `rows` rows of k floats as floats of another type (or the same), each rounded once. Throws Error
/// (corrupt): a number that is not finite, or does not fit the new type, by row and column.
void cast_rows(const TensorView& from, DType type, std::byte* to, const RowsName& name);
/// The check alone.
void check_rows(const TensorView& rows, const RowsName& name);

}  // namespace stepless
