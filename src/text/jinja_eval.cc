// Expressions. One small function per kind keeps the frame of eval(), of which many may be on the
// stack, small.
#include <utility>

#include "text/jinja_interp.hpp"
#include "text/jinja_print.hpp"

namespace stepless::jinja {
namespace {

/// Evaluations on the stack at once, over all macros: with about 1 KB each they fit a thread's
/// usual 8 MB many times.
constexpr int kMaxNested = 1500;

bool compare(Interp& interp, Op op, const Value& a, const Value& b) {
  switch (op) {
    case Op::equal:
      return equal(a, b);
    case Op::not_equal:
      return !equal(a, b);
    case Op::less:
      return less(a, b);
    case Op::less_equal:
      return less(a, b) || equal(a, b);
    case Op::greater:
      return less(b, a);
    case Op::greater_equal:
      return less(b, a) || equal(a, b);
    case Op::in:
      return contains(b, a, interp.meter());
    case Op::not_in:
      return !contains(b, a, interp.meter());
    case Op::add:
    case Op::subtract:
    case Op::multiply:
    case Op::divide:
    case Op::floor_divide:
    case Op::modulo:
    case Op::power:
      break;
  }
  return false;
}

bool is_plain_text(const Value& value) {
  return value.is(Kind::string) && !value.text().is_markup();
}

}  // namespace

Value Interp::eval(const Expr& expr) {
  meter_.step();
  if (++nested_ > kMaxNested)
    throw Failure(ErrorCode::exhausted,
                  fmt::format("expressions and macros nested deeper than {}", kMaxNested));
  Value out = eval_inner(expr);
  --nested_;  // a Failure ends the rendering, so that the count does not matter then
  return out;
}

Value Interp::eval_inner(const Expr& expr) {
  switch (expr.kind) {
    case ExprKind::constant:
      return expr.value;
    case ExprKind::captured:
      return captured_;
    case ExprKind::name:
      return variable(expr.name);
    case ExprKind::list:
      return Value::list(eval_all(expr.parts));
    case ExprKind::tuple:
      return Value::tuple(eval_all(expr.parts));
    case ExprKind::dict:
      return eval_dict(expr);
    case ExprKind::attribute: {
      const Value object = eval(*expr.parts[0]);
      line_ = expr.line;
      return get_attribute(object, expr.text);
    }
    case ExprKind::item: {
      const Value object = eval(*expr.parts[0]);
      const Value key = eval(*expr.parts[1]);
      line_ = expr.line;
      return get_item(object, key, meter_);
    }
    case ExprKind::slice:
      return eval_slice(expr);
    case ExprKind::call:
      return eval_call(expr);
    case ExprKind::filter:
      return eval_filter(expr);
    case ExprKind::test:
      return eval_test(expr);
    case ExprKind::negate:
    case ExprKind::positive:
      return eval_sign(expr);
    case ExprKind::logical_not:
      return Value::boolean(!truth(eval(*expr.parts[0])));
    case ExprKind::logical_and:
    case ExprKind::logical_or:
      return eval_logic(expr);
    case ExprKind::compare:
      return eval_compare(expr);
    case ExprKind::arithmetic:
      return eval_arithmetic(expr);
    case ExprKind::concat:
      return eval_concat(expr);
    case ExprKind::condition:
      return eval_condition(expr);
  }
  return {};
}

Value Interp::variable(int index) const {
  for (const Scope* scope = scope_.get(); scope != nullptr; scope = scope->parent.get())
    for (const auto& [name, value] : scope->values)
      if (name == index) return value;
  const auto& [is_set, value] = outermost_[static_cast<std::size_t>(index)];
  if (is_set) return value;
  return Value::undefined(
      fmt::format("'{}' is undefined", program_.names[static_cast<std::size_t>(index)]));
}

std::vector<Value> Interp::eval_all(const std::vector<ExprPtr>& exprs) {
  std::vector<Value> values;
  values.reserve(exprs.size());
  for (const ExprPtr& expr : exprs) values.push_back(eval(*expr));
  return values;
}

Value Interp::eval_dict(const Expr& expr) {
  Dict dict;
  for (std::size_t i = 0; i < expr.parts.size(); i += 2) {
    Value key = eval(*expr.parts[i]);
    dict.set(std::move(key), eval(*expr.parts[i + 1]));
  }
  return Value::dict(std::move(dict));
}

Value Interp::eval_slice(const Expr& expr) {
  const Value object = eval(*expr.parts[0]);
  Value bounds[3];
  const Value* given[3] = {nullptr, nullptr, nullptr};
  for (std::size_t i = 0; i < 3; ++i) {
    if (!expr.parts[i + 1]) continue;
    bounds[i] = eval(*expr.parts[i + 1]);
    given[i] = &bounds[i];
  }
  line_ = expr.line;
  return get_slice(object, given[0], given[1], given[2], meter_);
}

Args Interp::eval_args(const CallArgs& args) {
  Args out;
  out.list = eval_all(args.list);
  for (const auto& [name, expr] : args.named) out.named.emplace_back(name, eval(*expr));
  if (args.star) {
    const Value more = eval(*args.star);
    need_defined(more);
    for (Value& item : collect(more, meter_)) out.list.push_back(std::move(item));
  }
  if (args.star_star) {
    const Value more = eval(*args.star_star);
    if (!more.is(Kind::dict)) stop("behind ** stands a {}; a dict is possible", type_name(more));
    for (const auto& [key, value] : more.dict().items()) {
      if (!key.is(Kind::string))
        stop("an argument's name is a {}; a str is possible", type_name(key));
      out.names_from_user = out.names_from_user || key.text().has_user_bytes();
      out.named.emplace_back(key.bytes(), value);
    }
  }
  return out;
}

Value Interp::eval_call(const Expr& expr) {
  const Value callee = eval(*expr.parts[0]);
  const Args args = eval_args(expr.args);
  line_ = expr.line;
  return call(callee, args);
}

Value Interp::eval_filter(const Expr& expr) {
  const Value value = eval(*expr.parts[0]);
  const Args args = eval_args(expr.args);
  line_ = expr.line;
  if (expr.native == nullptr) stop("there is no filter '{}'", expr.text);
  return expr.native(*this, value, args);
}

Value Interp::eval_test(const Expr& expr) {
  const Value value = eval(*expr.parts[0]);
  const Args args = eval_args(expr.args);
  line_ = expr.line;
  if (expr.native == nullptr) stop("there is no test '{}'", expr.text);
  return Value::boolean(truth(expr.native(*this, value, args)) != expr.negated);
}

Value Interp::apply_filter(const std::string& name, const Value& value, const Args& args) {
  const Native native = find_filter(name);
  if (native == nullptr) stop("there is no filter '{}'", name);
  meter_.step();
  return native(*this, value, args);
}

bool Interp::apply_test(const std::string& name, const Value& value, const Args& args) {
  const Native native = find_test(name);
  if (native == nullptr) stop("there is no test '{}'", name);
  meter_.step();
  return truth(native(*this, value, args));
}

Value Interp::eval_logic(const Expr& expr) {
  const bool stops_at = expr.kind == ExprKind::logical_or;
  Value value;
  for (const ExprPtr& part : expr.parts) {
    value = eval(*part);
    if (truth(value) == stops_at) return value;
  }
  return value;
}

Value Interp::eval_compare(const Expr& expr) {
  Value left = eval(*expr.parts[0]);
  for (std::size_t i = 0; i < expr.ops.size(); ++i) {
    Value right = eval(*expr.parts[i + 1]);
    line_ = expr.line;
    if (!compare(*this, expr.ops[i], left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

/// Texts joined by + are collected in one buffer, so that a long sum copies each only once.
Value Interp::eval_arithmetic(const Expr& expr) {
  Value left = eval(*expr.parts[0]);
  TextBuilder joined(meter_);
  bool joining = false;
  for (std::size_t i = 0; i < expr.ops.size(); ++i) {
    const Value right = eval(*expr.parts[i + 1]);
    line_ = expr.line;
    if (expr.ops[i] == Op::add && is_plain_text(right) && (joining || is_plain_text(left))) {
      if (!joining) joined.add(left.text());
      joining = true;
      joined.add(right.text());
      continue;
    }
    if (joining) left = Value::string(joined.take());
    joining = false;
    left = binary(*this, expr.ops[i], left, right);
  }
  return joining ? Value::string(joined.take()) : left;
}

Value Interp::eval_concat(const Expr& expr) {
  TextBuilder joined(meter_);
  for (const ExprPtr& part : expr.parts) print(eval(*part), joined, meter_);
  return Value::string(joined.take());
}

Value Interp::eval_condition(const Expr& expr) {
  if (truth(eval(*expr.parts[0]))) return eval(*expr.parts[1]);
  return expr.parts[2] ? eval(*expr.parts[2])
                       : Value::undefined("the condition is false and there is no else");
}

Value Interp::eval_sign(const Expr& expr) {
  const Value value = eval(*expr.parts[0]);
  need_defined(value);
  if (!value.is_number()) stop("a sign before a {}", type_name(value));
  if (expr.kind == ExprKind::positive)
    return value.is(Kind::boolean) ? Value::integer(value.integer()).mark_user(value.user())
                                   : value;
  if (value.is(Kind::real)) return Value::real(-value.real()).mark_user(value.user());
  return compute(Op::subtract, Value::integer(0), value);
}

}  // namespace stepless::jinja
