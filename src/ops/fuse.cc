#include "ops/fuse.hpp"

#include <map>

namespace stepless {
namespace {

/// "self_attn.q_proj" + "self_attn.k_proj" -> "self_attn.q_proj+k_proj".
std::string joined(const std::string& first, const std::string& next) {
  const auto dot = next.rfind('.');
  return first + "+" + (dot == std::string::npos ? next : next.substr(dot + 1));
}

}  // namespace

Program fuse(Program program) {
  std::vector<Node> kept;
  std::map<ValueId, std::size_t> first_reader;  // x -> index in kept of its linear operation
  for (Node& node : program.nodes) {
    auto* linear = std::get_if<LinearOp>(&node.op);
    if (linear == nullptr) {
      kept.push_back(std::move(node));
      continue;
    }
    const auto [at, is_new] = first_reader.try_emplace(linear->x, kept.size());
    if (is_new) {
      kept.push_back(std::move(node));
      continue;
    }
    Node& home = kept[at->second];
    auto& parts = std::get<LinearOp>(home.op).parts;
    parts.insert(parts.end(), linear->parts.begin(), linear->parts.end());
    home.name = joined(home.name, node.name);
  }
  program.nodes = std::move(kept);
  return program;
}

}  // namespace stepless
