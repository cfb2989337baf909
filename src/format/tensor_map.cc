#include "format/tensor_map.hpp"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <set>
#include <utility>

#include "base/checked.hpp"
#include "base/files.hpp"
#include "base/json.hpp"
#include "base/quote.hpp"
#include "format/dtype.hpp"

namespace stepless {
namespace fs = std::filesystem;
namespace {

constexpr const char* kIndexName = "model.safetensors.index.json";
constexpr const char* kSingleName = "model.safetensors";

// "3 tensors ...: 'a', 'b', 'c'": the count, and the first names.
std::string list_names(const std::vector<std::string>& names) {
  constexpr std::size_t kMost = 8;
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kMost); ++i)
    text += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > kMost) text += fmt::format(" and {} more", names.size() - kMost);
  return text;
}

std::string counted(std::size_t n, const char* noun) {
  return fmt::format("{} {}{}", n, noun, n == 1 ? "" : "s");
}

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  std::error_code error;
  for (fs::directory_iterator at(folder, error); !error && at != fs::directory_iterator();
       at.increment(error))
    names.insert(at->path().filename().string());
  if (error)
    fail(ErrorCode::not_found, "{}: cannot be listed: {}", folder.string(), error.message());
  return names;
}

std::set<std::string> safetensors_in(const fs::path& folder) {
  std::set<std::string> names = names_in(folder);
  std::erase_if(names, [](const std::string& name) {
    return !name.starts_with("model") || !name.ends_with(".safetensors");
  });
  return names;
}

struct Index {
  std::set<std::string> files, tensors;
};

// A shard's name comes from a file of someone else's: it must stay inside the folder.
void check_shard_name(const std::string& name, const std::string& path) {
  const bool plain = name.find('/') == std::string::npos && name.find('\\') == std::string::npos &&
                     name.find('\0') == std::string::npos && !name.starts_with('.');
  if (!plain || !name.ends_with(".safetensors"))
    fail(ErrorCode::corrupt,
         "{}: shard {}; expected the plain name of a .safetensors file in the same folder", path,
         in_quotes(name));
}

Index read_index(const std::string& path) {
  const Json json = read_json(path, {.depth = 64, .bytes = 100'000'000});
  const auto map = json.is_object() ? json.find("weight_map") : json.end();
  if (!json.is_object() || map == json.end() || !map->is_object())
    fail(ErrorCode::corrupt, "{}: no object \"weight_map\"", path);
  Index index;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string())
      fail(ErrorCode::corrupt, "{}: weight_map: {} is {}; expected a file name", path,
           in_quotes(tensor), file.type_name());
    check_shard_name(file.get_ref<const std::string&>(), path);
    index.files.insert(file.get<std::string>());
    index.tensors.insert(tensor);
  }
  if (index.files.empty()) fail(ErrorCode::corrupt, "{}: weight_map is empty", path);
  return index;
}

[[noreturn]] void fail_no_files(const fs::path& folder) {
  for (const std::string& name : names_in(folder)) {
    const std::string kind = fs::path(name).extension().string();
    if (kind == ".bin" || kind == ".pt" || kind == ".pth" || kind == ".gguf" || kind == ".npz")
      fail(ErrorCode::not_found,
           "{}: no safetensors files; {} is not read (pickles could run code), convert it to "
           "safetensors",
           folder.string(), name);
  }
  fail(ErrorCode::not_found, "{}: no model.safetensors, no {} and no model*.safetensors",
       folder.string(), kIndexName);
}

// Which files make up the checkpoint, and what the index expects of them (nothing without an
// index).
Index find_files(const fs::path& folder) {
  const std::set<std::string> present = safetensors_in(folder);
  if (is_listed((folder / kIndexName).string())) return read_index((folder / kIndexName).string());
  if (present.empty()) fail_no_files(folder);
  if (present.contains(kSingleName)) return {{kSingleName}, {}};
  return {present, {}};
}

