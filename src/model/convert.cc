// convert(): open, plan, write, put in place. Everything that can be refused is refused before the
// first byte is written.
#include "stepless/convert.hpp"

#include "base/checked.hpp"
#include "base/error.hpp"
#include "format/dtype.hpp"
#include "model/convert_folder.hpp"
#include "model/convert_plan.hpp"
#include "model/convert_write.hpp"

namespace stepless {
namespace {

/// What the jobs will read. Tensor scales are too few to count.
std::int64_t source_bytes_of(const ConvertSource& source, const ConvertPlan& plan) {
  std::int64_t total = 0;
  const auto add = [&](const std::string& name) {
    if (!source.has(name)) return;
    const ImportedTensor& tensor = source.tensor(name);
    total = checked_add(total, bytes_of(tensor.shape, tensor.type, name), name);
  };
  for (const ConvertJob& job : plan.jobs) {
    if (job.action == ConvertAction::copy) {
      add(job.name);
      continue;
    }
    add(job.name + ".weight");
    if (job.action == ConvertAction::quantize) continue;
    add(job.name + ".scales");
    add(job.name + ".biases");
  }
  return total;
}

}  // namespace

ConvertReport convert(const ConvertOptions& options) {
  if (options.shard_bytes < 1)
    fail(ErrorCode::invalid_argument, "convert: shards of {} bytes; at least 1",
         options.shard_bytes);
  const ConvertSource source = open_convert_source(options.source);
  ConvertPlan plan = plan_convert(source, options);
  plan.report.source_bytes = source_bytes_of(source, plan);
  TargetFolder folder(options.target, options.source,
                      options.force ? TargetFolder::Replace::yes : TargetFolder::Replace::no);
  folder.expect_room(plan.report.bytes);
  ShardWriter shards(folder.path(), plan.tensors, options.shard_bytes);
  run_convert(source, plan, options, shards);
  ConvertReport report = std::move(plan.report);
  report.files = shards.finish(report.parameters);
  write_text_file(folder.path() + "/config.json", plan.config.dump(4, ' ', true));
  report.files.emplace_back("config.json");
  for (std::string& name : folder.copy_small_files()) report.files.push_back(std::move(name));
  folder.commit();
  return report;
}

}  // namespace stepless
