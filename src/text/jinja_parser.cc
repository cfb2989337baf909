#include "text/jinja_parser.hpp"

#include <algorithm>

namespace stepless::jinja {

Parser::Nested::Nested(Parser& parser) : parser_(parser) {
  if (++parser_.depth_ > parser_.limits_.depth * 2) {
    --parser_.depth_;
    throw Failure(ErrorCode::exhausted,
                  fmt::format("line {}: brackets and blocks nested deeper than {}",
                              parser.peek().line, parser_.limits_.depth * 2));
  }
}

bool Parser::is_sign(std::string_view sign, std::size_t ahead) const {
  return peek(ahead).kind == TokenKind::sign && peek(ahead).value == sign;
}
bool Parser::is_name(std::string_view name, std::size_t ahead) const {
  return peek(ahead).kind == TokenKind::name && peek(ahead).value == name;
}
bool Parser::skip_sign(std::string_view sign) {
  const bool is = is_sign(sign);
  if (is) next();
  return is;
}
bool Parser::skip_name(std::string_view name) {
  const bool is = is_name(name);
  if (is) next();
  return is;
}
void Parser::expect_sign(std::string_view sign) {
  if (!skip_sign(sign)) error(fmt::format("{} where '{}' is expected", found(), sign));
}
void Parser::expect_name(std::string_view name) {
  if (!skip_name(name)) error(fmt::format("{} where '{}' is expected", found(), name));
}
std::string Parser::expect_identifier() {
  if (peek().kind != TokenKind::name) error(fmt::format("{} where a name is expected", found()));
  return next().value;
}

void Parser::expect(TokenKind kind) {
  if (peek().kind != kind) error(fmt::format("{} where the tag should end", found()));
  next();
}

void Parser::error(const std::string& message) const { throw SyntaxError(peek().line, message); }

std::string Parser::found() const {
  switch (peek().kind) {
    case TokenKind::end:
      return "the end of the template";
    case TokenKind::block_end:
    case TokenKind::variable_end:
      return "the end of the tag";
    case TokenKind::text:
    case TokenKind::block_begin:
    case TokenKind::variable_begin:
      return "text";
    case TokenKind::integer:
    case TokenKind::real:
      return "a number";
    case TokenKind::string:
      return "a string";
    case TokenKind::name:
    case TokenKind::sign:
      return "'" + peek().value + "'";
  }
  return "a token";
}

std::unique_ptr<Stmt> Parser::make(StmtKind kind) const {
  auto stmt = std::make_unique<Stmt>();
  stmt->kind = kind;
  stmt->line = peek().line;
  return stmt;
}

Program Parser::run() {
  program_.body = statements({}, "", 0);
  return std::move(program_);
}

/// Statements up to a tag that starts with one of `end`, of which the opening `{%` is consumed.
Block Parser::statements(Names end, std::string_view opened_by, int opened_at) {
  const Nested nested(*this);
  Block out;
  while (true) {
    if (peek().kind == TokenKind::end) {
      if (end.size() == 0) return out;
      error(
          fmt::format("the template ends, but {{% {} %}} of line {} is open; {{% {} %}} is missing",
                      opened_by, opened_at, *(end.end() - 1)));
    }
    if (peek().kind == TokenKind::text) {
      auto stmt = make(StmtKind::text);
      stmt->text = Value::string(next().value);
      out.push_back(std::move(stmt));
    } else if (peek().kind == TokenKind::variable_begin) {
      auto stmt = make(StmtKind::output);
      next();
      stmt->exprs.push_back(tuple());
      expect(TokenKind::variable_end);
      out.push_back(std::move(stmt));
    } else {
      next();  // block_begin
      if (peek().kind == TokenKind::name &&
          std::find(end.begin(), end.end(), peek().value) != end.end())
        return out;
      out.push_back(statement());
    }
  }
}

std::unique_ptr<Stmt> Parser::statement() {
  if (peek().kind != TokenKind::name)
    error(fmt::format("{} where a tag's name is expected", found()));
  const std::string& name = peek().value;
  if (name == "if") return parse_if();
  if (name == "for") return parse_for();
  if (name == "set") return parse_set();
  if (name == "macro") return parse_macro();
  if (name == "call") return parse_call_block();
  if (name == "with") return parse_with();
  if (name == "filter") return parse_filter_block();
  if (name == "generation") return parse_generation();
  if (name == "break") return parse_jump(StmtKind::leave);
  if (name == "continue") return parse_jump(StmtKind::next);
  error(
      fmt::format("the tag '{}' is unknown or closes nothing; chat templates have if, for, set, "
                  "macro, call, filter, "
                  "with, generation, break, continue and raw",
                  name));
}

/// The rest of a closing tag: its name, of which nothing was consumed, and `%}`.
void Parser::end_tag(std::string_view name) {
  expect_name(name);
  expect(TokenKind::block_end);
}

std::unique_ptr<Stmt> Parser::parse_if() {
  auto stmt = make(StmtKind::branch);
  do {  // at `if` or `elif`
    next();
    stmt->exprs.push_back(tuple(false));
    expect(TokenKind::block_end);
    stmt->blocks.push_back(statements({"elif", "else", "endif"}, "if", stmt->line));
  } while (is_name("elif"));
  if (skip_name("else")) {
    expect(TokenKind::block_end);
    stmt->blocks.push_back(statements({"endif"}, "if", stmt->line));
  }
  end_tag("endif");
  return stmt;
}

std::unique_ptr<Stmt> Parser::parse_for() {
  auto stmt = make(StmtKind::loop);
  next();
  stmt->targets.push_back(target(false));
  expect_name("in");
  stmt->exprs.push_back(tuple(false));
  stmt->exprs.push_back(skip_name("if") ? expression() : nullptr);
  stmt->recursive = skip_name("recursive");
  expect(TokenKind::block_end);
  ++loops_;
  stmt->blocks.push_back(statements({"else", "endfor"}, "for", stmt->line));
  --loops_;
  if (skip_name("else")) {
    expect(TokenKind::block_end);
    stmt->blocks.push_back(statements({"endfor"}, "for", stmt->line));
  }
  end_tag("endfor");
  return stmt;
}

Target Parser::one_target(bool may_be_attribute) {
  Target out;
  if (skip_sign("(")) {
    out = target(may_be_attribute);
    expect_sign(")");
    return out;
  }
  const std::string name = expect_identifier();
  for (const std::string_view reserved : {"true", "false", "none", "True", "False", "None"})
    if (name == reserved) error(fmt::format("cannot assign to '{}'", name));
  out.name = name_index(name);
  if (may_be_attribute && skip_sign(".")) out.attribute = expect_identifier();
  return out;
}

Target Parser::target(bool may_be_attribute, bool tuples) {
  const Nested nested(*this);
  Target first = one_target(may_be_attribute);
  if (!tuples || !is_sign(",")) return first;
  Target out;
  out.items.push_back(std::move(first));
  while (skip_sign(",")) {
    if (peek().kind != TokenKind::name && !is_sign("(")) break;
    if (is_name("in")) break;
    out.items.push_back(one_target(may_be_attribute));
  }
  return out;
}

std::unique_ptr<Stmt> Parser::parse_set() {
  auto stmt = make(StmtKind::set);
  next();
  stmt->targets.push_back(target(true));
  if (skip_sign("=")) {
    stmt->exprs.push_back(tuple());
    expect(TokenKind::block_end);
    return stmt;
  }
  stmt->kind = StmtKind::set_block;
  stmt->exprs.push_back(filters(make(ExprKind::captured), true));
  expect(TokenKind::block_end);
  stmt->blocks.push_back(statements({"endset"}, "set", stmt->line));
  end_tag("endset");
  return stmt;
}

/// `(a, b=1)` of a macro or call block. Defaults belong to the last parameters.
void Parser::parameters(Stmt& stmt) {
  expect_sign("(");
  while (!is_sign(")")) {
    if (!stmt.parameters.empty()) expect_sign(",");
    if (is_sign(")")) break;
    const std::string name = expect_identifier();
    stmt.parameters.push_back(name_index(name));
    stmt.parameter_names.push_back(name);
    if (skip_sign("="))
      stmt.exprs.push_back(expression());
    else if (!stmt.exprs.empty())
      error(fmt::format("parameter '{}' without a default follows one with a default", name));
  }
  expect_sign(")");
}

/// From behind the opening tag's contents to the end of the closing tag.
void Parser::macro_body(Stmt& stmt, std::string_view end) {
  expect(TokenKind::block_end);
  const int loops = std::exchange(loops_, 0);
  macros_.push_back(&stmt);
  stmt.blocks.push_back(statements({end}, end.substr(3), stmt.line));
  macros_.pop_back();
  loops_ = loops;
  for (const std::string& name : stmt.parameter_names) {
    stmt.uses_caller = stmt.uses_caller && name != "caller";
    stmt.uses_kwargs = stmt.uses_kwargs && name != "kwargs";
    stmt.uses_varargs = stmt.uses_varargs && name != "varargs";
  }
  end_tag(end);
}

std::unique_ptr<Stmt> Parser::parse_macro() {
  auto stmt = make(StmtKind::macro);
  next();
  stmt->name = name_index(expect_identifier());
  parameters(*stmt);
  macro_body(*stmt, "endmacro");
  return stmt;
}

std::unique_ptr<Stmt> Parser::parse_call_block() {
  auto stmt = make(StmtKind::call);
  next();
  if (is_sign("(")) parameters(*stmt);
  ExprPtr called = expression();
  if (called->kind != ExprKind::call) error("{% call %} needs the call of a macro");
  stmt->exprs.push_back(std::move(called));
  macro_body(*stmt, "endcall");
  return stmt;
}

std::unique_ptr<Stmt> Parser::parse_with() {
  auto stmt = make(StmtKind::with);
  next();
  while (peek().kind != TokenKind::block_end) {
    if (!stmt->targets.empty()) expect_sign(",");
    stmt->targets.push_back(target(false, false));
    expect_sign("=");
    stmt->exprs.push_back(expression());
  }
  expect(TokenKind::block_end);
  stmt->blocks.push_back(statements({"endwith"}, "with", stmt->line));
  end_tag("endwith");
  return stmt;
}

std::unique_ptr<Stmt> Parser::parse_filter_block() {
  auto stmt = make(StmtKind::filter);
  next();
  ExprPtr first = filter(make(ExprKind::captured));
  stmt->exprs.push_back(filters(std::move(first), true));
  expect(TokenKind::block_end);
  stmt->blocks.push_back(statements({"endfilter"}, "filter", stmt->line));
  end_tag("endfilter");
  return stmt;
}

/// transformers' tag around what an assistant wrote; its body is a macro's, so that sets inside
/// stay inside.
std::unique_ptr<Stmt> Parser::parse_generation() {
  auto stmt = make(StmtKind::generation);
  next();
  expect(TokenKind::block_end);
  const int loops = std::exchange(loops_, 0);
  stmt->blocks.push_back(statements({"endgeneration"}, "generation", stmt->line));
  loops_ = loops;
  end_tag("endgeneration");
  return stmt;
}

std::unique_ptr<Stmt> Parser::parse_jump(StmtKind kind) {
  auto stmt = make(kind);
  const std::string name = next().value;
  if (loops_ == 0) error(fmt::format("{{% {} %}} outside of a loop", name));
  expect(TokenKind::block_end);
  return stmt;
}

int Parser::name_index(const std::string& name) {
  const auto [at, is_new] = indices_.try_emplace(name, static_cast<int>(program_.names.size()));
  if (is_new) program_.names.push_back(name);
  return at->second;
}

Program parse(std::string_view source, const TemplateLimits& limits) {
  return Parser(tokenize(source), limits).run();
}

}  // namespace stepless::jinja
