// Walks a parsed template: scopes, control flow, macros and calls. One Interp renders once; the
// Program it walks is shared and never changes.
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja_ast.hpp"
#include "text/jinja_loop.hpp"

namespace stepless::jinja {

/// The variables set inside one loop body, macro, with or captured block. The outermost level is
/// not a Scope.
struct Scope : std::enable_shared_from_this<Scope> {
  explicit Scope(std::shared_ptr<Scope> outer) : parent(std::move(outer)) {}
  std::shared_ptr<Scope> parent;
  std::vector<std::pair<int, Value>> values;  // by index of Program::names
};

class Interp {
 public:
  Interp(const Program& program, Meter& meter, std::int64_t now_unix);
  ~Interp();
  Interp(const Interp&) = delete;
  Interp& operator=(const Interp&) = delete;

  /// Gives a variable of the outermost level; ignored when the template does not name it.
  void define(std::string_view name, const Value& value);
  const std::vector<std::string>& names() const { return program_.names; }
  Text run();

  Meter& meter() { return meter_; }
  int line() const { return line_; }
  std::int64_t now_unix() const { return now_unix_; }

  /// callee(args)
  Value call(const Value& callee, const Args& args);
  /// value | name(args), value is name(args). Throw Failure when there is no such filter or test.
  Value apply_filter(const std::string& name, const Value& value, const Args& args);
  bool apply_test(const std::string& name, const Value& value, const Args& args);
  /// A fresh namespace; it lives as long as this rendering.
  Value make_space(Dict attributes);

 private:
  enum class Flow : std::uint8_t { normal, leave, next };
  class Nested;

  // jinja_interp.cc: statements.
  Flow run_block(const Block& block);
  Flow run_stmt(const Stmt& stmt);
  Flow run_branch(const Stmt& stmt);
  Flow run_loop(const Stmt& stmt, const Value& iterable, int depth);
  Flow run_with(const Stmt& stmt);
  Loop::Filter loop_filter(const Stmt& stmt);
  Text capture(const Block& block, std::shared_ptr<Scope> scope);
  void run_set(const Stmt& stmt);
  void run_set_block(const Stmt& stmt);
  void run_filter_block(const Stmt& stmt);
  void run_call_block(const Stmt& stmt);
  void run_generation(const Stmt& stmt);
  void define_macro(const Stmt& stmt);
  void assign(const Target& target, const Value& value);
  void set_variable(int name, Value value);
  std::shared_ptr<Scope> inner_scope() const { return std::make_shared<Scope>(scope_); }
  Value make_macro(const Stmt& stmt, std::string name);
  Value call_macro(const Macro& macro, const Args& args);
  void bind(const Macro& macro, const Args& args, Scope& scope);
  Value call_loop(const Value& callee, const Args& args);
  int name_of(std::string_view name) const;

  // jinja_eval.cc: expressions.
  Value eval(const Expr& expr);
  Value eval_inner(const Expr& expr);
  Value variable(int index) const;
  Value eval_dict(const Expr& expr);
  Value eval_slice(const Expr& expr);
  Value eval_call(const Expr& expr);
  Value eval_filter(const Expr& expr);
  Value eval_test(const Expr& expr);
  Value eval_logic(const Expr& expr);
  Value eval_compare(const Expr& expr);
  Value eval_arithmetic(const Expr& expr);
  Value eval_concat(const Expr& expr);
  Value eval_condition(const Expr& expr);
  Value eval_sign(const Expr& expr);
  std::vector<Value> eval_all(const std::vector<ExprPtr>& exprs);
  Args eval_args(const CallArgs& args);

  const Program& program_;
  Meter& meter_;
  std::int64_t now_unix_;
  std::vector<std::pair<bool, Value>> outermost_;  // by index of names: is it set, and to what
  std::shared_ptr<Scope> scope_;                   // null at the outermost level
  TextBuilder* out_ = nullptr;
  Value captured_;
  int line_ = 1;
  int nested_ = 0;  // evaluations on the stack
  int calls_ = 0;   // macros and recursive loops on the stack
  int loop_name_, caller_name_, kwargs_name_, varargs_name_;
  std::vector<std::shared_ptr<Scope>> kept_;  // scopes that macros look into
  std::vector<std::shared_ptr<Space>> spaces_;
};

/// The value of a global function (range, dict, namespace, …); undefined when there is none.
Value find_global(std::string_view name);
/// a op b for the arithmetic operators, on any types.
Value binary(Interp& interp, Op op, const Value& a, const Value& b);
/// Names of one call's parameters, in order, and what the call gave for them.
class Params {
 public:
  /// Throws Failure: too many, unknown or doubly given arguments, fewer than `required`.
  Params(const Args& args, std::string_view function, std::initializer_list<std::string_view> names,
         std::size_t required = 0);
  /// Null when absent.
  const Value* get(std::size_t i) const { return values_[i]; }
  bool has(std::size_t i) const { return values_[i] != nullptr; }
  const Value& at(std::size_t i) const { return *values_[i]; }
  bool flag(std::size_t i, bool absent = false) const;
  std::int64_t integer(std::size_t i, std::int64_t absent) const;
  /// The text of a string argument; `absent` when it is missing or none. Throws Failure for other
  /// types.
  std::string string(std::size_t i, std::string_view absent) const;

 private:
  std::string_view function_;
  std::vector<std::string_view> names_;
  std::vector<const Value*> values_;
};

}  // namespace stepless::jinja
