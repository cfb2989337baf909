// Weights with names and shapes and no bytes: what a family asks for, without a checkpoint.
#pragma once
#include <set>
#include <string>

#include "ops/builder.hpp"

namespace stepless::test {

class HollowWeights final : public WeightSource {
 public:
  Matrix matrix(const std::string& name, std::int64_t n, std::int64_t k) override {
    return experts(name, 1, n, k);
  }
  Matrix experts(const std::string& name, std::int64_t count, std::int64_t n,
                 std::int64_t k) override {
    asked.insert(name + ".weight");
    Matrix w;
    w.name = name;
    w.n = n, w.k = k, w.experts = count;
    return w;
  }
  Vector vector(const std::string& name, std::int64_t width) override {
    asked.insert(name);
    return {name, {nullptr, DType::bf16, {width}}};
  }
  Vector table(const std::string& name, std::int64_t rows, std::int64_t width) override {
    asked.insert(name);
    return {name, {nullptr, DType::bf16, {rows, width}}};
  }
  bool has(const std::string&) const override { return false; }

  std::set<std::string> asked;  // tensors, by full name
};

}  // namespace stepless::test
