// A Program as lines that a person can review: what each operation reads, writes and is told.
#pragma once
#include <fmt/format.h>

#include <string>

#include "format/dtype.hpp"
#include "ops/program.hpp"

namespace stepless::test {

class ProgramText {
 public:
  explicit ProgramText(Program program) : program_(std::move(program)) {}

  std::string all() {
    std::string out = fmt::format("act {}, vocab {}\n", to_string(program_.act), program_.vocab);
    for (Node& node : program_.nodes) {
      const std::string what = std::visit([&](const auto& op) { return words(op); }, node.op);
      const std::string layer = node.layer < 0 ? "-" : std::to_string(node.layer);
      out += fmt::format("{:2} {:26} {:42}  {}", layer, node.name, values(node.op), what);
      out.resize(out.find_last_not_of(' ') + 1);
      out += '\n';
    }
    return out;
  }

 private:
  std::string value(ValueId id) const {
    const Value& v = program_.values[static_cast<std::size_t>(id)];
    return fmt::format("{}#{}[{} {}]", v.name, id, v.width, to_string(v.type));
  }
  std::string values(Op& op) const {
    std::string reads, writes;
    visit_values(op, [&](ValueId id, bool written) {
      std::string& side = written ? writes : reads;
      side += (side.empty() ? "" : " ") + (written ? value(id) : "#" + std::to_string(id));
    });
    return reads + " -> " + writes;
  }
  std::string matrix(MatrixId id) const {
    const Matrix& w = program_.matrices[static_cast<std::size_t>(id)];
    const std::string stack = w.experts > 1 ? std::to_string(w.experts) + " of " : "";
    return fmt::format("{} ({}{} x {})", w.name, stack, w.n, w.k);
  }
  std::string vector(VectorId id) const {
    if (id == kNone) return "none";
    const Vector& v = program_.vectors[static_cast<std::size_t>(id)];
    return v.name + " " + shape_text(v.data.shape);
  }
  std::string parts(const std::vector<LinearPart>& all) const {
    std::string text;
    for (const LinearPart& part : all) text += (text.empty() ? "" : ", ") + matrix(part.weight);
    return text;
  }
  std::string state(int id) const {
    return fmt::format("state {} of {} floats", id,
                       program_.state_layers[static_cast<std::size_t>(id)]);
  }

  std::string words(const EmbedOp& op) const { return matrix(op.table); }
  std::string words(const NormOp& op) const {
    return fmt::format("{}, groups {}, epsilon {:.7g}, offset {}", vector(op.weight), op.groups,
                       op.epsilon, op.weight_offset);
  }
  std::string words(const LinearOp& op) const { return parts(op.parts); }
  std::string words(const AnglesOp& op) const {
    return fmt::format("{} pairs from {:.6g} to {:.6g}, scale {:.6g}", op.inv_freq.size(),
                       op.inv_freq.front(), op.inv_freq.back(), op.scale);
  }
  std::string words(const RopeOp& op) const {
    return fmt::format("{} heads of {}, {} pairs{}", op.heads, op.head_dim, op.pairs,
                       op.interleaved ? ", interleaved" : "");
  }
  std::string words(const KvPutOp& op) const {
    const KvLayerShape& kv = program_.kv_layers[static_cast<std::size_t>(op.kv_layer)];
    return fmt::format("cache {}: {} heads of {} and {}", op.kv_layer, kv.kv_heads, kv.k_dim,
                       kv.v_dim);
  }
  std::string words(const KvPackOp& op) const { return fmt::format("cache {}", op.kv_layer); }
  std::string words(const AttnOp& op) const {
    return fmt::format("cache {}, {} heads, scale {:.6g}, softcap {}, window {}, sinks {}",
                       op.kv_layer, op.heads, op.scale, op.softcap, op.window, vector(op.sinks));
  }
  std::string words(const SplitOp& op) const {
    return fmt::format("{} parts of each of {} groups", op.parts.size(), op.groups);
  }
  std::string words(const ConvOp& op) const {
    return fmt::format("{}, {} taps, {}", vector(op.weight), op.taps, state(op.state));
  }
  std::string words(const DeltaOp& op) const {
    return fmt::format("{} key heads of {}, {} value heads of {}, {}, {}, epsilon {:.7g}, {}",
                       op.k_heads, op.k_dim, op.v_heads, op.v_dim, vector(op.a_log),
                       vector(op.dt_bias), op.epsilon, state(op.state));
  }
  std::string words(const GluOp& op) const {
    constexpr const char* kNames[] = {"silu", "gelu", "gelu_tanh", "relu", "swish", "sigmoid"};
    return fmt::format("{}, alpha {}, limit {}, offset {}",
                       kNames[static_cast<std::size_t>(op.spec.activation)], op.spec.alpha,
                       op.spec.limit, op.spec.up_offset);
  }
  std::string words(const AddOp& op) const {
    return fmt::format("row {}{}, scales {} {}, softcap {}", vector(op.row),
                       op.ids == kNone ? "" : " by ids", op.a_scale, op.b_scale, op.softcap);
  }
  std::string words(const TakeOp&) const { return ""; }
  std::string words(const RouteOp& op) const {
    return fmt::format("best {}{}", op.k, op.normalize ? ", normalized" : "");
  }
  std::string words(const ExpertsOp& op) const {
    return fmt::format("{} a row{}: {}", op.k, op.per_slot ? ", each its run" : "",
                       parts(op.parts));
  }
  std::string words(const CombineOp& op) const { return fmt::format("{} a row", op.k); }
  std::string words(const SampleOp&) const { return ""; }

  Program program_;
};

}  // namespace stepless::test
