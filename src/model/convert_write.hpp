// The new tensors, computed piece by piece and written in the order of the plan, to one file or to
// shards.
#pragma once
#include <memory>

#include "base/thread_team.hpp"
#include "model/convert_plan.hpp"
#include "model/convert_rows.hpp"

namespace stepless {

/// model.safetensors, or model-00001-of-0000N.safetensors and so on, of at most `shard_bytes` of
/// tensors each (one larger tensor has a file of its own), and model.safetensors.index.json.
class ShardWriter {
 public:
  ShardWriter(std::string folder, const std::vector<TensorInfo>& tensors, std::int64_t shard_bytes);
  /// The next bytes of the tensors, none of which spans two calls' tensors.
  void append(const void* data, std::int64_t bytes);
  /// Flushes the last file and writes the index. Returns the names of the files.
  std::vector<std::string> finish(std::int64_t parameters);

 private:
  std::string file_name(std::size_t shard) const;
  void open_shard();

  std::string folder_;
  std::vector<std::vector<TensorInfo>> shards_;
  std::vector<std::int64_t> bytes_;  // of each shard
  std::size_t shard_ = 0;
  std::int64_t left_ = 0;  // bytes that the open shard still lacks
  std::unique_ptr<SafetensorsWriter> writer_;
};

/// Runs the jobs of a plan. Throws Error: corrupt (a number, by tensor and position), exhausted
/// (disk), cancelled.
void run_convert(const ConvertSource& source, const ConvertPlan& plan,
                 const ConvertOptions& options, ShardWriter& out);

}  // namespace stepless
