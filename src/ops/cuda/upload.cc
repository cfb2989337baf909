#include "ops/cuda/upload.hpp"

#include <algorithm>
#include <cstring>

namespace stepless {
namespace {

constexpr std::int64_t kBufferBytes = 32 << 20;
constexpr std::int64_t kStep = 4096;  // threads take whole pages
constexpr int kMostThreads = 8;
constexpr std::int64_t kPartsPerThread = 4;  // what a busy CPU leaves, others take

/// One thread for what a small model has.
int threads_for(std::int64_t total) {
  return total < kBufferBytes ? 1 : std::min(physical_cores(), kMostThreads);
}

}  // namespace

Uploader::Uploader(std::int64_t total, UploadProgress progress)
    : total_(total),
      buffer_bytes_(std::clamp<std::int64_t>(total, kStep, kBufferBytes)),
      progress_(std::move(progress)),
      team_(threads_for(total)) {
  for (Buffer& buffer : buffers_) buffer.memory = PinnedMemory(buffer_bytes_, "upload buffer");
}

void Uploader::add(std::uint8_t* to, const void* from, std::int64_t bytes) {
  const auto* at = static_cast<const std::byte*>(from);
  while (bytes > 0) {
    const std::int64_t gap = pieces_.empty() ? 0 : to - to_;
    if (gap < used_ || gap >= buffer_bytes_) send();
    if (pieces_.empty()) to_ = to;
    const std::int64_t begin = to - to_, count = std::min(bytes, buffer_bytes_ - begin);
    pieces_.push_back({at, count, begin});
    used_ = begin + count;
    to += count, at += count, bytes -= count;
    if (used_ == buffer_bytes_) send();
  }
}

/// A part copies its share of every piece: one of many megabytes stands beside some of a few bytes.
void Uploader::send() {
  if (pieces_.empty()) return;
  Buffer& buffer = buffers_[filling_];
  buffer.free.wait("upload");
  std::uint8_t* const memory = buffer.memory.data();
  const std::int64_t parts = kPartsPerThread * team_.size();
  team_.run(parts, [&](std::int64_t index) {
    std::int64_t end = 0;
    for (const Piece& piece : pieces_) {
      if (index == 0) std::memset(memory + end, 0, static_cast<std::size_t>(piece.at - end));
      end = piece.at + piece.bytes;
      const Part part = part_of(piece.bytes, kStep, index, parts);
      if (part.begin < part.end)
        std::memcpy(memory + piece.at + part.begin, piece.from + part.begin,
                    static_cast<std::size_t>(part.end - part.begin));
    }
  });
  check_cuda(cudaMemcpyAsync(to_, memory, static_cast<std::size_t>(used_), cudaMemcpyHostToDevice,
                             stream_.get()),
             "upload");
  buffer.free.record(stream_.get());
  filling_ = 1 - filling_;
  pieces_.clear();
  sent_ += used_;
  used_ = 0;
  if (progress_) progress_(sent_, total_);
}

void Uploader::finish() {
  send();
  stream_.wait("upload");
  if (progress_) progress_(total_, total_);  // what lies between arrays counts as sent
}

}  // namespace stepless
