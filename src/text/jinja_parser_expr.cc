// Expressions, from the loosest binding (a if b else c) to the tightest (literals, calls,
// subscripts, filters, tests).
#include <algorithm>
#include <utility>

#include "text/jinja_parser.hpp"

namespace stepless::jinja {
namespace {

/// Bounds the stack that evaluating and freeing a tree need: about 1 KB per level.
constexpr int kMaxHeight = 400;

int deepest(const CallArgs& args) {
  int height = 0;
  const auto look = [&height](const ExprPtr& e) { height = std::max(height, e ? e->height : 0); };
  for (const ExprPtr& e : args.list) look(e);
  for (const auto& [name, e] : args.named) look(e);
  look(args.star);
  look(args.star_star);
  return height;
}

}  // namespace

ExprPtr Parser::make(ExprKind kind) const {
  auto node = std::make_unique<Expr>();
  node->kind = kind;
  node->line = peek().line;
  return node;
}

ExprPtr Parser::finish(ExprPtr node) const {
  int below = deepest(node->args);
  for (const ExprPtr& part : node->parts) below = std::max(below, part ? part->height : 0);
  node->height = below + 1;
  if (node->height > kMaxHeight)
    throw Failure(ErrorCode::exhausted, fmt::format("line {}: an expression nested deeper than {}",
                                                    node->line, kMaxHeight));
  return node;
}

ExprPtr Parser::expression(bool with_condition) {
  const Nested nested(*this);
  if (!with_condition) return logical_or();
  ExprPtr value = logical_or();
  while (is_name("if")) {
    ExprPtr node = make(ExprKind::condition);
    next();
    ExprPtr condition = logical_or();
    ExprPtr otherwise = skip_name("else") ? expression() : nullptr;
    node->parts.push_back(std::move(condition));
    node->parts.push_back(std::move(value));
    node->parts.push_back(std::move(otherwise));
    value = finish(std::move(node));
  }
  return value;
}

bool Parser::ends_tuple(bool in_parentheses) const {
  const TokenKind kind = peek().kind;
  if (kind == TokenKind::variable_end || kind == TokenKind::block_end || kind == TokenKind::end)
    return true;
  return in_parentheses && is_sign(")");
}

/// One expression, or a tuple of several with commas between.
ExprPtr Parser::tuple(bool with_condition, bool in_parentheses) {
  ExprPtr node = make(ExprKind::tuple);
  bool is_tuple = false;
  while (!ends_tuple(in_parentheses)) {
    node->parts.push_back(expression(with_condition));
    if (!skip_sign(",")) break;
    is_tuple = true;
  }
  if (node->parts.empty() && !in_parentheses)
    error(fmt::format("{} where an expression is expected", found()));
  if (is_tuple || node->parts.empty()) return finish(std::move(node));
  return std::move(node->parts[0]);
}

ExprPtr Parser::logical_or() {
  ExprPtr first = logical_and();
  if (!is_name("or")) return first;
  ExprPtr node = make(ExprKind::logical_or);
  node->parts.push_back(std::move(first));
  while (skip_name("or")) node->parts.push_back(logical_and());
  return finish(std::move(node));
}

ExprPtr Parser::logical_and() {
  ExprPtr first = logical_not();
  if (!is_name("and")) return first;
  ExprPtr node = make(ExprKind::logical_and);
  node->parts.push_back(std::move(first));
  while (skip_name("and")) node->parts.push_back(logical_not());
  return finish(std::move(node));
}

ExprPtr Parser::logical_not() {
  if (!is_name("not")) return compare();
  const Nested nested(*this);
  ExprPtr node = make(ExprKind::logical_not);
  next();
  node->parts.push_back(logical_not());
  return finish(std::move(node));
}

ExprPtr Parser::compare() {
  static constexpr std::pair<std::string_view, Op> kSigns[] = {
      {"==", Op::equal},      {"!=", Op::not_equal}, {"<", Op::less},
      {"<=", Op::less_equal}, {">", Op::greater},    {">=", Op::greater_equal}};
  ExprPtr first = sum();
  ExprPtr node = make(ExprKind::compare);
  node->parts.push_back(std::move(first));
  while (true) {
    const auto* sign =
        std::find_if(std::begin(kSigns), std::end(kSigns),
                     [this](const auto& candidate) { return is_sign(candidate.first); });
    if (sign != std::end(kSigns)) {
      next();
      node->ops.push_back(sign->second);
    } else if (skip_name("in")) {
      node->ops.push_back(Op::in);
    } else if (is_name("not") && is_name("in", 1)) {
      next();
      next();
      node->ops.push_back(Op::not_in);
    } else {
      break;
    }
    node->parts.push_back(sum());
  }
  return node->ops.empty() ? std::move(node->parts[0]) : finish(std::move(node));
}

ExprPtr Parser::sum() {
  ExprPtr first = concat();
  if (!is_sign("+") && !is_sign("-")) return first;
  ExprPtr node = make(ExprKind::arithmetic);
  node->parts.push_back(std::move(first));
  while (is_sign("+") || is_sign("-")) {
    node->ops.push_back(next().value == "+" ? Op::add : Op::subtract);
    node->parts.push_back(concat());
  }
  return finish(std::move(node));
}

ExprPtr Parser::concat() {
  ExprPtr first = product();
  if (!is_sign("~")) return first;
  ExprPtr node = make(ExprKind::concat);
  node->parts.push_back(std::move(first));
  while (skip_sign("~")) node->parts.push_back(product());
  return finish(std::move(node));
}

ExprPtr Parser::product() {
  static constexpr std::pair<std::string_view, Op> kSigns[] = {
      {"*", Op::multiply}, {"/", Op::divide}, {"//", Op::floor_divide}, {"%", Op::modulo}};
  ExprPtr node = make(ExprKind::arithmetic);
  node->parts.push_back(power());
  while (true) {
    const auto* sign =
        std::find_if(std::begin(kSigns), std::end(kSigns),
                     [this](const auto& candidate) { return is_sign(candidate.first); });
    if (sign == std::end(kSigns)) break;
    next();
    node->ops.push_back(sign->second);
    node->parts.push_back(power());
  }
  return node->ops.empty() ? std::move(node->parts[0]) : finish(std::move(node));
}

/// Jinja binds the minus sign tighter than ** and groups ** from the left.
ExprPtr Parser::power() {
  ExprPtr first = unary();
  if (!is_sign("**")) return first;
  ExprPtr node = make(ExprKind::arithmetic);
  node->parts.push_back(std::move(first));
  while (skip_sign("**")) {
    node->ops.push_back(Op::power);
    node->parts.push_back(unary());
  }
  return finish(std::move(node));
}

ExprPtr Parser::unary(bool with_filters) {
  const Nested nested(*this);
  ExprPtr node;
  if (is_sign("-") || is_sign("+")) {
    node = make(is_sign("-") ? ExprKind::negate : ExprKind::positive);
    next();
    node->parts.push_back(unary(false));
    node = finish(std::move(node));
  } else {
    node = primary();
  }
  node = postfix(std::move(node));
  return with_filters ? filters(std::move(node)) : std::move(node);
}

ExprPtr Parser::primary() {
  if (peek().kind == TokenKind::name) return name_or_constant();
  if (is_sign("[")) return list();
  if (is_sign("{")) return dict();
  if (skip_sign("(")) {
    ExprPtr node = tuple(true, true);
    expect_sign(")");
    return node;
  }
  ExprPtr node = make(ExprKind::constant);
  if (peek().kind == TokenKind::string) {
    std::string text;
    while (peek().kind == TokenKind::string) text += next().value;
    node->value = Value::string(std::move(text));
  } else if (peek().kind == TokenKind::integer) {
    node->value = Value::integer(next().integer);
  } else if (peek().kind == TokenKind::real) {
    node->value = Value::real(next().real);
  } else {
    error(fmt::format("{} where an expression is expected", found()));
  }
  return node;
}

ExprPtr Parser::name_or_constant() {
  ExprPtr node = make(ExprKind::constant);
  const std::string& name = next().value;
  if (name == "true" || name == "True" || name == "false" || name == "False") {
    node->value = Value::boolean(name[0] == 't' || name[0] == 'T');
  } else if (name == "none" || name == "None") {
    node->value = Value::none();
  } else {
    node->kind = ExprKind::name;
    node->name = name_index(name);
    for (Stmt* macro : macros_) {
      macro->uses_caller = macro->uses_caller || name == "caller";
      macro->uses_kwargs = macro->uses_kwargs || name == "kwargs";
      macro->uses_varargs = macro->uses_varargs || name == "varargs";
    }
  }
  return node;
}

ExprPtr Parser::list() {
  ExprPtr node = make(ExprKind::list);
  expect_sign("[");
  while (!is_sign("]")) {
    if (!node->parts.empty()) expect_sign(",");
    if (is_sign("]")) break;
    node->parts.push_back(expression());
  }
  expect_sign("]");
  return finish(std::move(node));
}

ExprPtr Parser::dict() {
  ExprPtr node = make(ExprKind::dict);
  expect_sign("{");
  while (!is_sign("}")) {
    if (!node->parts.empty()) expect_sign(",");
    if (is_sign("}")) break;
    node->parts.push_back(expression());
    expect_sign(":");
    node->parts.push_back(expression());
  }
  expect_sign("}");
  return finish(std::move(node));
}

ExprPtr Parser::postfix(ExprPtr node) {
  while (true) {
    if (is_sign("."))
      node = attribute(std::move(node));
    else if (is_sign("["))
      node = subscript(std::move(node));
    else if (is_sign("("))
      node = call(std::move(node));
    else
      return node;
  }
}

ExprPtr Parser::filters(ExprPtr node, bool only_pipes) {
  while (true) {
    if (skip_sign("|"))
      node = filter(std::move(node));
    else if (!only_pipes && is_name("is"))
      node = test(std::move(node));
    else if (!only_pipes && is_sign("("))
      node = call(std::move(node));
    else
      return node;
  }
}

std::string Parser::dotted_name() {
  std::string name = expect_identifier();
  while (skip_sign(".")) name += "." + expect_identifier();
  return name;
}

ExprPtr Parser::filter(ExprPtr node) {
  ExprPtr out = make(ExprKind::filter);
  out->text = dotted_name();
  out->native = find_filter(out->text);
  out->parts.push_back(std::move(node));
  if (is_sign("(")) out->args = call_args();
  return finish(std::move(out));
}

ExprPtr Parser::test(ExprPtr node) {
  ExprPtr out = make(ExprKind::test);
  next();
  out->negated = skip_name("not");
  out->text = dotted_name();
  out->native = find_test(out->text);
  out->parts.push_back(std::move(node));
  const TokenKind kind = peek().kind;
  const bool word =
      kind == TokenKind::name && !is_name("else") && !is_name("or") && !is_name("and");
  if (is_sign("(")) {
    out->args = call_args();
  } else if (word || kind == TokenKind::string || kind == TokenKind::integer ||
             kind == TokenKind::real || is_sign("[") || is_sign("{")) {
    if (is_name("is")) error("tests cannot be chained with is");
    out->args.list.push_back(postfix(primary()));
  }
  return finish(std::move(out));
}

ExprPtr Parser::attribute(ExprPtr node) {
  ExprPtr out = make(ExprKind::attribute);
  next();
  if (peek().kind == TokenKind::integer) {
    out->kind = ExprKind::item;
    ExprPtr index = make(ExprKind::constant);
    index->value = Value::integer(next().integer);
    out->parts.push_back(std::move(node));
    out->parts.push_back(std::move(index));
    return finish(std::move(out));
  }
  out->text = expect_identifier();
  out->value = Value::string(out->text);
  out->parts.push_back(std::move(node));
  return finish(std::move(out));
}

ExprPtr Parser::subscript(ExprPtr node) {
  expect_sign("[");
  ExprPtr out = make(ExprKind::item);
  std::vector<ExprPtr> parts;  // a slice takes the object at once and may only stand alone
  while (!is_sign("]")) {
    if (!parts.empty()) expect_sign(",");
    parts.push_back(subscript_part(node));
  }
  expect_sign("]");
  if (parts.empty()) error("an empty subscript");
  if (parts[0]->kind == ExprKind::slice && node == nullptr) {
    if (parts.size() > 1) error("a slice in a subscript of several parts");
    return std::move(parts[0]);
  }
  if (node == nullptr) error("a slice in a subscript of several parts");
  out->parts.push_back(std::move(node));
  if (parts.size() == 1) {
    out->parts.push_back(std::move(parts[0]));
  } else {
    ExprPtr key = make(ExprKind::tuple);
    key->parts = std::move(parts);
    out->parts.push_back(finish(std::move(key)));
  }
  return finish(std::move(out));
}

/// An index, or a slice `start:stop:step`, into which `object` is moved.
ExprPtr Parser::subscript_part(ExprPtr& object) {
  ExprPtr start = is_sign(":") ? nullptr : expression();
  if (!is_sign(":")) return start;
  if (object == nullptr) error("a slice in a subscript of several parts");
  ExprPtr out = make(ExprKind::slice);
  out->parts.push_back(std::move(object));
  out->parts.push_back(std::move(start));
  for (int i = 0; i < 2; ++i) {
    const bool more = skip_sign(":");
    const bool absent = !more || is_sign(":") || is_sign("]") || is_sign(",");
    out->parts.push_back(absent ? nullptr : expression());
  }
  return finish(std::move(out));
}

ExprPtr Parser::call(ExprPtr node) {
  ExprPtr out = make(ExprKind::call);
  out->args = call_args();
  out->parts.push_back(std::move(node));
  return finish(std::move(out));
}

CallArgs Parser::call_args() {
  CallArgs args;
  bool first = true;
  expect_sign("(");
  while (!is_sign(")")) {
    if (!first) expect_sign(",");
    first = false;
    if (is_sign(")")) break;
    if (skip_sign("*")) {
      if (args.star || args.star_star) error("a second * in a call, or one behind **");
      args.star = expression();
    } else if (skip_sign("**")) {
      if (args.star_star) error("a second ** in a call");
      args.star_star = expression();
    } else if (peek().kind == TokenKind::name && is_sign("=", 1)) {
      if (args.star_star) error("an argument behind **");
      std::string name = next().value;
      next();
      args.named.emplace_back(std::move(name), expression());
    } else {
      if (!args.named.empty() || args.star || args.star_star)
        error("an argument without a name behind named ones");
      args.list.push_back(expression());
    }
  }
  expect_sign(")");
  return args;
}

}  // namespace stepless::jinja
