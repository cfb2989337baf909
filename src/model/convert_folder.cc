#include "model/convert_folder.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "base/error.hpp"
#include "base/json.hpp"

namespace stepless {
namespace fs = std::filesystem;
namespace {

constexpr std::int64_t kMostSmallBytes = std::int64_t{256} << 20;

[[noreturn]] void fail_errno(const std::string& path, const char* doing) {
  fail(ErrorCode::exhausted, "{}: {}: {}", path, doing, std::strerror(errno));
}

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

// Some file systems cannot sync a folder: not an error.
void sync_folder(const std::string& path) {
  const Descriptor folder{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (folder.fd >= 0) ::fsync(folder.fd);
}

std::string parent_of(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

/// "out/", "./out" and "out/." are all out.
std::string plain_path(const std::string& path) {
  std::string plain = fs::path(path).lexically_normal().string();
  while (plain.size() > 1 && plain.ends_with('/')) plain.pop_back();
  return plain;
}

/// Whether `inner` is `outer` or lies in it, links resolved.
bool lies_in(const std::string& inner, const std::string& outer) {
  std::error_code ignored;
  const fs::path to = fs::canonical(outer, ignored);
  if (ignored) return false;
  for (fs::path at = fs::canonical(inner, ignored); !ignored; at = at.parent_path()) {
    if (at == to) return true;
    if (at == at.parent_path()) return false;
  }
  return false;
}

bool is_small_file(const fs::path& path) {
  const std::string name = path.filename().string(), kind = path.extension().string();
  if (name.starts_with('.') || name == "config.json" || name.ends_with(".index.json")) return false;
  // These say how the source was quantized; what is written has its own block in config.json.
  if (name == "hf_quant_config.json" || name == "quantize_config.json") return false;
  for (const char* wanted : {".json", ".jsonl", ".jinja", ".txt", ".model", ".tiktoken", ".py"})
    if (kind == wanted) return true;
  return name.starts_with("LICENSE") || name.starts_with("NOTICE");
}

}  // namespace

void write_text_file(const std::string& path, const std::string& text) {
  const Descriptor file{::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)};
  if (file.fd < 0) fail_errno(path, "cannot be created");
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t done = ::write(file.fd, text.data() + at, text.size() - at);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) fail_errno(path, "cannot be written");
    at += static_cast<std::size_t>(done);
  }
  if (::fsync(file.fd) != 0) fail_errno(path, "cannot be flushed to the disk");
}

TargetFolder::TargetFolder(const std::string& target, const std::string& source, Replace replace)
    : target_(plain_path(target)), source_(source), replace_(replace) {
  check_target();
  make_parents();
  try {
    make_work();
  } catch (...) {
    for (auto at = made_.rbegin(); at != made_.rend(); ++at) ::rmdir(at->c_str());
    throw;
  }
}

TargetFolder::~TargetFolder() {
  if (work_.empty()) return;
  std::error_code ignored;
  fs::remove_all(work_, ignored);
  for (auto at = made_.rbegin(); at != made_.rend(); ++at) ::rmdir(at->c_str());
}

void TargetFolder::check_target() const {
  if (target_.empty() || target_ == "." || target_ == ".." || target_ == "/")
    fail(ErrorCode::invalid_argument, "output folder '{}': name a folder that is to be made",
         target_);
  std::error_code failed;
  const fs::file_status status = fs::symlink_status(target_, failed);
  if (status.type() == fs::file_type::not_found) return;
  if (fs::is_symlink(status))
    fail(ErrorCode::invalid_argument, "{}: a symbolic link; name the folder itself", target_);
  if (status.type() == fs::file_type::none)
    fail(ErrorCode::exhausted, "{}: cannot be looked at: {}", target_, failed.message());
  if (!fs::is_directory(status))
    fail(ErrorCode::invalid_argument, "{}: a file; name a folder that is to be made", target_);
  if (replace_ == Replace::no)
    fail(ErrorCode::invalid_argument, "{}: is there already; --force replaces it", target_);
  if (lies_in(source_, target_))
    fail(ErrorCode::invalid_argument, "{}: holds what is to be converted; name another folder",
         target_);
  if (!fs::exists(target_ + "/config.json", failed) && !fs::is_empty(target_, failed))
    fail(ErrorCode::invalid_argument,
         "{}: no model folder (no config.json inside); --force replaces models only", target_);
}

void TargetFolder::make_parents() {
  std::vector<std::string> missing;
  std::error_code ignored;
  for (std::string at = parent_of(target_); !fs::exists(at, ignored); at = parent_of(at))
    missing.push_back(at);
  for (auto at = missing.rbegin(); at != missing.rend(); ++at) {
    if (::mkdir(at->c_str(), 0777) != 0 && errno != EEXIST) {
      const int kept = errno;
      for (auto made = made_.rbegin(); made != made_.rend(); ++made) ::rmdir(made->c_str());
      errno = kept;
      fail_errno(*at, "cannot be made");
    }
    made_.push_back(*at);
  }
}

void TargetFolder::make_work() {
  static std::atomic<std::uint64_t> count{0};
  const std::string work =
      fmt::format("{}/.{}.{}-{}.tmp", parent_of(target_), fs::path(target_).filename().string(),
                  ::getpid(), count.fetch_add(1));
  if (::mkdir(work.c_str(), 0777) != 0) fail_errno(work, "cannot be made");
  work_ = work;
}

void TargetFolder::expect_room(std::int64_t bytes) const {
  struct statvfs disk {};
  if (::statvfs(work_.c_str(), &disk) != 0) return;
  const auto free = static_cast<double>(disk.f_bavail) * static_cast<double>(disk.f_frsize);
  if (static_cast<double>(bytes) > free)
    fail(ErrorCode::exhausted, "{}: {:.3f} GB to be written, {:.3f} GB free on that disk", target_,
         static_cast<double>(bytes) / 1e9, free / 1e9);
}

std::vector<std::string> TargetFolder::copy_small_files() const {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(source_)) {
    std::error_code ignored;
    // Through links: the Hugging Face cache is made of them.
    if (!is_small_file(entry.path()) || !entry.is_regular_file(ignored)) continue;
    const std::string name = entry.path().filename().string();
    write_text_file(work_ + "/" + name, read_text(entry.path().string(), kMostSmallBytes));
    names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

void TargetFolder::commit() {
  sync_folder(work_);
  std::error_code ignored;
  if (replace_ == Replace::no || !fs::exists(target_, ignored)) {
    if (std::rename(work_.c_str(), target_.c_str()) != 0)
      fail_errno(target_, "cannot be put in place");
  } else if (::renameat2(AT_FDCWD, work_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) ==
             0) {
    fs::remove_all(work_, ignored);
  } else {  // a file system that cannot exchange: the old one steps aside, and back if need be
    const std::string old = work_ + ".old";
    if (std::rename(target_.c_str(), old.c_str()) != 0)
      fail_errno(target_, "cannot be moved aside");
    if (std::rename(work_.c_str(), target_.c_str()) != 0) {
      const int kept = errno;
      if (std::rename(old.c_str(), target_.c_str()) != 0)
        fail(ErrorCode::exhausted, "{}: cannot be put back; it is {} now", target_, old);
      errno = kept;
      fail_errno(target_, "cannot be put in place");
    }
    fs::remove_all(old, ignored);
  }
  work_.clear();
  made_.clear();
  sync_folder(parent_of(target_));
}

}  // namespace stepless