void check_shards_present(const fs::path& folder, const Index& index) {
  std::vector<std::string> absent;
  std::error_code ignored;  // a file we may not see: opening it says why
  for (const std::string& name : index.files)
    if (!fs::exists(folder / name, ignored) && !ignored) absent.push_back(name);
  if (!absent.empty())
    fail(ErrorCode::not_found, "{}: {} of {} named by {} not there: {}", folder.string(),
         absent.size(), counted(index.files.size(), "file"), kIndexName, list_names(absent));
}

}  // namespace

TensorMap TensorMap::open(const std::string& folder) {
  const fs::path root(folder);
  check_folder(folder);
  const Index index = find_files(root);
  check_shards_present(root, index);
  TensorMap map;
  map.origin_ = folder;
  std::vector<std::string> twice;
  std::map<std::string_view, std::string> home;
  for (const std::string& name : index.files) {
    auto file = std::make_shared<const SafetensorsFile>((root / name).string());
    for (const auto& [tensor, view] : file->tensors()) {
      const auto [at, fresh] = map.tensors_.emplace(tensor, view);
      if (fresh)
        home.emplace(at->first, name);
      else
        twice.push_back(fmt::format("{} in {} and {}", in_quotes(tensor), home[tensor], name));
    }
    map.files_.push_back(std::move(file));
  }
  if (!twice.empty())
    fail(ErrorCode::corrupt, "{}: {} in more than one file: {}", folder,
         counted(twice.size(), "tensor"), list_names(twice));
  if (index.tensors.empty()) return map;

  std::vector<std::string> missing, extra;
  for (const std::string& tensor : index.tensors)
    if (!map.contains(tensor)) missing.push_back(in_quotes(tensor));
  if (!missing.empty())
    fail(ErrorCode::corrupt, "{}: {} listed in {} but in no file: {}", folder,
         counted(missing.size(), "tensor"), kIndexName, list_names(missing));
  for (const auto& [tensor, view] : map.tensors_)
    if (!index.tensors.contains(tensor)) extra.push_back(in_quotes(tensor));
  if (!extra.empty())
    map.notes_.push_back(fmt::format("{}: {} not listed in {}: {}", folder,
                                     counted(extra.size(), "tensor"), kIndexName,
                                     list_names(extra)));
  std::vector<std::string> unnamed;
  for (const std::string& name : safetensors_in(root))
    if (!index.files.contains(name)) unnamed.push_back(name);
  if (!unnamed.empty())
    map.notes_.push_back(fmt::format("{}: {} not named by {} and not read: {}", folder,
                                     counted(unnamed.size(), "file"), kIndexName,
                                     list_names(unnamed)));
  return map;
}

const TensorView* TensorMap::find(std::string_view name) const {
  const auto at = tensors_.find(name);
  return at == tensors_.end() ? nullptr : &at->second;
}

const TensorView& TensorMap::at(std::string_view name) const {
  if (const TensorView* const view = find(name)) return *view;
  fail(ErrorCode::corrupt, "{}: no tensor {}", origin_.empty() ? "model" : origin_,
       in_quotes(name));
}

std::int64_t TensorMap::bytes() const {
  std::int64_t total = 0;
  for (const auto& [name, view] : tensors_)
    total = checked_add(total, bytes_of(view.shape, view.type, name), name);
  return total;
}

void TensorMap::add(std::string name, Tensor tensor) {
  auto owner = std::make_shared<const Tensor>(std::move(tensor));
  add(std::move(name), owner->view(), owner);
}

void TensorMap::add(std::string name, TensorView view, std::shared_ptr<const void> owner) {
  if (contains(name))
    fail(ErrorCode::invalid_argument, "tensor {}: the name is taken", in_quotes(name));
  tensors_.emplace(std::move(name), std::move(view));
  owners_.push_back(std::move(owner));
}

void TensorMap::check() const {
  for (const auto& file : files_) file->file().check();
}

void TensorMap::drop(const TensorView& view) const {
  for (const auto& each : files_) {
    const MappedFile& file = each->file();
    const std::less<const std::byte*> before;
    if (before(view.data, file.data()) || !before(view.data, file.data() + file.size())) continue;
    file.drop(view.data - file.data(), bytes_of(view.shape, view.type, "drop"));
    return;
  }
}

}  // namespace stepless
