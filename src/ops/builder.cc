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
  ValueId y = value(name, n, program_.act, in.rows);
  node(name, LinearOp{x, {{matrix(prefix_ + name, n, in.width), y}}});
  if (!bias) return y;
  const ValueId biased = value(name + ".bias", n, program_.act, in.rows);
  node(name + ".bias", AddOp{y, kNone, biased, vector(name + ".bias", n), 1, 1, 0});
  return biased;
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

ValueId Builder::glu(ValueId gate, ValueId up, kernels::Activation activation) {
  const ValueId y = value("glu", at(gate).width, program_.act, at(gate).rows);
  node("glu", GluOp{gate, up, y, activation});
  return y;
}

ValueId Builder::mixture(ValueId x, const std::string& name, const MoeSpec& spec) {
  const std::int64_t width = at(x).width, k = spec.per_token;
  const std::string experts = prefix_ + name + ".switch_mlp.";
  const auto stack = [&](const char* which, std::int64_t n, std::int64_t inputs) {
    program_.matrices.push_back(weights_.experts(experts + which, spec.experts, n, inputs));
    return static_cast<MatrixId>(program_.matrices.size() - 1);
  };
  const auto wide = [&](const char* what, std::int64_t n) {
    return value(what, k * n, program_.act, Rows::step);
  };
  const ValueId logits = value("router", spec.experts, DType::f32, Rows::step);
  node(name + ".gate",
       LinearOp{x, {{matrix(prefix_ + name + ".gate", spec.experts, width), logits}}});
  const ValueId ids = value("experts", k, DType::i32, Rows::step);
  const ValueId weights = value("expert.weights", k, DType::f32, Rows::step);
  node("route", RouteOp{logits, ids, weights, k, spec.normalize});
  const ValueId gate = wide("gate", spec.inner), up = wide("up", spec.inner);
  node("experts.gate_proj+up_proj", ExpertsOp{x,
                                              ids,
                                              wide("gathered", width),
                                              wide("scattered", spec.inner),
                                              k,
                                              false,
                                              {{stack("gate_proj", spec.inner, width), gate},
                                               {stack("up_proj", spec.inner, width), up}}});
  const ValueId inner = glu(gate, up, spec.activation), down = wide("down", width);
  node("experts.down_proj", ExpertsOp{inner,
                                      ids,
                                      wide("gathered", spec.inner),
                                      wide("scattered", width),
                                      k,
                                      true,
                                      {{stack("down_proj", width, spec.inner), down}}});
  const ValueId y = value("mixture", width, program_.act, Rows::step);
  node("combine", CombineOp{down, weights, y, k});
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
