#include "tests/support/device.hpp"

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace stepless::test {
namespace {

constexpr std::int64_t kAround = 256;  // bytes before and after y that must stay
// In front of a workspace, zero before and after a launch.
constexpr std::int64_t kTicketBytes = 16 << 20, kDotTicketBytes = 1 << 18;

void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess)
    throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

/// Device memory of exactly this size, so that compute-sanitizer sees one byte too many. What is
/// released stays with the process: cudaMalloc() and cudaFree() take milliseconds where many
/// processes test at once.
void* allocate(std::int64_t size) {
  static const cudaError_t kept = [] {
    cudaMemPool_t pool{};
    std::uint64_t everything = ~std::uint64_t{0};
    const cudaError_t error = cudaDeviceGetDefaultMemPool(&pool, 0);
    return error != cudaSuccess
               ? error
               : cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &everything);
  }();
  check(kept, "memory pool");
  void* data = nullptr;
  check(cudaMallocAsync(&data, static_cast<std::size_t>(size), nullptr), "cudaMallocAsync");
  return data;
}
void release(void* data) { cudaFreeAsync(data, nullptr); }

class DeviceBytes {
 public:
  DeviceBytes(std::int64_t size, int fill) : size_(size) {
    if (size == 0) return;
    data_ = allocate(size);
    check(cudaMemset(data_, fill, static_cast<std::size_t>(size)), "cudaMemset");
  }
  explicit DeviceBytes(const Bytes& bytes)
      : DeviceBytes(static_cast<std::int64_t>(bytes.size()), 0xff) {
    if (size_ > 0)
      check(cudaMemcpy(data_, bytes.data(), bytes.size(), cudaMemcpyHostToDevice), "upload");
  }
  ~DeviceBytes() {
    if (data_ != nullptr) release(data_);
  }
  DeviceBytes(const DeviceBytes&) = delete;
  DeviceBytes& operator=(const DeviceBytes&) = delete;
  std::uint8_t* data() const { return static_cast<std::uint8_t*>(data_); }
  Bytes host() const {
    Bytes bytes(static_cast<std::size_t>(size_));
    if (size_ > 0)
      check(cudaMemcpy(bytes.data(), data_, bytes.size(), cudaMemcpyDeviceToHost), "download");
    return bytes;
  }

 private:
  void* data_ = nullptr;
  std::int64_t size_;
};

/// Rows `stride` bytes apart with NaN between them.
Bytes spaced_rows(const Bytes& rows, std::int64_t count, std::int64_t stride) {
  const std::int64_t width = static_cast<std::int64_t>(rows.size()) / count;
  Bytes spaced(static_cast<std::size_t>((count - 1) * stride + width), 0xff);
  for (std::int64_t i = 0; i < count; ++i)
    std::copy_n(rows.begin() + i * width, width, spaced.begin() + i * stride);
  return spaced;
}

bool untouched(const Bytes& bytes, std::int64_t begin, std::int64_t end) {
  return std::all_of(bytes.begin() + begin, bytes.begin() + end,
                     [](std::uint8_t byte) { return byte == 0xff; });
}

/// Whether device memory is all zero, by way of pinned memory: 3 ms for 16 MB, where a plain copy
/// and a look at each byte take 20.
bool is_zero(const std::uint8_t* device, std::int64_t size) {
  static std::uint8_t* const host = [] {
    void* memory = nullptr;
    check(cudaMallocHost(&memory, kTicketBytes), "cudaMallocHost");
    return static_cast<std::uint8_t*>(memory);
  }();
  if (size == 0) return true;
  const auto bytes = static_cast<std::size_t>(size);
  check(cudaMemcpy(host, device, bytes, cudaMemcpyDeviceToHost), "download");
  return host[0] == 0 && std::memcmp(host, host + 1, bytes - 1) == 0;
}

/// One launch, waited for, with a workspace of its own.
template <class Args>
void launch(const Kernel& kernel, const Args& args) {
  const auto room = kernel.device->workspace_bytes;
  const std::int64_t size = room != nullptr ? room(&args) : 0;
  const DeviceBytes workspace(size, 0);
  int multiprocessors = 0;
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0), "attribute");
  const kernels::CudaContext context{nullptr, workspace.data(), multiprocessors, true};
  check(static_cast<cudaError_t>(kernel.device->launch(&args, context)), "launch");
  check(cudaDeviceSynchronize(), kernel.name.data());
  const std::int64_t tickets = kernel.is.op == KernelOp::dot ? kDotTicketBytes : kTicketBytes;
  EXPECT_TRUE(is_zero(workspace.data(), std::min(tickets, size))) << "tickets are left over";
}

}  // namespace

