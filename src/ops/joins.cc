#include "ops/joins.hpp"

#include "ops/visit.hpp"

namespace stepless {
namespace {

/// Questions about a program's values and neighbouring nodes.
class Reader {
 public:
  explicit Reader(const Program& program) : program_(program), readers_(program.values.size()) {
    for (Node node : program.nodes)
      visit_values(node.op, [&](ValueId id, bool written) {
        if (!written) ++readers_[static_cast<std::size_t>(id)];
      });
  }

  Join at(std::size_t at) const {
    if (is_gated(at)) return Join::gate;
    if (op<LinearOp>(at) != nullptr) return Join::parts;
    if (is_normed_sum(at)) {
      if (!is_product_of_norm(at + 2)) return Join::norm_sum;
      if (!is_gated(at + 2)) return Join::norm_product;
      return is_product_of_gate(at + 4) ? Join::feed_forward : Join::norm_gate;
    }
    if (is_taken_product(at)) return Join::taken_product;
    if (is_attended_product(at)) return Join::attended_product;
    if (!is_turned_put(at)) return Join::none;
    return is_turned_attention(at) ? Join::attend_turned : Join::put_turned;
  }

 private:
  template <class T>
  const T* op(std::size_t at) const {
    return at < program_.nodes.size() ? std::get_if<T>(&program_.nodes[at].op) : nullptr;
  }
  const Value& value(ValueId id) const { return program_.values[static_cast<std::size_t>(id)]; }
  bool is_read_once(ValueId id) const { return readers_[static_cast<std::size_t>(id)] == 1; }

  bool is_gated(std::size_t at) const {
    const auto* linear = op<LinearOp>(at);
    const auto* experts = op<ExpertsOp>(at);
    const auto* glu = op<GluOp>(at + 1);
    if (glu == nullptr || (linear == nullptr && experts == nullptr)) return false;
    const std::vector<LinearPart>& parts = linear != nullptr ? linear->parts : experts->parts;
    return parts.size() == 2 && glu->gate == parts[0].y && glu->up == parts[1].y &&
           is_read_once(glu->gate) && is_read_once(glu->up) &&
           value(glu->gate).width == value(glu->up).width;
  }

  /// Of values of one type.
  bool is_plain_sum(std::size_t at) const {
    const auto* add = op<AddOp>(at);
    return add != nullptr && add->b != kNone && add->row == kNone && add->ids == kNone &&
           add->a_scale == 1 && add->b_scale == 1 && add->softcap == 0 &&
           value(add->a).type == value(add->y).type && value(add->b).type == value(add->y).type;
  }
  bool is_norm_of(std::size_t at, ValueId x) const {
    const auto* norm = op<NormOp>(at);
    return norm != nullptr && norm->x == x && norm->groups == 1;
  }

  bool is_normed_sum(std::size_t at) const {
    return is_plain_sum(at) && is_norm_of(at + 1, op<AddOp>(at)->y);
  }

  bool is_taken_product(std::size_t at) const {
    const auto* take = op<TakeOp>(at + 1);
    return is_plain_sum(at) && take != nullptr && take->x == op<AddOp>(at)->y &&
           is_read_once(take->y) && is_norm_of(at + 2, take->y) && is_product_of_norm(at + 3);
  }

  /// Whether a product at `at`, and nothing else, reads a value.
  bool is_sole_product(std::size_t at, ValueId x) const {
    const auto* linear = op<LinearOp>(at);
    return linear != nullptr && linear->x == x && is_read_once(x);
  }
  /// Behind a normed sum.
  bool is_product_of_norm(std::size_t at) const {
    return is_sole_product(at, op<NormOp>(at - 1)->y);
  }

  /// Behind a gate.
  bool is_product_of_gate(std::size_t at) const {
    return is_sole_product(at, op<GluOp>(at - 1)->y) && op<LinearOp>(at)->parts.size() == 1;
  }

  bool is_turned_put(std::size_t at) const {
    const auto *q = op<RopeOp>(at), *k = op<RopeOp>(at + 1);
    const auto* put = op<KvPutOp>(at + 2);
    return q != nullptr && k != nullptr && put != nullptr && put->k == k->y && q->y != k->x &&
           put->v != q->y && is_read_once(k->y);
  }

  /// Behind a turned put.
  bool is_turned_attention(std::size_t at) const {
    const auto *q = op<RopeOp>(at), *k = op<RopeOp>(at + 1);
    const auto* put = op<KvPutOp>(at + 2);
    const auto* attn = op<AttnOp>(at + 3);
    return attn != nullptr && attn->kv_layer == put->kv_layer && attn->q == q->y &&
           is_read_once(q->y) && q->angles == k->angles;
  }

  bool is_attended_product(std::size_t at) const {
    const auto* attn = op<AttnOp>(at);
    return attn != nullptr && is_sole_product(at + 1, attn->y);
  }

  const Program& program_;
  std::vector<int> readers_;
};

}  // namespace

std::size_t nodes_of(Join join) {
  switch (join) {
    case Join::none:
    case Join::parts:
      return 1;
    case Join::gate:
    case Join::norm_sum:
    case Join::attended_product:
      return 2;
    case Join::norm_product:
    case Join::put_turned:
      return 3;
    case Join::norm_gate:
    case Join::taken_product:
    case Join::attend_turned:
      return 4;
    case Join::feed_forward:
      return 5;
  }
  return 1;
}

std::vector<Join> joins_of(const Program& program) {
  const Reader reader(program);
  std::vector<Join> all;
  for (std::size_t at = 0; at < program.nodes.size(); ++at) all.push_back(reader.at(at));
  return all;
}

}  // namespace stepless
