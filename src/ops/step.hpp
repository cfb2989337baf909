// One step: binds each operation of the Program to the arguments its kernel takes. Nothing is read
// through the pointers here, so they may be a device's.
#pragma once
#include <variant>
#include <vector>

#include "ops/backend.hpp"

namespace stepless {

/// Where everything of one step is. Built once per launch, read by all threads. The program's
/// views lie where the kernels read them.
struct Step {
  const Program* program = nullptr;
  std::int64_t rows = 0, sampled = 0;
  const std::int32_t* tokens = nullptr;       // (rows)
  const kernels::SeqRow* seq = nullptr;       // (rows)
  const std::int32_t* taken = nullptr;        // (sampled) rows whose next token is drawn
  const kernels::SampleRow* draws = nullptr;  // (sampled)
  std::uint8_t* arena = nullptr;
  std::uint8_t* workspace = nullptr;
  const std::int64_t* positions = nullptr;                  // (rows)
  const std::vector<kernels::KvLayer>* kv = nullptr;        // one per KV layer
  const std::vector<kernels::StateLayer>* state = nullptr;  // one per operation with state
  Role role = Role::decode;
  bool packs = false;  // whether any row asks for a page to be packed
  // What is drawn: (sampled), and (sampled, top_logprobs) or null.
  std::int32_t* token = nullptr;
  float* logprob = nullptr;
  std::int32_t top_logprobs = 0;
  std::int32_t* top_ids = nullptr;
  float* top_values = nullptr;
};

using KernelArgs =
    std::variant<kernels::MatmulArgs, kernels::EmbedArgs, kernels::NormArgs, kernels::AnglesArgs,
                 kernels::RopeArgs, kernels::KvPutArgs, kernels::KvPackArgs, kernels::AttnArgs,
                 kernels::SplitArgs, kernels::ConvArgs, kernels::DeltaArgs, kernels::GluArgs,
                 kernels::AddArgs, kernels::TakeArgs, kernels::RouteArgs, kernels::CombineArgs,
                 kernels::SampleArgs>;

/// Bytes of a value of the step.
std::uint8_t* value_bytes(const Step& step, ValueId id);
/// The weight's part of the arguments: one expert of a stack, or expert 0 of a plain matrix.
kernels::MatmulArgs expert_args(const Step& step, MatrixId id, std::int64_t expert);
/// Part `index` of `units`, in whole multiples: where the cuts are changes no bit.
kernels::Slice part_of_units(std::int64_t units, std::int64_t multiple, std::int64_t index,
                             std::int64_t parts);

/// One kernel call: arguments, how many units it has and in which multiples they may be cut.
struct BoundCall {
  const Kernel* kernel = nullptr;
  KernelArgs args;
  std::int64_t prepare_rows = 0, units = 0, unit_multiple = 1;
  const void* opaque() const {
    return std::visit([](const auto& a) { return static_cast<const void*>(&a); }, args);
  }
};

/// The call of part `part` of a node; units is 0 when the step has no rows for it.
BoundCall bind(const Step& step, const Node& node, std::size_t part);

}  // namespace stepless
