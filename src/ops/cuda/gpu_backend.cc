// The GPU backend: one stream; the host walks the Program and enqueues a kernel per operation. A
// step of a size seen before is replayed as a CUDA graph: what changes between steps of one size
// lies in buffers at fixed addresses (step_inputs.hpp). A step may be enqueued behind one that
// runs.
#include <algorithm>
#include <deque>
#include <limits>
#include <optional>

#include "base/checked.hpp"
#include "format/dtype.hpp"
#include "ops/cuda/experts.hpp"
#include "ops/cuda/graph.hpp"
#include "ops/cuda/joined.hpp"
#include "ops/cuda/kv_pages.hpp"
#include "ops/cuda/launch.hpp"
#include "ops/cuda/step_inputs.hpp"
#include "ops/cuda/weights.hpp"
#include "ops/gpu.hpp"
#include "ops/kv_memory.hpp"
#include "ops/plan_program.hpp"
#include "ops/prompt_rows.hpp"

namespace stepless {
namespace {

std::int64_t free_on_device() {
  std::size_t free = 0, total = 0;
  check_cuda(cudaMemGetInfo(&free, &total), "free memory of the GPU");
  return static_cast<std::int64_t>(free);
}

class GpuBackend final : public Backend {
 public:
  GpuBackend(int index, UploadProgress uploading);
  ~GpuBackend() override { cudaStreamSynchronize(stream_.get()); }

  std::int64_t free_bytes() const override;
  void prepare(std::shared_ptr<const Program> program) override;
  void allocate_kv(const KvShape& shape, const KvPages& pages) override;
  void allocate_state(const StateShape& shape, std::int64_t slots) override;
  void load_kernels() override;
  void copy_pages(std::span<const PageCopy> copies) override;
  PageBytes read_pages(int layer, std::span<const std::int32_t> pages) const override;
  void write_pages(int layer, std::span<const std::int32_t> pages, const std::byte* keys,
                   const std::byte* values) override;
  bool flies() const override { return !experts_->waits(); }
  Ticket launch(const RowGroup& group) override;
  Sampled collect(Ticket ticket) override;

 private:
  /// A step not collected: its number among the inputs, and that of its first part if it has two.
  struct Flight {
    Ticket ticket = 0;
    std::int64_t number = 0;
    std::optional<SplitStep> split = {};
    std::int64_t prompt_number = 0;
  };
  void select() const { check_cuda(cudaSetDevice(index_), "the GPU"); }
  Step step_of(std::int64_t rows, std::int64_t sampled, Role role) const;
  Step step_of(const RowGroup& group, Role role) const;
  std::int64_t run(const RowGroup& group, Role role);
  void run_split(const RowGroup& group, Flight& flight);
  void load_kernels_of(const Step& step);
  void enqueue(int layers);
  void run_node(const DeviceRun& run, std::size_t at);

  int index_;
  UploadProgress uploading_;
  CudaStream stream_;
  std::shared_ptr<const Program> host_program_, program_;  // views into the checkpoint; the GPU's
  std::optional<DeviceWeights> weights_;
  std::optional<StepInputs> inputs_;
  std::optional<DeviceExperts> experts_;
  std::optional<JoinedLaunches> joined_;
  DeviceMemory arena_, tickets_, scratch_, state_memory_;
  DeviceKv kv_;
  std::vector<kernels::StateLayer> state_;
  DeviceRun run_;
  Step step_;
  StepGraphs graphs_;
  bool splits_prompts_ = false;
  std::deque<Flight> flights_;  // in order of launch
  Ticket last_ = 0;
};

constexpr std::int64_t kManyPromptRows = 256;
constexpr int kAllLayers = std::numeric_limits<int>::max();
constexpr int kLayersToLoad = 8;  // hold every kind of layer that a model has

/// Before the stream, which is made on the current GPU.
int on_device(int index) {
  check_cuda(cudaSetDevice(index), "the GPU");
  return index;
}

GpuBackend::GpuBackend(int index, UploadProgress uploading)
    : index_(on_device(index)), uploading_(std::move(uploading)) {
  run_.stream = stream_.get();
  check_cuda(cudaDeviceGetAttribute(&run_.multiprocessors, cudaDevAttrMultiProcessorCount, index),
             "the GPU");
  int major = 0;
  check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index), "the GPU");
  run_.early_start = major >= 9;
}

std::int64_t GpuBackend::free_bytes() const {
  select();
  return free_on_device();
}

