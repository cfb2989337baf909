// What a model family writes its forward pass with. Every call appends one operation; shapes are
// checked here, so that a wrong checkpoint is an error with the tensor's name before anything runs.
#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ops/program.hpp"

namespace stepless {

/// Where weights come from: a checkpoint, or random numbers of a shape. Throws Error (corrupt)
/// naming the tensor.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  /// `name`.weight with its scales and biases: n outputs (0: whatever it has), k inputs.
  virtual Matrix matrix(const std::string& name, std::int64_t n, std::int64_t k) = 0;
  /// A one-dimensional tensor of this full name.
  virtual Vector vector(const std::string& name, std::int64_t width) = 0;
  /// A two-dimensional one, not packed: the biases of experts.
  virtual Vector table(const std::string& name, std::int64_t rows, std::int64_t width) = 0;
  /// `name`.weight stacked: `experts` matrices of n outputs and k inputs each.
  virtual Matrix experts(const std::string& name, std::int64_t experts, std::int64_t n,
                         std::int64_t k) = 0;
  virtual bool has(const std::string& name) const = 0;
};

struct RopeSpec {
  std::vector<double> inv_freq;  // (pairs)
  double scale = 1;              // of cos and sin
  bool interleaved = false;
  friend bool operator==(const RopeSpec&, const RopeSpec&) = default;
};

struct AttentionSpec {
  std::int64_t heads = 0, kv_heads = 0, head_dim = 0;
  float scale = 1, softcap = 0;
  std::int64_t window = 0;
  VectorId sinks = kNone;
};

struct MoeSpec {
  std::int64_t experts = 0, per_token = 0, inner = 0;  // inner: width between an expert's matrices
  bool normalize = true;                               // probabilities of the chosen sum to 1
  GluSpec glu;
  bool bias = false;  // of the router and of every expert's matrices
  std::string router = "gate", stack = "switch_mlp";  // what the checkpoint calls them
};

/// Heads of a gated delta layer: k_heads queries and keys, each for v_heads / k_heads values.
struct DeltaSpec {
  std::int64_t k_heads = 0, k_dim = 0, v_heads = 0, v_dim = 0;
  float epsilon = 1e-6f;  // of the lengths of queries and keys
};

class Builder {
 public:
  Builder(WeightSource& weights, DType act, std::int64_t vocab);

  /// Whether the checkpoint has a tensor of this full name.
  bool has(const std::string& full_name) const { return weights_.has(full_name); }

  /// Names are relative to the prefix; layer(i, "model.layers.3.") sets both for what follows;
  /// layer(-1, "") resets.
  void layer(int index, std::string prefix);

  ValueId embed(const std::string& name, std::int64_t width);
  ValueId norm(ValueId x, const std::string& name, float epsilon, float weight_offset = 0);
  /// Normalizes each of `heads` runs of the row with one weight of width / heads.
  ValueId head_norm(ValueId x, const std::string& name, std::int64_t heads, float epsilon,
                    float weight_offset = 0);
  /// x · wᵀ, plus `name`.bias where the checkpoint has one and `bias` says that the family does.
  ValueId linear(ValueId x, const std::string& name, std::int64_t n, bool bias = false);
  /// The same, in float32 whatever the activations are; without a bias.
  ValueId linear_f32(ValueId x, const std::string& name, std::int64_t n);
  /// One matrix whose rows are several outputs one after another (a fused qkv_proj): a value for
  /// each.
  std::vector<ValueId> linear_rows(ValueId x, const std::string& name,
                                   const std::vector<std::int64_t>& sizes);
  ValueId rope(ValueId x, const RopeSpec& spec, std::int64_t heads, std::int64_t head_dim);
  /// Writes k and v to the cache of a new KV layer and attends; q, k, v after rope.
  ValueId attention(ValueId q, ValueId k, ValueId v, const AttentionSpec& spec);
  /// x holds `groups` times the widths one after another: a value for each width, of all groups.
  std::vector<ValueId> split(ValueId x, std::int64_t groups,
                             const std::vector<std::int64_t>& widths);
  /// silu of a causal convolution over time, `name`.weight (channels, taps); the channels of
  /// several values stand one after another. In float32; keeps recurrent state.
  ValueId conv(const std::vector<ValueId>& x, const std::string& name, std::int64_t taps);
  /// The gated delta rule over qkv = conv(q, k, v), with `name`.A_log and `name`.dt_bias; a and b
  /// are its gates, one per value head. In float32; keeps recurrent state.
  ValueId delta(ValueId qkv, ValueId a, ValueId b, const std::string& name, const DeltaSpec& spec);
  /// act(gate) * up; a gate of one element is the whole row's.
  ValueId glu(ValueId gate, ValueId up, const GluSpec& spec);
  /// A mixture of gated MLPs: `name`.<router> routes, `name`.<stack>.{gate,up,down}_proj are the
  /// stacked experts.
  ValueId mixture(ValueId x, const std::string& name, const MoeSpec& spec);
  ValueId add(ValueId a, ValueId b, float b_scale = 1);
  ValueId scale(ValueId a, float factor);
  /// The rows that are sampled, of the last hidden state.
  ValueId take_sampled(ValueId x);
  /// Logits in float32 from the head (`name`, or the embedding when tied), optional scale and soft
  /// cap, then sampling.
  void head(ValueId x, const std::string& name, float logit_scale = 1, float softcap = 0);
  VectorId vector(const std::string& name, std::int64_t width);

  Program finish();

 private:
  ValueId value(std::string name, std::int64_t width, DType type, Rows rows);
  void node(std::string name, Op op);
  int state(std::int64_t floats);
  MatrixId matrix(const std::string& full_name, std::int64_t n, std::int64_t k);
  /// y plus the vector of this name, in y's type.
  ValueId biased(ValueId y, const std::string& name);
  /// The `router` of a mixture over x: the ids and the weights of each row's experts.
  std::pair<ValueId, ValueId> route(ValueId x, const std::string& name, const MoeSpec& spec);
  /// Stacked matrices that share x.
  struct ExpertStack {
    std::string name;                // its parts are name.gate_proj, ...
    std::vector<const char*> parts;  // each of `outputs`
    std::int64_t outputs;
    bool per_slot;  // x holds a run for each of a row's experts, not one for all
  };
  std::vector<ValueId> experts(ValueId x, ValueId ids, const ExpertStack& stack,
                               const MoeSpec& spec);
  const Value& at(ValueId id) const { return program_.values[static_cast<std::size_t>(id)]; }

  WeightSource& weights_;
  Program program_;
  int layer_ = -1;
  std::string prefix_;
  std::vector<std::pair<RopeSpec, ValueId>> angles_;  // one angles op for each distinct rope
};

}  // namespace stepless