bool device_runs(Isa isa) {
  static const int capability = [] {
    int count = 0, major = 0, minor = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) return 0;
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0);
    return major * 10 + minor;
  }();
  return capability >= 80 && (isa != Isa::sm90 || capability / 10 == 9);
}

Bytes run_on_device(const Kernel& kernel, const Operands& o) {
  const std::int64_t x_size = oracle::element_bytes(o.format.x_type);
  const std::int64_t y_size = oracle::element_bytes(o.format.y_type);
  const std::int64_t x_stride = o.k + 8, y_stride = o.n + 5, y_row = o.n * y_size;
  const DeviceBytes x(spaced_rows(o.x, o.m, x_stride * x_size));
  const DeviceBytes w(o.w.w), scales(o.w.scales), biases(o.w.biases);
  const std::int64_t y_bytes = ((o.m - 1) * y_stride + o.n) * y_size;
  const DeviceBytes y(y_bytes + 2 * kAround, 0xff);
  kernels::MatmulArgs args{};
  args.x = x.data();
  args.x_stride = x_stride;
  args.w = w.data();
  args.w_row_bytes = o.w.row_bytes();
  args.scales = scales.data();
  args.biases = biases.data();
  args.tensor_scale = o.w.tensor_scale;
  args.mode = o.w.spec.mode;
  args.bits = o.w.spec.bits;
  args.group_size = o.w.spec.group_size;
  args.x_type = o.format.x_type;
  args.w_type = o.w.type;
  args.y_type = o.format.y_type;
  args.y = y.data() + kAround;
  args.y_stride = y_stride;
  args.m = o.m;
  args.n = o.n;
  args.k = o.k;
  launch(kernel, args);

  const Bytes all = y.host();
  Bytes result;
  for (std::int64_t i = 0; i < o.m; ++i) {
    const auto row = all.begin() + kAround + i * y_stride * y_size;
    result.insert(result.end(), row, row + y_row);
    if (i + 1 < o.m) {
      const std::int64_t end = kAround + i * y_stride * y_size + y_row;
      EXPECT_TRUE(untouched(all, end, end + (y_stride - o.n) * y_size)) << "written between rows";
    }
  }
  EXPECT_TRUE(untouched(all, 0, kAround)) << "written before y";
  EXPECT_TRUE(untouched(all, kAround + y_bytes, y_bytes + 2 * kAround)) << "written after y";
  return result;
}

Bytes run_on_device(const Kernel& kernel, const DotProblem& p) {
  const std::int64_t size = oracle::element_bytes(p.type);
  const DeviceBytes a(p.a.elements), b(p.b.elements), y(size + 2 * kAround, 0xff);
  launch(kernel, dot_args(p, a.data(), b.data(), y.data() + kAround));
  const Bytes all = y.host();
  EXPECT_TRUE(untouched(all, 0, kAround)) << "written before y";
  EXPECT_TRUE(untouched(all, kAround + size, size + 2 * kAround)) << "written after y";
  return {all.begin() + kAround, all.begin() + kAround + size};
}

DeviceArrays::~DeviceArrays() {
  for (std::uint8_t* array : arrays_) release(array);
}

std::uint8_t* DeviceArrays::put(const Bytes& bytes) {
  void* const array = allocate(std::max<std::int64_t>(std::ssize(bytes), 1));
  arrays_.push_back(static_cast<std::uint8_t*>(array));
  check(cudaMemcpy(array, bytes.data(), bytes.size(), cudaMemcpyHostToDevice), "upload");
  return arrays_.back();
}

Bytes DeviceArrays::get(const std::uint8_t* array, std::int64_t bytes) const {
  Bytes all(static_cast<std::size_t>(bytes));
  check(cudaMemcpy(all.data(), array, all.size(), cudaMemcpyDeviceToHost), "download");
  return all;
}

kernels::CudaContext DeviceArrays::context(std::int64_t workspace_bytes) {
  int multiprocessors = 0;
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0), "attribute");
  const std::int64_t size = std::max<std::int64_t>(workspace_bytes, 1);
  void* const workspace = allocate(size);
  arrays_.push_back(static_cast<std::uint8_t*>(workspace));
  check(cudaMemset(workspace, 0, static_cast<std::size_t>(size)), "cudaMemset");
  return {nullptr, arrays_.back(), multiprocessors, true};
}

void DeviceArrays::finish(std::int32_t error) const {
  check(static_cast<cudaError_t>(error), "launch");
  check(cudaDeviceSynchronize(), "launch");
}

void DeviceArrays::release_last() {
  release(arrays_.back());
  arrays_.pop_back();
}

}  // namespace stepless::test