void GpuBackend::prepare(std::shared_ptr<const Program> program) {
  select();
  host_program_ = std::move(program);
  const Program& p = *host_program_;
  weights_.emplace(p);
  const DeviceRoom room = room_of(p);
  const std::int64_t step_bytes = checked_add(
      checked_add(p.arena_bytes, checked_add(room.tickets, room.scratch, "a step"), "a step"),
      checked_add(StepInputs::block_bytes(p), DeviceExperts::bytes(p), "a step"), "a step");
  const std::int64_t free = free_on_device();
  if (checked_add(weights_->bytes(), step_bytes, "a model") > free)
    fail(ErrorCode::exhausted,
         "cuda:{}: weights of {} bytes and a step of {} rows with {} are {}; {} are free", index_,
         weights_->bytes(), p.max_rows, step_bytes, weights_->bytes() + step_bytes, free);
  program_ = weights_->upload(p, uploading_);
  joined_.emplace(*program_);
  arena_ = DeviceMemory(p.arena_bytes, "activations of the largest step");
  tickets_ = DeviceMemory(room.tickets, "partial sums");
  scratch_ = DeviceMemory(room.scratch, "partial sums");
  run_.tickets = tickets_.data();
  run_.scratch = scratch_.data();
  inputs_.emplace(p);
  experts_.emplace(p);
  splits_prompts_ = has_prompt_plans(p);
}

void GpuBackend::allocate_kv(const KvShape& shape, const KvPages& pages) {
  select();
  kv_ = DeviceKv(shape, pages);
}

void GpuBackend::allocate_state(const StateShape& shape, std::int64_t slots) {
  select();
  state_memory_ =
      DeviceMemory(checked_mul(shape.slot_bytes(), slots, "recurrent state"), "recurrent state");
  state_ = state_layers_at(reinterpret_cast<float*>(state_memory_.data()), shape, slots);
}

/// The driver loads a kernel when it is first launched or recorded: 0.4 ms each on an H200, and 3
/// behind work that it waits for.
void GpuBackend::load_kernels_of(const Step& step) {
  step_ = step;
  step_.packs = program_->kv_packing.has_value();
  inputs_->point(step_);
  cudaGraphDestroy(record(stream_.get(), [this] { enqueue(kLayersToLoad); }));
}

/// Of every size that plans tell apart, in both roles. What fails here fails in the step that
/// needs it, and is told there.
void GpuBackend::load_kernels() {
  if (experts_->waits()) return;  // cannot be recorded
  select();
  try {
    for (const std::int64_t bucket : program_->buckets) {
      const std::int64_t rows = std::min(bucket, program_->max_rows);
      const std::int64_t sampled = std::min(bucket, program_->max_sampled);
      load_kernels_of(step_of(rows, sampled, Role::decode));
      if (splits_prompts_) load_kernels_of(step_of(rows, sampled, Role::prompt));
    }
  } catch (const Error&) {
    cudaGetLastError();  // else the next check finds it
  }
}

void GpuBackend::copy_pages(std::span<const PageCopy> copies) {
  select();
  kv_.copy(copies, stream_.get());
}

PageBytes GpuBackend::read_pages(int layer, std::span<const std::int32_t> pages) const {
  select();
  PageBytes bytes = kv_.read(layer, pages, stream_.get());
  stream_.wait("reading KV pages");
  return bytes;
}

void GpuBackend::write_pages(int layer, std::span<const std::int32_t> pages, const std::byte* keys,
                             const std::byte* values) {
  select();
  kv_.write(layer, pages, keys, values, stream_.get());
  stream_.wait("writing KV pages");
}

Step GpuBackend::step_of(std::int64_t rows, std::int64_t sampled, Role role) const {
  if (rows > program_->max_rows || sampled > program_->max_sampled)
    fail(ErrorCode::internal, "a step of {} rows, {} sampled; the arena holds {} and {}", rows,
         sampled, program_->max_rows, program_->max_sampled);
  Step step;
  step.role = role;
  step.program = program_.get();
  step.rows = rows;
  step.sampled = sampled;
  step.arena = arena_.data();
  step.workspace = scratch_.data();
  step.kv = &kv_.layers();
  step.state = &state_;
  return step;
}

Step GpuBackend::step_of(const RowGroup& group, Role role) const {
  if (std::ranges::adjacent_find(group.sampled, std::ranges::greater_equal{}) !=
      group.sampled.end())
    fail(ErrorCode::internal, "rows of a step are sampled out of order");
  Step step = step_of(std::ssize(group.tokens), std::ssize(group.sampled), role);
  for (const kernels::SeqRow& row : group.seq) step.packs = step.packs || row.pack >= 0;
  return step;
}

void GpuBackend::run_node(const DeviceRun& run, std::size_t at) {
  const Node& node = program_->nodes[at];
  for (std::size_t part = 0; part < node.plans.size(); ++part) {
    BoundCall call = bind(step_, node, part);
    if (call.units == 0) continue;
    if (auto* angles = std::get_if<kernels::AnglesArgs>(&call.args))
      angles->inv_freq = weights_->frequencies(std::get<AnglesOp>(host_program_->nodes[at].op));
    launch_kernel(run, *call.kernel, call.opaque());
  }
}

