// Turns tokens into the tree. One class, two files: expressions in jinja_parser_expr.cc, statements
// in jinja_parser.cc.
#pragma once
#include <initializer_list>
#include <string>
#include <unordered_map>
#include <vector>

#include "text/jinja_ast.hpp"
#include "text/jinja_lexer.hpp"

namespace stepless::jinja {

class Parser {
 public:
  Parser(std::vector<Token> tokens, const TemplateLimits& limits)
      : tokens_(std::move(tokens)), limits_(limits) {}
  Program run();

 private:
  using Names = std::initializer_list<std::string_view>;
  /// Counts one more level of nesting while it lives.
  class Nested {
   public:
    explicit Nested(Parser& parser);
    ~Nested() { --parser_.depth_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;

   private:
    Parser& parser_;
  };

  const Token& peek(std::size_t ahead = 0) const {
    return tokens_[std::min(pos_ + ahead, tokens_.size() - 1)];
  }
  const Token& next() { return tokens_[pos_ + 1 < tokens_.size() ? pos_++ : pos_]; }
  bool is_sign(std::string_view sign, std::size_t ahead = 0) const;
  bool is_name(std::string_view name, std::size_t ahead = 0) const;
  bool skip_sign(std::string_view sign);
  bool skip_name(std::string_view name);
  void expect_sign(std::string_view sign);
  void expect_name(std::string_view name);
  std::string expect_identifier();
  void expect(TokenKind kind);
  [[noreturn]] void error(const std::string& message) const;
  std::string found() const;  // the current token, for messages

  // Statements.
  Block statements(Names end, std::string_view opened_by, int opened_at);
  std::unique_ptr<Stmt> statement();
  std::unique_ptr<Stmt> make(StmtKind kind) const;
  std::unique_ptr<Stmt> parse_if();
  std::unique_ptr<Stmt> parse_for();
  std::unique_ptr<Stmt> parse_set();
  std::unique_ptr<Stmt> parse_macro();
  std::unique_ptr<Stmt> parse_call_block();
  std::unique_ptr<Stmt> parse_with();
  std::unique_ptr<Stmt> parse_filter_block();
  std::unique_ptr<Stmt> parse_generation();
  std::unique_ptr<Stmt> parse_jump(StmtKind kind);
  void parameters(Stmt& stmt);
  void macro_body(Stmt& stmt, std::string_view end);
  void end_tag(std::string_view name);
  Target target(bool may_be_attribute, bool tuples = true);
  Target one_target(bool may_be_attribute);

  // Expressions.
  ExprPtr expression(bool with_condition = true);
  ExprPtr tuple(bool with_condition = true, bool in_parentheses = false);
  ExprPtr logical_or();
  ExprPtr logical_and();
  ExprPtr logical_not();
  ExprPtr compare();
  ExprPtr sum();
  ExprPtr concat();
  ExprPtr product();
  ExprPtr power();
  ExprPtr unary(bool with_filters = true);
  ExprPtr primary();
  ExprPtr name_or_constant();
  ExprPtr list();
  ExprPtr dict();
  ExprPtr postfix(ExprPtr node);
  ExprPtr filters(ExprPtr node, bool only_pipes = false);
  ExprPtr filter(ExprPtr node);
  ExprPtr test(ExprPtr node);
  ExprPtr attribute(ExprPtr node);
  ExprPtr subscript(ExprPtr node);
  ExprPtr subscript_part(ExprPtr& object);
  ExprPtr call(ExprPtr node);
  CallArgs call_args();
  std::string dotted_name();
  int name_index(const std::string& name);
  bool ends_tuple(bool in_parentheses) const;

  ExprPtr make(ExprKind kind) const;
  /// Sets the height of a finished node from its children.
  ExprPtr finish(ExprPtr node) const;

  std::vector<Token> tokens_;
  TemplateLimits limits_;
  Program program_;
  std::unordered_map<std::string, int> indices_;  // of program_.names
  std::size_t pos_ = 0;
  int depth_ = 0;
  int loops_ = 0;              // around the current statement, inside the same macro
  std::vector<Stmt*> macros_;  // around it
};

}  // namespace stepless::jinja
