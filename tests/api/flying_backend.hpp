// A CPU that lets a step be launched behind one that is not collected, as a GPU does: it computes
// at once and tells later.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <functional>

#include "base/error.hpp"
#include "ops/cpu/cpu_backend.hpp"

namespace stepless::test {

/// What happened, and what shall; outlives the backend.
struct FlightLog {
  std::string calls;  // m: memory, k: load_kernels, L: launch, c: collect
  std::int64_t launches = 0, rows = 0, fed = 0;
  std::int64_t fed_beside_prompts = 0;             // which a GPU refuses
  std::size_t most = 0;                            // launched and not collected at once
  std::int64_t fail_launch = 0, fail_collect = 0;  // the number of the call that throws; 0: none
};

class FlyingBackend final : public Backend {
 public:
  FlyingBackend(std::shared_ptr<FlightLog> log, bool flies) : log_(std::move(log)), flies_(flies) {}

  std::int64_t free_bytes() const override { return cpu_->free_bytes(); }
  void prepare(std::shared_ptr<const Program> program) override { cpu_->prepare(program); }
  void allocate_kv(const KvShape& shape, const KvPages& pages) override {
    log_->calls += 'm';
    cpu_->allocate_kv(shape, pages);
  }
  void allocate_state(const StateShape& shape, std::int64_t slots) override {
    log_->calls += 'm';
    cpu_->allocate_state(shape, slots);
  }
  void load_kernels() override { log_->calls += 'k'; }
  void copy_pages(std::span<const PageCopy> copies) override { cpu_->copy_pages(copies); }
  PageBytes read_pages(int layer, std::span<const std::int32_t> pages) const override {
    return cpu_->read_pages(layer, pages);
  }
  void write_pages(int layer, std::span<const std::int32_t> pages, const std::byte* keys,
                   const std::byte* values) override {
    cpu_->write_pages(layer, pages, keys, values);
  }
  bool flies() const override { return flies_; }

  Ticket launch(const RowGroup& group) override {
    log_->calls += 'L';
    if (++log_->launches == log_->fail_launch) fail(ErrorCode::device, "launch {}", last_ + 1);
    log_->rows += std::ssize(group.tokens);
    RowGroup known = group;
    std::vector<std::vector<std::int32_t>> histories(group.sampled.size());
    const bool prompts = std::ranges::any_of(group.prompt, [](auto is) { return is != 0; });
    for (std::int32_t& token : known.tokens) {
      log_->fed_beside_prompts += prompts && token < 0 ? 1 : 0;
      token = token_of(token);
    }
    for (std::size_t i = 0; i < group.sampled.size(); ++i) {
      const auto row = static_cast<std::size_t>(group.sampled[i]);
      if (group.tokens[row] >= 0) continue;
      ++log_->fed;
      kernels::SampleRow& draw = known.sampling[i];
      histories[i].assign(draw.history, draw.history + draw.history_size);
      histories[i].push_back(known.tokens[row]);
      draw.history = histories[i].data();
      ++draw.history_size;
      EXPECT_EQ(draw.history_size, draw.position);
    }
    drawn_ = cpu_->collect(cpu_->launch(known));
    flights_.push_back({++last_, drawn_});
    log_->most = std::max(log_->most, flights_.size());
    EXPECT_LE(flights_.size(), flies_ ? 2u : 1u);
    return last_;
  }

  Sampled collect(Ticket ticket) override {
    log_->calls += 'c';
    EXPECT_FALSE(flights_.empty());
    if (flights_.empty()) return {};
    EXPECT_EQ(flights_.front().first, ticket);
    Sampled sampled = std::move(flights_.front().second);
    flights_.pop_front();
    if (ticket == log_->fail_collect) fail(ErrorCode::device, "collect {}", ticket);
    return sampled;
  }

 private:
  std::int32_t token_of(std::int32_t token) const {
    if (token >= 0) return token;
    EXPECT_LT(-1 - token, std::ssize(drawn_.tokens));
    return std::max(drawn_.tokens[static_cast<std::size_t>(-1 - token)], 0);
  }

  std::shared_ptr<FlightLog> log_;
  bool flies_;
  std::unique_ptr<Backend> cpu_ = make_cpu_backend(1);
  Sampled drawn_;  // by the newest launch
  std::deque<std::pair<Ticket, Sampled>> flights_;
  Ticket last_ = 0;
};

}  // namespace stepless::test
