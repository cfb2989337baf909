// A file mapped read-only. A file that others cut while it is mapped gives zeros and an Error at
// the next check(), where the bare mapping would kill the process with SIGBUS. The table of
// mappings and the handler are the one exception to "no globals": a signal has no Context. See
// docs/decisions/0004-files-cut-while-mapped.md.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace stepless {

/// Movable, not copyable. Reading is safe from any thread, also while check() runs.
/// The first mapping installs a SIGBUS handler which passes faults elsewhere on to the handler it
/// found. A program that installs its own later must do the same, or loses this protection.
class MappedFile {
 public:
  /// An empty object: size 0, nothing to check.
  MappedFile() = default;
  /// Maps a regular file, through symbolic links. Throws Error: not_found (cannot be opened, not a
  /// regular file), exhausted (no address space, or more than kMostMapped files).
  explicit MappedFile(std::string path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  static constexpr int kMostMapped = 4096;

  const std::string& path() const { return path_; }
  const std::byte* data() const { return data_; }
  std::int64_t size() const { return size_; }

  /// Tells the kernel that the file will be read once, front to back: it reads ahead further.
  void advise_sequential() const;
  /// Gives back the resident pages that lie wholly inside [offset, offset + bytes). Reading them
  /// again is legal and reads the file again.
  void drop(std::int64_t offset, std::int64_t bytes) const;

  /// True once a read met a page that the file no longer has. No system call.
  bool damaged() const;
  /// Throws Error (corrupt) when damaged, or when the file is now shorter than it was: a cut inside
  /// the last page reads as zeros without any fault. One fstat; meant for step boundaries.
  void check() const;

 private:
  void release() noexcept;

  std::string path_;
  const std::byte* data_ = nullptr;
  std::int64_t size_ = 0;
  int file_ = -1;
  int slot_ = -1;
};

}  // namespace stepless
