// The files of a converted checkpoint: the ShardWriter of convert_write.hpp.
#include "base/error.hpp"
#include "base/json.hpp"
#include "format/dtype.hpp"
#include "model/convert_folder.hpp"
#include "model/convert_write.hpp"

namespace stepless {

ShardWriter::ShardWriter(std::string folder, const std::vector<TensorInfo>& tensors,
                         std::int64_t shard_bytes)
    : folder_(std::move(folder)) {
  for (const TensorInfo& tensor : tensors) {
    const std::int64_t bytes = bytes_of(tensor.shape, tensor.type, tensor.name);
    if (shards_.empty() || bytes > shard_bytes - bytes_.back()) {
      shards_.emplace_back();
      bytes_.push_back(0);
    }
    shards_.back().push_back(tensor);
    bytes_.back() += bytes;
  }
}

std::string ShardWriter::file_name(std::size_t shard) const {
  if (shards_.size() == 1) return "model.safetensors";
  return fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, shards_.size());
}

void ShardWriter::open_shard() {
  left_ = bytes_[shard_];
  writer_ = std::make_unique<SafetensorsWriter>(folder_ + "/" + file_name(shard_), shards_[shard_],
                                                Metadata{{"format", "mlx"}});
}

void ShardWriter::append(const void* data, std::int64_t bytes) {
  if (bytes == 0) return;
  if (writer_ != nullptr && left_ == 0) {
    writer_->finish();
    writer_.reset();
    ++shard_;
  }
  if (writer_ == nullptr) open_shard();
  writer_->append(data, bytes);
  left_ -= bytes;
}

std::vector<std::string> ShardWriter::finish(std::int64_t parameters) {
  if (writer_ == nullptr) open_shard();  // tensors without bytes
  writer_->finish();
  writer_.reset();
  std::vector<std::string> names;
  std::int64_t total = 0;
  std::map<std::string, std::string> homes;
  for (std::size_t i = 0; i < shards_.size(); ++i) {
    names.push_back(file_name(i));
    total += bytes_[i];
    for (const TensorInfo& tensor : shards_[i]) homes[tensor.name] = names.back();
  }
  const OrderedJson index = {
      {"metadata", {{"total_size", total}, {"total_parameters", parameters}}},
      {"weight_map", homes}};
  names.emplace_back("model.safetensors.index.json");
  write_text_file(folder_ + "/" + names.back(), index.dump(4, ' ', true));
  return names;
}

}  // namespace stepless
