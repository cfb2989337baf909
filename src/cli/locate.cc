#include "cli/locate.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <vector>

#include "base/error.hpp"
#include "base/files.hpp"
#include "cli/cli.hpp"

namespace stepless::cli {
namespace fs = std::filesystem;
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool is_model(const fs::path& folder) {
  std::error_code ignored;
  return fs::is_regular_file(folder / "config.json", ignored);
}

/// Why a config.json that the folder lists cannot be one.
std::string config_trouble(const std::string& path) {
  std::error_code error;
  const bool nowhere = !fs::exists(path, error);
  if (error) return path + ": " + error.message();
  return path + (nowhere ? ": a link to a file that is not there" : ": not a regular file");
}

/// The demo models: beside the sources for a program that runs from its build folder, else under
/// share/ of the prefix.
std::vector<fs::path> shipped_folders() {
  std::error_code failed;
  const fs::path binary = fs::read_symlink("/proc/self/exe", failed).parent_path();
  return {binary / "../share/stepless/models", binary / "../../../models"};
}

fs::path cache_home() {
  if (const std::string set = environment("XDG_CACHE_HOME"); !set.empty()) return set;
  return fs::path(environment("HOME")) / ".cache";
}

std::vector<fs::path> own_folders(const std::string& models_dir) {
  std::vector<fs::path> all;
  if (!models_dir.empty()) all.emplace_back(models_dir);
  const std::string list = environment("STEPLESS_MODELS");
  for (std::size_t at = 0; at < list.size();) {
    const std::size_t end = std::min(list.find(':', at), list.size());
    if (end > at) all.emplace_back(list.substr(at, end - at));
    at = end + 1;
  }
  all.push_back(cache_home() / "stepless" / "models");
  return all;
}

fs::path hub_folder() {
  if (const std::string set = environment("HF_HUB_CACHE"); !set.empty()) return set;
  if (const std::string set = environment("HF_HOME"); !set.empty()) return fs::path(set) / "hub";
  return cache_home() / "huggingface" / "hub";
}

/// hub/models--ORG--NAME/snapshots/<refs/main>; a bare NAME means mlx-community's.
fs::path in_hub(const std::string& id) {
  std::string folder = id.find('/') == std::string::npos ? "mlx-community/" + id : id;
  folder.replace(folder.find('/'), 1, "--");
  const fs::path base = hub_folder() / ("models--" + folder);
  std::ifstream file(base / "refs" / "main");
  std::string revision;
  file >> revision;
  if (revision.empty() || revision.find('/') != std::string::npos) return {};
  return base / "snapshots" / revision;
}

std::vector<fs::path> folders_in(const fs::path& folder) {
  std::vector<fs::path> all;
  std::error_code failed;
  for (fs::directory_iterator at(folder, failed), end; !failed && at != end; at.increment(failed))
    if (std::error_code ignored; at->is_directory(ignored)) all.push_back(at->path());
  std::sort(all.begin(), all.end());
  return all;
}

class Finder {
 public:
  void add(const std::string& id, const fs::path& folder) {
    if (is_model(folder) && seen_.insert(id).second)
      all_.push_back({id, folder.lexically_normal().string()});
  }
  /// DIR/NAME and DIR/ORG/NAME.
  void add_folder(const fs::path& root) {
    for (const fs::path& one : folders_in(root)) {
      add(one.filename().string(), one);
      if (is_model(one)) continue;
      for (const fs::path& inner : folders_in(one))
        add(one.filename().string() + "/" + inner.filename().string(), inner);
    }
  }
  void add_hub() {
    for (const fs::path& one : folders_in(hub_folder())) {
      std::string id = one.filename().string();
      if (!id.starts_with("models--")) continue;
      id.erase(0, 8);
      const std::size_t dashes = id.find("--");
      if (dashes == std::string::npos) continue;
      id.replace(dashes, 2, "/");
      if (const fs::path folder = in_hub(id); !folder.empty()) add(id, folder);
    }
  }
  std::vector<FoundModel> take() { return std::move(all_); }

 private:
  std::vector<FoundModel> all_;
  std::set<std::string> seen_;
};

}  // namespace

std::vector<FoundModel> find_models(const std::string& models_dir) {
  Finder finder;
  for (const fs::path& folder : shipped_folders()) finder.add_folder(folder);
  for (const fs::path& folder : own_folders(models_dir)) finder.add_folder(folder);
  finder.add_hub();
  return finder.take();
}

std::string locate_model(const std::string& id, const std::string& models_dir) {
  if (is_model(id)) return id;
  std::error_code ignored;
  if (fs::is_directory(id, ignored)) {
    // Not there, not readable, or no file: the last two say so themselves.
    if (is_listed(id + "/config.json"))
      throw ExitError(Exit::model, ErrorCode::not_found, config_trouble(id + "/config.json"));
    throw ExitError(Exit::model, ErrorCode::not_found,
                    fmt::format("{}: no config.json; a model folder has one", id));
  }
  const std::string name = id == "demo" ? "tale-4bit" : id;
  for (const fs::path& folder : shipped_folders())
    if (is_model(folder / name)) return (folder / name).lexically_normal().string();
  const bool rooted = fs::path(id).is_absolute() || id.starts_with("./") || id.starts_with("../");
  std::string looked = rooted ? id : "./" + id;
  for (const fs::path& folder : own_folders(models_dir)) {
    if (is_model(folder / id)) return (folder / id).string();
    looked += ", " + folder.string();
  }
  const fs::path cached = in_hub(id);
  if (!cached.empty() && is_model(cached)) return cached.string();
  looked += ", " + hub_folder().string();
  // The Hub names models ORG/MODEL; most of this format are mlx-community's.
  const std::string repository = id.find('/') == std::string::npos ? "mlx-community/" + id : id;
  const std::string get = rooted ? "" : "pip install huggingface_hub && hf download " + repository;
  throw ExitError(Exit::model, ErrorCode::not_found,
                  fmt::format("model '{}' not found\n  looked in: {}\n  {}try: --model demo", id,
                              looked, rooted ? "" : "get it: " + get + "      or "));
}

}  // namespace stepless::cli
