// safetensors files: what is accepted lies inside the file, tensor by tensor, to the last byte.
#include <sys/mman.h>
#include <unistd.h>

#include "format/dtype.hpp"
#include "format/safetensors.hpp"
#include "fuzz/targets.hpp"
#include "stepless/error.hpp"

namespace stepless::fuzz {
namespace {

/// A file without a folder, for a reader that wants a path.
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

}  // namespace

void safetensors(Input input) {
  const MemoryFile file(input);
  try {
    const SafetensorsFile opened(file.path());
    std::int64_t total = 0;
    unsigned sum = 0;
    const std::byte* end = opened.file().data() + opened.file().size();
    for (const auto& [name, view] : opened.tensors()) {
      const std::int64_t bytes = bytes_of(view.shape, view.type, name);
      require(bytes >= 0 && view.data <= end && bytes <= end - view.data,
              "tensors lie in the file");
      for (std::int64_t i = 0; i < bytes; ++i) sum += static_cast<unsigned>(view.data[i]);
      total += bytes;
      require(opened.find(name) == &view, "find() finds what is listed");
    }
    require(total + 8 <= opened.file().size() && sum <= 255u * static_cast<unsigned>(total),
            "tensors do not overlap");
    opened.file().check();
  } catch (const Error&) {
  }
}

}  // namespace stepless::fuzz
