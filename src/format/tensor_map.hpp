// All tensors of a checkpoint by name, whatever files hold them. Views only: the files stay mapped
// underneath.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "format/safetensors.hpp"

namespace stepless {

/// Copies are cheap in bytes and share the files. Reading is thread-safe; add() is not.
class TensorMap {
 public:
  TensorMap() = default;
  /// Empty, to be filled by add(); messages name `origin`.
  explicit TensorMap(std::string origin) : origin_(std::move(origin)) {}

  /// Opens a model folder: the shards that model.safetensors.index.json names, else
  /// model.safetensors, else every model*.safetensors. Headers decide where a tensor is; the index
  /// only says which files there are and what to expect. Throws Error: not_found (folder, files),
  /// corrupt (hardening L1-L4, tensors missing or twice, by name and count).
  static TensorMap open(const std::string& folder);

  /// Null when there is no such tensor.
  const TensorView* find(std::string_view name) const;
  /// Throws Error (corrupt): "<folder>: no tensor '<name>'".
  const TensorView& at(std::string_view name) const;
  bool contains(std::string_view name) const { return find(name) != nullptr; }

  /// In the order of names.
  TensorsByName::const_iterator begin() const { return tensors_.begin(); }
  TensorsByName::const_iterator end() const { return tensors_.end(); }
  std::int64_t size() const { return static_cast<std::int64_t>(tensors_.size()); }
  /// Bytes of all tensors.
  std::int64_t bytes() const;

  /// A tensor made in memory, and its owner. Throws Error (invalid_argument) when the name is
  /// taken.
  void add(std::string name, Tensor tensor);
  /// A view whose bytes `owner` keeps alive.
  void add(std::string name, TensorView view, std::shared_ptr<const void> owner);

  /// What is odd but no error, a line each: tensors the index does not list, files it does not
  /// name.
  const std::vector<std::string>& notes() const { return notes_; }
  const std::vector<std::shared_ptr<const SafetensorsFile>>& files() const { return files_; }
  /// The folder it was opened from or made for; "" when made in memory.
  const std::string& origin() const { return origin_; }

  /// Throws Error (corrupt) when a file was cut while mapped. An fstat per file: call it at step
  /// boundaries.
  void check() const;
  /// Gives back the resident pages of one tensor, if it is mapped: after an upload or a repack.
  void drop(const TensorView& view) const;

 private:
  TensorsByName tensors_;
  std::vector<std::shared_ptr<const SafetensorsFile>> files_;
  std::vector<std::shared_ptr<const void>> owners_;
  std::vector<std::string> notes_;
  std::string origin_;
};

}  // namespace stepless