/// Kernels that start early read the step's rows before they wait, and of a step that goes behind
/// another, several of them could start while its inputs wait for that one to end: so the first
/// kernel starts when all before it has ended.
void GpuBackend::enqueue(int layers) {
  DeviceRun first = run_;
  first.early_start = false;
  for (std::size_t at = 0; at < program_->nodes.size();) {
    if (program_->nodes[at].layer >= layers) {
      ++at;
      continue;
    }
    const DeviceRun& run = at == 0 ? first : run_;
    const bool mixture = std::holds_alternative<ExpertsOp>(program_->nodes[at].op);
    const std::size_t done = mixture ? experts_->run(run, step_, at) : joined_->run(run, step_, at);
    if (done == 0) run_node(run, at);
    at += done == 0 ? 1 : done;
  }
}

std::int64_t GpuBackend::run(const RowGroup& group, Role role) {
  step_ = step_of(group, role);
  const std::int64_t number = inputs_->upload(group, run_, step_);
  // Experts sorted by the host wait for the device, which a graph cannot. Of many prompt rows each
  // kernel takes longer than its launch, and the device would wait while a graph is made.
  if (experts_->waits() || (role == Role::prompt && step_.rows >= kManyPromptRows))
    enqueue(kAllLayers);
  else
    graphs_.run(step_, stream_.get(), [this] { enqueue(kAllLayers); });
  inputs_->download(step_, run_);
  if (group.logits != nullptr && step_.sampled > 0) {
    const auto& sample = std::get<SampleOp>(program_->nodes.back().op);
    check_cuda(cudaMemcpyAsync(group.logits, value_bytes(step_, sample.logits),
                               static_cast<std::size_t>(step_.sampled * program_->vocab) * 4,
                               cudaMemcpyDeviceToHost, stream_.get()),
               "logits");
    stream_.wait("logits");  // collect() waits for what was drawn alone
  }
  return number;
}

/// Prompt rows, then the others behind them.
void GpuBackend::run_split(const RowGroup& group, Flight& flight) {
  SplitStep split = split_prompt_rows(group);
  flight.number = run(split.prompt, Role::prompt);
  if (split.rest.tokens.empty()) return;
  flight.prompt_number = flight.number;
  try {
    flight.number = run(split.rest, Role::decode);
  } catch (...) {
    inputs_->collect(flight.prompt_number);  // nobody else would
    throw;
  }
  flight.split = std::move(split);
}

Ticket GpuBackend::launch(const RowGroup& group) {
  select();
  Flight flight;
  const bool prompts =
      splits_prompts_ && std::ranges::any_of(group.prompt, [](std::uint8_t is) { return is != 0; });
  if (!prompts) {
    flight.number = run(group, Role::decode);
  } else {
    if (group.logits != nullptr) fail(ErrorCode::internal, "logits of a step with prompt rows");
    if (std::ranges::any_of(group.tokens, [](std::int32_t token) { return token < 0; }))
      fail(ErrorCode::internal, "prompt rows behind a step in flight");
    run_split(group, flight);
  }
  flight.ticket = ++last_;
  flights_.push_back(std::move(flight));
  return last_;
}

Sampled GpuBackend::collect(Ticket ticket) {
  if (flights_.empty() || flights_.front().ticket != ticket)
    fail(ErrorCode::internal, "collect({}) after launch {}; the next is {}", ticket, last_,
         flights_.empty() ? 0 : flights_.front().ticket);
  const Flight flight = std::move(flights_.front());
  flights_.pop_front();
  if (!flight.split) return inputs_->collect(flight.number);
  const Sampled prompt_sampled = inputs_->collect(flight.prompt_number);
  return merge_sampled(*flight.split, prompt_sampled, inputs_->collect(flight.number));
}

}  // namespace

std::unique_ptr<Backend> make_gpu_backend(int index, UploadProgress uploading) {
  const std::vector<Gpu> gpus = find_gpus();
  const auto gpu =
      std::find_if(gpus.begin(), gpus.end(), [&](const Gpu& each) { return each.index == index; });
  if (gpu == gpus.end())
    fail(ErrorCode::not_found, "cuda:{}: {}", index,
         gpus.empty() ? why_no_gpu() : fmt::format("no such GPU; there are {}", gpus.size()));
  if (!gpu->unusable.empty())
    fail(ErrorCode::unsupported, "cuda:{} ({}): {}", index, gpu->name, gpu->unusable);
  return std::make_unique<GpuBackend>(index, std::move(uploading));
}

}  // namespace stepless
