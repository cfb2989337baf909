#include "ops/pack_kv.hpp"

#include "base/error.hpp"

namespace stepless {
namespace {

constexpr int kGroups[] = {32, 64, 128};

bool divides_all(const Program& program, int group) {
  for (const KvLayerShape& layer : program.kv_layers)
    if (layer.k_dim % group != 0 || layer.v_dim % group != 0) return false;
  return true;
}

/// The group asked for, or the largest up to the default that divides every head.
int group_for(const Program& program, const KvOptions& options) {
  if (options.group_size != 0 && divides_all(program, options.group_size))
    return options.group_size;
  if (options.group_size == 0)
    for (const int group : {64, 32})
      if (divides_all(program, group)) return group;
  const int group = options.group_size == 0 ? kGroups[0] : options.group_size;
  for (std::size_t i = 0; i < program.kv_layers.size(); ++i) {
    const KvLayerShape& layer = program.kv_layers[i];
    const std::int64_t dim = layer.k_dim % group != 0 ? layer.k_dim : layer.v_dim;
    if (dim % group != 0)
      fail(ErrorCode::invalid_argument,
           "kv bits: {}: heads of {} elements in KV layer {} are no multiple of a group of {}; {}",
           options.bits, dim, i, group,
           group > kGroups[0] && divides_all(program, kGroups[0])
               ? "a --kv-group-size of 32 fits"
               : "this model's cache stays in 16 bits");
  }
  return group;
}

}  // namespace

void check_kv_options(const KvOptions& o) {
  if (o.bits != 16 && o.bits != 8 && o.bits != 4)
    fail(ErrorCode::invalid_argument, "kv bits: {}; 4, 8 or 16", o.bits);
  if (o.group_size != 0 && o.group_size != 32 && o.group_size != 64 && o.group_size != 128)
    fail(ErrorCode::invalid_argument, "kv group size: {}; 32, 64 or 128", o.group_size);
  if (o.start < 0) fail(ErrorCode::invalid_argument, "quantized kv start: {}; 0 or more", o.start);
  if (o.window < 0) fail(ErrorCode::invalid_argument, "kv window: {}; 0 or more", o.window);
  if (o.max_size != 0 && o.max_size < 5)
    fail(ErrorCode::invalid_argument,
         "max kv size: {}; the first 4 positions are kept, so at least 5, or 0 for all",
         o.max_size);
}

Program pack_kv(Program program, const KvOptions& options) {
  check_kv_options(options);
  if (!options.quantized() || program.kv_layers.empty()) return program;
  program.kv_packing = QuantSpec{Mode::affine, options.bits, group_for(program, options)};
  std::vector<Node> nodes;
  for (Node& node : program.nodes) {
    const auto* put = std::get_if<KvPutOp>(&node.op);
    const KvPackOp pack{put == nullptr ? 0 : put->kv_layer};
    const bool follows = put != nullptr;
    const int layer = node.layer;
    nodes.push_back(std::move(node));
    if (follows) nodes.push_back({"kv.pack", layer, pack, {}});
  }
  program.nodes = std::move(nodes);
  return program;
}

}  // namespace stepless
