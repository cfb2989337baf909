// The folder that convert makes: filled under a temporary name beside its place, put there whole,
// or gone.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace stepless {

/// A new file with this text, flushed to the disk. Throws Error (exhausted).
void write_text_file(const std::string& path, const std::string& text);

class TargetFolder {
 public:
  enum class Replace : std::uint8_t { no, yes };

  /// Makes the temporary folder. Throws Error: invalid_argument (a target that is there, or must
  /// not be replaced; one that holds the source), exhausted (no rights, no room).
  TargetFolder(const std::string& target, const std::string& source, Replace replace);
  TargetFolder(const TargetFolder&) = delete;
  TargetFolder& operator=(const TargetFolder&) = delete;
  /// Removes what commit() has not put in place, parents that it made included.
  ~TargetFolder();

  const std::string& path() const { return work_; }  // of the temporary folder
  /// Throws Error (exhausted) when the disk has less.
  void expect_room(std::int64_t bytes) const;
  /// Copies what a checkpoint has beside its tensors and config.json: tokenizer, template,
  /// generation config, licence. Returns their names.
  std::vector<std::string> copy_small_files() const;
  /// The new folder takes its place, in one step where the file system can.
  void commit();

 private:
  void check_target() const;
  void make_parents();
  void make_work();

  std::string target_, source_, work_;
  Replace replace_;
  std::vector<std::string> made_;  // parents, outermost first
};

}  // namespace stepless
