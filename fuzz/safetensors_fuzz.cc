// safetensors files: what is accepted lies inside the file, tensor by tensor, to the last byte.
#include "format/dtype.hpp"
#include "format/safetensors.hpp"
#include "fuzz/memory_file.hpp"
#include "stepless/error.hpp"

namespace stepless::fuzz {
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
