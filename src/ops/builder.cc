#include "ops/builder.hpp"

#include "base/error.hpp"

namespace stepless {

Builder::Builder(WeightSource& weights, DType act, std::int64_t vocab) : weights_(weights) {
  program_.act = act;
  program_.vocab = vocab;
}

void Builder::layer(int index, std::string prefix) {
  layer_ = index;
  prefix_ = std::move(prefix);
}

ValueId Builder::value(std::string name, std::int64_t width, DType type, Rows rows) {
  program_.values.push_back({std::move(name), width, type, rows});
  return static_cast<ValueId>(program_.values.size() - 1);
}

void Builder::node(std::string name, Op op) {
  program_.nodes.push_back({std::move(name), layer_, std::move(op), {}});
}

MatrixId Builder::matrix(const std::string& full_name, std::int64_t n, std::int64_t k) {
  for (std::size_t i = 0; i < program_.matrices.size(); ++i) {
    const Matrix& known = program_.matrices[i];
    if (known.name != full_name) continue;
    if (known.n != n || known.k != k)
      fail(ErrorCode::internal, "{}: asked for as {} x {} and as {} x {}", full_name, known.n,
           known.k, n, k);
    return static_cast<MatrixId>(i);
  }
  program_.matrices.push_back(weights_.matrix(full_name, n, k));
  return static_cast<MatrixId>(program_.matrices.size() - 1);
}

VectorId Builder::vector(const std::string& name, std::int64_t width) {
  program_.vectors.push_back(weights_.vector(prefix_ + name, width));
  return static_cast<VectorId>(program_.vectors.size() - 1);
}

ValueId Builder::embed(const std::string& name, std::int64_t width) {
  const ValueId y = value(name, width, program_.act, Rows::step);
  node("embed", EmbedOp{matrix(prefix_ + name, program_.vocab, width), y});
  return y;
}

ValueId Builder::norm(ValueId x, const std::string& name, float epsilon, float weight_offset) {
  return head_norm(x, name, 1, epsilon, weight_offset);
}

ValueId Builder::head_norm(ValueId x, const std::string& name, std::int64_t heads, float epsilon,
                           float weight_offset) {
  const Value in = at(x);
  const ValueId y = value(name, in.width, program_.act, in.rows);
  const VectorId weight = vector(name + ".weight", in.width / heads);
  node(name, NormOp{x, y, weight, heads, epsilon, weight_offset});
  return y;
}

ValueId Builder::linear(ValueId x, const std::string& name, std::int64_t n, bool bias) {
  const Value in = at(x);
  const ValueId y = value(name, n, program_.act, in.rows);
  node(name, LinearOp{x, {{matrix(prefix_ + name, n, in.width), y}}});
  if (!bias) return y;
  return biased(y, name + ".bias");
}

ValueId Builder::biased(ValueId y, const std::string& name) {
  const Value in = at(y);
  const ValueId sum = value(name, in.width, in.type, in.rows);
  node(name, AddOp{y, kNone, sum, vector(name, in.width), 1, 1, 0});
  return sum;
}

ValueId Builder::linear_f32(ValueId x, const std::string& name, std::int64_t n) {
  const Value in = at(x);
  const ValueId y = value(name, n, DType::f32, in.rows);
  node(name, LinearOp{x, {{matrix(prefix_ + name, n, in.width), y}}});
  return y;
}

std::vector<ValueId> Builder::linear_rows(ValueId x, const std::string& name,
                                          const std::vector<std::int64_t>& sizes) {
  const Value in = at(x);
  std::int64_t total = 0, first = 0;
  for (const std::int64_t n : sizes) total += n;
  const Matrix whole = weights_.matrix(prefix_ + name, total, in.width);
  std::vector<ValueId> values;
  LinearOp linear{x, {}};
  for (const std::int64_t n : sizes) {
    program_.matrices.push_back(whole.rows(first, n));
    values.push_back(value(name, n, program_.act, in.rows));
    linear.parts.push_back({static_cast<MatrixId>(program_.matrices.size() - 1), values.back()});
    first += n;
  }
  node(name, std::move(linear));
  return values;
}

ValueId Builder::rope(ValueId x, const RopeSpec& spec, std::int64_t heads, std::int64_t head_dim) {
  const auto pairs = static_cast<std::int64_t>(spec.inv_freq.size());
  ValueId angles = kNone;
  for (const auto& [known, id] : angles_)
    if (known == spec) angles = id;
  if (angles == kNone) {
    angles = value("rope.angles", 2 * pairs, DType::f32, Rows::step);
    const Node first{"rope.angles", -1, AnglesOp{spec.inv_freq, spec.scale, angles}, {}};
    program_.nodes.insert(program_.nodes.begin(), first);  // before the layer that asks first
    angles_.emplace_back(spec, angles);
  }
  const ValueId y = value("rope", at(x).width, program_.act, at(x).rows);
  node("rope", RopeOp{x, angles, y, heads, head_dim, pairs, spec.interleaved});
  return y;
}

ValueId Builder::attention(ValueId q, ValueId k, ValueId v, const AttentionSpec& spec) {
  const int index = static_cast<int>(program_.kv_layers.size());
  program_.kv_layers.push_back({spec.kv_heads, spec.head_dim, at(v).width / spec.kv_heads});
  node("kv.put", KvPutOp{index, k, v});
  const ValueId y =
      value("attn", spec.heads * (at(v).width / spec.kv_heads), program_.act, Rows::step);
  node("attn", AttnOp{index, q, y, spec.heads, spec.scale, spec.softcap, spec.window, spec.sinks});
  return y;
}

int Builder::state(std::int64_t floats) {
  program_.state_layers.push_back(floats);
  return static_cast<int>(program_.state_layers.size()) - 1;
}

std::vector<ValueId> Builder::split(ValueId x, std::int64_t groups,
                                    const std::vector<std::int64_t>& widths) {
  const Value in = at(x);
  SplitOp split{x, groups, {}};
  std::int64_t total = 0;
  for (const std::int64_t width : widths) {
    split.parts.push_back(value("split", groups * width, in.type, in.rows));
    total += groups * width;
  }
  if (total != in.width || std::ssize(widths) > kernels::kMostSplitParts)
    fail(ErrorCode::internal, "split: {} parts of {} elements from {}", widths.size(), total,
         in.width);
  node("split", split);
  return split.parts;
}

ValueId Builder::conv(const std::vector<ValueId>& x, const std::string& name, std::int64_t taps) {
  std::int64_t channels = 0;
  for (const ValueId id : x) channels += at(id).width;
  if (taps < 1 || taps > kernels::kMostConvTaps || std::ssize(x) > kernels::kMostConvInputs)
    fail(ErrorCode::internal, "{}: {} taps over {} values", name, taps, x.size());
  const ValueId y = value(name, channels, DType::f32, Rows::step);
  node(name,
       ConvOp{x, y, vector(name + ".weight", channels * taps), taps, state((taps - 1) * channels)});
  return y;
}

ValueId Builder::delta(ValueId qkv, ValueId a, ValueId b, const std::string& name,
                       const DeltaSpec& s) {
  const std::int64_t width = s.v_heads * s.v_dim;
  if (at(qkv).width != 2 * s.k_heads * s.k_dim + width || at(a).width != s.v_heads ||
      at(b).width != s.v_heads || s.k_dim > kernels::kMostStateKeys)
    fail(ErrorCode::internal, "{}: values of {}, {} and {} elements", name, at(qkv).width,
         at(a).width, at(b).width);
  const std::int64_t room = kernels::delta_prepared_width(s.k_heads, s.k_dim, s.v_heads);
  const ValueId prepared = value("delta.prepared", room, DType::f32, Rows::step);
  const ValueId y = value("delta", width, DType::f32, Rows::step);
  node("delta", DeltaOp{qkv, a, b, prepared, y, vector(name + ".A_log", s.v_heads),
                        vector(name + ".dt_bias", s.v_heads), s.k_heads, s.k_dim, s.v_heads,
                        s.v_dim, s.epsilon, state(s.k_dim * width)});
  return y;
}

ValueId Builder::glu(ValueId gate, ValueId up, const GluSpec& spec) {
  const ValueId y = value("glu", at(up).width, program_.act, at(up).rows);
  node("glu", GluOp{gate, up, y, spec});
  return y;
}

std::pair<ValueId, ValueId> Builder::route(ValueId x, const std::string& name,
                                           const MoeSpec& spec) {
  ValueId logits = linear_f32(x, name, spec.experts);
  if (spec.bias) logits = biased(logits, name + ".bias");
  const ValueId ids = value("experts", spec.per_token, DType::i32, Rows::step);
  const ValueId weights = value("expert.weights", spec.per_token, DType::f32, Rows::step);
  node("route", RouteOp{logits, ids, weights, spec.per_token, spec.normalize});
  return {ids, weights};
}

std::vector<ValueId> Builder::experts(ValueId x, ValueId ids, const ExpertStack& stack,
                                      const MoeSpec& spec) {
  const std::int64_t k = spec.per_token, inputs = stack.per_slot ? at(x).width / k : at(x).width;
  const auto wide = [&](const std::string& what, std::int64_t width) {
    return value(what, k * width, program_.act, Rows::step);
  };
  ExpertsOp op{x, ids, kNone, kNone, k, stack.per_slot, {}};
  std::string title = "experts.";
  std::vector<ValueId> values;
  for (const char* part : stack.parts) {
    const std::string full = prefix_ + stack.name + "." + part;
    program_.matrices.push_back(weights_.experts(full, spec.experts, stack.outputs, inputs));
    values.push_back(wide(part, stack.outputs));
    op.parts.push_back({static_cast<MatrixId>(program_.matrices.size() - 1), values.back()});
    title += (values.size() > 1 ? "+" : "") + std::string(part);
  }
  op.gathered = wide("gathered", inputs);
  op.scattered = wide("scattered", stack.outputs);
  node(std::move(title), std::move(op));
  for (std::size_t i = 0; spec.bias && i < values.size(); ++i) {
    const std::string part = stack.parts[i];
    const ValueId y = wide(part + ".bias", stack.outputs);
    const std::string full = prefix_ + stack.name + "." + part + ".bias";
    program_.vectors.push_back(weights_.table(full, spec.experts, stack.outputs));
    const auto table = static_cast<VectorId>(program_.vectors.size() - 1);
    node("experts." + part + ".bias", AddOp{values[i], kNone, y, table, 1, 1, 0, ids});
    values[i] = y;
  }
  return values;
}

ValueId Builder::mixture(ValueId x, const std::string& name, const MoeSpec& spec) {
  const std::int64_t width = at(x).width;
  const std::string stack = name + "." + spec.stack;
  const auto [ids, weights] = route(x, name + "." + spec.router, spec);
  const std::vector<ValueId> both =
      experts(x, ids, {stack, {"gate_proj", "up_proj"}, spec.inner, false}, spec);
  const ValueId inner = glu(both[0], both[1], spec.glu);
  const ValueId down = experts(inner, ids, {stack, {"down_proj"}, width, true}, spec)[0];
  const ValueId y = value("mixture", width, program_.act, Rows::step);
  node("combine", CombineOp{down, weights, y, spec.per_token});
  return y;
}

ValueId Builder::add(ValueId a, ValueId b, float b_scale) {
  const ValueId y = value("add", at(a).width, program_.act, at(a).rows);
  node("add", AddOp{a, b, y, kNone, 1, b_scale, 0});
  return y;
}

ValueId Builder::scale(ValueId a, float factor) {
  const ValueId y = value("scale", at(a).width, program_.act, at(a).rows);
  node("scale", AddOp{a, kNone, y, kNone, factor, 0, 0});
  return y;
}

ValueId Builder::take_sampled(ValueId x) {
  const ValueId y = value("sampled", at(x).width, program_.act, Rows::sampled);
  node("take", TakeOp{x, y});
  return y;
}

void Builder::head(ValueId x, const std::string& name, float logit_scale, float softcap) {
  ValueId logits = value("logits", program_.vocab, DType::f32, Rows::sampled);
  node("lm_head", LinearOp{x, {{matrix(prefix_ + name, program_.vocab, at(x).width), logits}}});
  if (logit_scale != 1 || softcap != 0) {
    const ValueId capped = value("logits.capped", program_.vocab, DType::f32, Rows::sampled);
    node("lm_head.cap", AddOp{logits, kNone, capped, kNone, logit_scale, 0, softcap});
    logits = capped;
  }
  node("sample", SampleOp{logits});
}

Program Builder::finish() { return std::move(program_); }

}  // namespace stepless
