// Runs a program over one sequence of tokens and returns all its logits.
#pragma once
#include <algorithm>
#include <memory>
#include <vector>

#include "ops/cpu/cpu_backend.hpp"
#include "ops/place.hpp"
#include "ops/plan_program.hpp"

namespace stepless::test {

inline std::shared_ptr<const Program> planned(Program program, std::int64_t rows,
                                              const Overrides& wishes = {}) {
  program = place(std::move(program), rows, rows);
  plan_program(program, this_machine(1), wishes);
  return std::make_shared<const Program>(std::move(program));
}

inline kernels::SampleRow greedy_row() {
  kernels::SampleRow row{};
  row.min_tokens_to_keep = 1;
  return row;
}

inline KvShape kv_shape_of(const Program& program, std::int64_t page_tokens = 64) {
  KvShape shape;
  shape.layers = program.kv_layers;
  shape.type = program.act;
  shape.page_tokens = page_tokens;
  return shape;
}

/// Tokens from `first` on, as rows of one sequence that lives in `pages`; all are sampled.
inline RowGroup group_of(const std::vector<std::int32_t>& tokens, std::size_t first,
                         std::size_t count, const std::vector<std::int32_t>& pages) {
  RowGroup group;
  for (std::size_t i = first; i < first + count; ++i) {
    group.tokens.push_back(tokens[i]);
    group.seq.push_back({pages.data(), static_cast<std::int64_t>(i), i == 0 ? 0 : 1, 1});
    group.sampled.push_back(static_cast<std::int32_t>(i - first));
    group.sampling.push_back(greedy_row());
  }
  return group;
}

/// Logits (tokens, vocab); at most `step` tokens in a step.
inline std::vector<float> run_toy(std::shared_ptr<const Program> program,
                                  const std::vector<std::int32_t>& tokens, int threads,
                                  std::size_t step = 1000) {
  const auto backend = make_cpu_backend(std::make_shared<ThreadTeam>(threads), 1);
  backend->prepare(program);
  backend->allocate_kv(kv_shape_of(*program, 4), 8);
  backend->allocate_state({program->state_layers}, 1);
  const std::vector<std::int32_t> pages = {5, 2, 7, 1, 3};
  const auto vocab = static_cast<std::size_t>(program->vocab);
  step = std::min(step, static_cast<std::size_t>(program->max_rows));
  std::vector<float> logits(tokens.size() * vocab);
  for (std::size_t first = 0; first < tokens.size(); first += step) {
    RowGroup group = group_of(tokens, first, std::min(step, tokens.size() - first), pages);
    group.logits = logits.data() + first * vocab;
    backend->collect(backend->launch(group));
  }
  return logits;
}

}  // namespace stepless::test
