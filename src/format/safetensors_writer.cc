// The writing half of safetensors.hpp.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <set>
#include <utility>

#include "base/checked.hpp"
#include "base/json.hpp"
#include "base/quote.hpp"
#include "format/dtype.hpp"
#include "format/safetensors.hpp"

namespace stepless {
namespace {

[[noreturn]] void fail_errno(const std::string& path, const char* doing) {
  fail(ErrorCode::exhausted, "{}: {}: {}", path, doing, std::strerror(errno));
}

// The header with its length before it and spaces behind, so that the data begins at a multiple
// of 8.
std::string header_of(const std::string& path, const std::vector<TensorInfo>& tensors,
                      const Metadata& metadata, std::int64_t& data_bytes) {
  OrderedJson header = OrderedJson::object();
  auto& fields = header.get_ref<OrderedJson::object_t&>();  // push_back: operator[] walks all keys
  if (!metadata.empty()) fields.push_back({"__metadata__", OrderedJson(metadata)});
  std::set<std::string_view> names{"__metadata__"};
  data_bytes = 0;
  for (const TensorInfo& each : tensors) {
    if (!names.insert(each.name).second)
      fail(ErrorCode::invalid_argument, "{}: tensor name {} is taken; names are unique", path,
           in_quotes(each.name));
    const std::int64_t begin = data_bytes;
    const std::int64_t bytes = bytes_of(each.shape, each.type, in_quotes(each.name));
    data_bytes = checked_add(begin, bytes, path);
    OrderedJson entry;
    entry["dtype"] = safetensors_name(each.type);
    entry["shape"] = each.shape;
    entry["data_offsets"] = {begin, data_bytes};
    fields.push_back({each.name, std::move(entry)});
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const OrderedJson::exception&) {
    fail(ErrorCode::invalid_argument, "{}: a tensor name or metadata is not valid UTF-8", path);
  }
  text.append((8 - text.size() % 8) % 8, ' ');
  std::string length(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(text.size() >> (8 * i) & 0xff);
  return length + text;
}

// Opens a file beside `path` that did not exist. The number keeps two writers of one process apart.
int open_temporary(const std::string& path, FileReaders readers, std::string& name) {
  static std::atomic<std::uint64_t> count{0};
  name = fmt::format("{}.{}-{}.tmp", path, ::getpid(), count.fetch_add(1));
  const int file = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                          readers == FileReaders::owner ? 0600 : 0666);
  if (file < 0) fail_errno(name, "cannot be created");
  return file;
}

// A rename is on the disk once its folder is. Some file systems cannot sync a folder: not an error.
void sync_folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const int file = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return;
  ::fsync(file);
  ::close(file);
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(std::string path, std::vector<TensorInfo> tensors,
                                     const Metadata& metadata, FileReaders readers)
    : path_(std::move(path)) {
  const std::string header = header_of(path_, tensors, metadata, expected_);
  file_ = open_temporary(path_, readers, temporary_);
  try {
    write_all(header.data(), static_cast<std::int64_t>(header.size()));
  } catch (...) {
    ::close(file_);
    ::unlink(temporary_.c_str());
    throw;
  }
}

SafetensorsWriter::~SafetensorsWriter() {
  if (file_ < 0) return;
  ::close(file_);
  ::unlink(temporary_.c_str());
}

void SafetensorsWriter::write_all(const void* data, std::int64_t bytes) {
  constexpr std::int64_t kPiece = std::int64_t{64} << 20;
  const char* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t done = ::write(file_, from, static_cast<std::size_t>(std::min(bytes, kPiece)));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) fail_errno(temporary_, "cannot be written");
    from += done;
    bytes -= done;
  }
}

void SafetensorsWriter::append(const void* data, std::int64_t bytes) {
  if (file_ < 0) fail(ErrorCode::invalid_argument, "{}: append after finish", path_);
  if (bytes < 0 || bytes > expected_ - written_)
    fail(ErrorCode::invalid_argument, "{}: {} bytes more after {}; the header announces {}", path_,
         bytes, written_, expected_);
  write_all(data, bytes);
  written_ += bytes;
}

void SafetensorsWriter::finish() {
  if (file_ < 0) fail(ErrorCode::invalid_argument, "{}: finished twice", path_);
  if (written_ != expected_)
    fail(ErrorCode::invalid_argument, "{}: {} bytes written; the header announces {}", path_,
         written_, expected_);
  if (::fsync(file_) != 0) fail_errno(temporary_, "cannot be flushed to the disk");
  const int closed = ::close(std::exchange(file_, -1));
  if (closed != 0 || std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int kept = errno;
    ::unlink(temporary_.c_str());
    errno = kept;
    fail_errno(path_, "cannot be put in place");
  }
  sync_folder_of(path_);
}

void write_safetensors(const std::string& path, std::span<const NamedView> tensors,
                       const Metadata& metadata) {
  std::vector<TensorInfo> infos;
  for (const NamedView& each : tensors)
    infos.push_back({each.name, each.view.type, each.view.shape});
  SafetensorsWriter writer(path, std::move(infos), metadata);
  for (const NamedView& each : tensors)
    writer.append(each.view.data, bytes_of(each.view.shape, each.view.type, in_quotes(each.name)));
  writer.finish();
}

}  // namespace stepless
