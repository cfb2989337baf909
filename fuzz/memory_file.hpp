// A file without a folder, for a reader that wants a path.
#pragma once
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz/targets.hpp"

namespace stepless::fuzz {

class MemoryFile {
 public:
  explicit MemoryFile(Input bytes) : file_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    require(file_ >= 0, "memfd_create");
    require(::write(file_, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()),
            "write to a memfd");
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { ::close(file_); }
  std::string path() const { return "/proc/self/fd/" + std::to_string(file_); }

 private:
  int file_;
};

}  // namespace stepless::fuzz
