#include "text/jinja_interp.hpp"

#include <algorithm>
#include <utility>

#include "text/jinja_print.hpp"

namespace stepless::jinja {
namespace {

/// Puts back a value when the scope ends.
template <class T>
class Restore {
 public:
  Restore(T& place, T value) : place_(place), old_(std::exchange(place, std::move(value))) {}
  ~Restore() { place_ = std::move(old_); }
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;

 private:
  T& place_;
  T old_;
};

struct CloseLoop {
  std::shared_ptr<Loop> loop;
  ~CloseLoop() { loop->close(); }
};

}  // namespace

/// Counts one more macro or recursive loop while it lives.
class Interp::Nested {
 public:
  explicit Nested(Interp& interp) : interp_(interp) {
    if (interp_.calls_ >= interp_.meter_.limits().depth)
      throw Failure(ErrorCode::exhausted,
                    fmt::format("macros and loops call themselves deeper than {}",
                                interp_.meter_.limits().depth));
    ++interp_.calls_;
  }
  ~Nested() { --interp_.calls_; }
  Nested(const Nested&) = delete;
  Nested& operator=(const Nested&) = delete;

 private:
  Interp& interp_;
};

Interp::Interp(const Program& program, Meter& meter, std::int64_t now_unix)
    : program_(program),
      meter_(meter),
      now_unix_(now_unix),
      loop_name_(name_of("loop")),
      caller_name_(name_of("caller")),
      kwargs_name_(name_of("kwargs")),
      varargs_name_(name_of("varargs")) {
  outermost_.resize(program.names.size());
  for (std::size_t i = 0; i < program.names.size(); ++i) {
    Value global = find_global(program.names[i]);
    if (!global.is(Kind::undefined)) outermost_[i] = {true, std::move(global)};
  }
}

/// Namespaces and scopes may reach themselves: they are emptied one by one, which also keeps chains
/// off the stack.
Interp::~Interp() {
  for (const auto& space : spaces_) space->attributes = Dict();
  for (const auto& scope : kept_) scope->values.clear();
}

int Interp::name_of(std::string_view name) const {
  const auto at = std::find(program_.names.begin(), program_.names.end(), name);
  return at == program_.names.end() ? -1 : static_cast<int>(at - program_.names.begin());
}

void Interp::define(std::string_view name, const Value& value) {
  const int index = name_of(name);
  if (index >= 0) outermost_[static_cast<std::size_t>(index)] = {true, value};
}

Text Interp::run() {
  TextBuilder out(meter_);
  const Restore<TextBuilder*> output(out_, &out);
  run_block(program_.body);
  return out.take();
}

Interp::Flow Interp::run_block(const Block& block) {
  for (const auto& stmt : block) {
    const Flow flow = run_stmt(*stmt);
    if (flow != Flow::normal) return flow;
  }
  return Flow::normal;
}

Interp::Flow Interp::run_stmt(const Stmt& stmt) {
  meter_.step();
  line_ = stmt.line;
  switch (stmt.kind) {
    case StmtKind::text:
      out_->add(stmt.text.text());
      break;
    case StmtKind::output:
      print(eval(*stmt.exprs[0]), *out_, meter_);
      break;
    case StmtKind::set:
      run_set(stmt);
      break;
    case StmtKind::set_block:
      run_set_block(stmt);
      break;
    case StmtKind::branch:
      return run_branch(stmt);
    case StmtKind::loop:
      return run_loop(stmt, eval(*stmt.exprs[0]), 0);
    case StmtKind::macro:
      define_macro(stmt);
      break;
    case StmtKind::call:
      run_call_block(stmt);
      break;
    case StmtKind::filter:
      run_filter_block(stmt);
      break;
    case StmtKind::with:
      return run_with(stmt);
    case StmtKind::leave:
      return Flow::leave;
    case StmtKind::next:
      return Flow::next;
    case StmtKind::generation:
      run_generation(stmt);
      break;
  }
  return Flow::normal;
}

Interp::Flow Interp::run_branch(const Stmt& stmt) {
  for (std::size_t i = 0; i < stmt.exprs.size(); ++i)
    if (truth(eval(*stmt.exprs[i]))) return run_block(stmt.blocks[i]);
  return stmt.blocks.size() > stmt.exprs.size() ? run_block(stmt.blocks.back()) : Flow::normal;
}

Loop::Filter Interp::loop_filter(const Stmt& stmt) {
  if (!stmt.exprs[1]) return nullptr;
  return [this, &stmt, outer = scope_](const Value& item) {
    const Restore<std::shared_ptr<Scope>> scope(scope_, std::make_shared<Scope>(outer));
    assign(stmt.targets[0], item);
    return truth(eval(*stmt.exprs[1]));
  };
}

Interp::Flow Interp::run_loop(const Stmt& stmt, const Value& iterable, int depth) {
  const auto loop = std::make_shared<Loop>(iterable, loop_filter(stmt), meter_, depth);
  const CloseLoop closer{loop};
  const Value self = Value::object(Kind::loop, loop);
  loop->stmt = &stmt;
  loop->scope = scope_;
  const std::shared_ptr<Scope> outer = scope_;
  const Restore<std::shared_ptr<Scope>> scope(scope_, nullptr);
  bool went_through = false;  // Jinja runs `else` also after a first round that was left early
  while (loop->advance()) {
    if (scope_ && scope_.use_count() == 1)
      scope_->values.clear();
    else
      scope_ = std::make_shared<Scope>(outer);
    if (loop_name_ >= 0) scope_->values.emplace_back(loop_name_, self);
    assign(stmt.targets[0], loop->item());
    const Flow flow = run_block(stmt.blocks[0]);
    if (flow == Flow::leave) break;
    if (flow == Flow::normal) went_through = true;
  }
  if (went_through || stmt.blocks.size() < 2) return Flow::normal;
  scope_ = std::make_shared<Scope>(outer);
  return run_block(stmt.blocks[1]);
}

Interp::Flow Interp::run_with(const Stmt& stmt) {
  const auto scope = inner_scope();
  std::vector<Value> values = eval_all(stmt.exprs);  // in the outer scope
  const Restore<std::shared_ptr<Scope>> restore(scope_, scope);
  for (std::size_t i = 0; i < values.size(); ++i) assign(stmt.targets[i], values[i]);
  return run_block(stmt.blocks[0]);
}

/// What a block prints.
Text Interp::capture(const Block& block, std::shared_ptr<Scope> scope) {
  TextBuilder out(meter_);
  const Restore<TextBuilder*> output(out_, &out);
  const Restore<std::shared_ptr<Scope>> restore(scope_, std::move(scope));
  run_block(block);
  return out.take();
}

void Interp::run_set(const Stmt& stmt) { assign(stmt.targets[0], eval(*stmt.exprs[0])); }

void Interp::run_set_block(const Stmt& stmt) {
  captured_ = Value::string(capture(stmt.blocks[0], inner_scope()));
  assign(stmt.targets[0], eval(*stmt.exprs[0]));
}

void Interp::run_filter_block(const Stmt& stmt) {
  captured_ = Value::string(capture(stmt.blocks[0], inner_scope()));
  const Value filtered = eval(*stmt.exprs[0]);
  if (!filtered.is(Kind::string))
    stop("a filter block became a {}; it must stay a str", type_name(filtered));
  out_->add(filtered.text());
}

void Interp::run_generation(const Stmt& stmt) {
  const Restore<std::shared_ptr<Scope>> restore(scope_, inner_scope());
  run_block(stmt.blocks[0]);
}

Value Interp::make_macro(const Stmt& stmt, std::string name) {
  if (scope_ && (kept_.empty() || kept_.back() != scope_)) kept_.push_back(scope_);
  return Value::object(Kind::macro,
                       std::make_shared<Macro>(Macro{std::move(name), &stmt, scope_.get()}));
}

void Interp::define_macro(const Stmt& stmt) {
  const auto index = static_cast<std::size_t>(stmt.name);
  set_variable(stmt.name, make_macro(stmt, program_.names[index]));
}

void Interp::run_call_block(const Stmt& stmt) {
  const Expr& called = *stmt.exprs.back();
  const Value callee = eval(*called.parts[0]);
  Args args = eval_args(called.args);
  args.named.emplace_back("caller", make_macro(stmt, "caller"));
  print(call(callee, args), *out_, meter_);
}

void Interp::set_variable(int name, Value value) {
  if (!scope_) {
    outermost_[static_cast<std::size_t>(name)] = {true, std::move(value)};
    return;
  }
  for (auto& [known, old] : scope_->values) {
    if (known != name) continue;
    old = std::move(value);
    return;
  }
  scope_->values.emplace_back(name, std::move(value));
}

void Interp::assign(const Target& target, const Value& value) {
  if (!target.items.empty()) {
    const std::vector<Value> items = collect(value, meter_);
    if (items.size() != target.items.size())
      stop("{} values for {} variables", items.size(), target.items.size());
    for (std::size_t i = 0; i < items.size(); ++i) assign(target.items[i], items[i]);
    return;
  }
  if (target.attribute.empty()) return set_variable(target.name, value);
  const Value object = variable(target.name);
  if (!object.is(Kind::space))
    stop("'{}' is a {}; only attributes of a namespace can be set",
         program_.names[static_cast<std::size_t>(target.name)], type_name(object));
  object.space().attributes.set(Value::string(target.attribute), value);
}

Value Interp::make_space(Dict attributes) {
  spaces_.push_back(std::make_shared<Space>(Space{std::move(attributes)}));
  return Value::object(Kind::space, spaces_.back());
}

Value Interp::call(const Value& callee, const Args& args) {
  meter_.step();
  if (callee.is(Kind::function)) return callee.function().call(*this, callee.function().self, args);
  if (callee.is(Kind::macro)) return call_macro(callee.macro(), args);
  if (callee.is(Kind::loop)) return call_loop(callee, args);
  need_defined(callee);
  stop("a {} cannot be called", type_name(callee));
}

Value Interp::call_macro(const Macro& macro, const Args& args) {
  const Nested nested(*this);
  const int line = line_;
  const auto scope =
      std::make_shared<Scope>(macro.scope != nullptr ? macro.scope->shared_from_this() : nullptr);
  bind(macro, args, *scope);
  const Text text = capture(macro.stmt->blocks[0], scope);
  line_ = line;
  return Value::string(text);
}

void Interp::bind(const Macro& macro, const Args& args, Scope& scope) {
  const Stmt& stmt = *macro.stmt;
  const std::size_t count = stmt.parameters.size();
  const std::size_t defaults = stmt.exprs.size() - (stmt.kind == StmtKind::call ? 1 : 0);
  std::vector<bool> used(args.named.size(), false);
  const auto named = [&](std::string_view name) -> const Value* {
    for (std::size_t i = 0; i < args.named.size(); ++i) {
      if (used[i] || args.named[i].first != name) continue;
      used[i] = true;
      return &args.named[i].second;
    }
    return nullptr;
  };
  std::vector<std::size_t> missing;
  for (std::size_t i = 0; i < count; ++i) {
    const Value* given = i < args.list.size() ? &args.list[i] : named(stmt.parameter_names[i]);
    if (given != nullptr)
      scope.values.emplace_back(stmt.parameters[i], *given);
    else
      missing.push_back(i);
  }
  if (stmt.uses_caller) {
    const Value* given = named("caller");
    scope.values.emplace_back(
        caller_name_, given != nullptr
                          ? *given
                          : Value::undefined("the macro was not called by a {% call %} block"));
  }
  Dict rest;
  for (std::size_t i = 0; i < used.size(); ++i) {
    if (used[i]) continue;
    if (!stmt.uses_kwargs)
      stop("macro '{}' has no parameter '{}' left", macro.name, args.named[i].first);
    rest.set(Value::string(Text(args.named[i].first, args.names_from_user)), args.named[i].second);
  }
  if (stmt.uses_kwargs) scope.values.emplace_back(kwargs_name_, Value::dict(std::move(rest)));
  if (args.list.size() > count && !stmt.uses_varargs)
    stop("macro '{}' takes {} arguments, not {}", macro.name, count, args.list.size());
  if (stmt.uses_varargs) {
    const auto from =
        args.list.begin() + static_cast<std::ptrdiff_t>(std::min(count, args.list.size()));
    scope.values.emplace_back(varargs_name_, Value::tuple({from, args.list.end()}));
  }
  const Restore<std::shared_ptr<Scope>> restore(scope_, scope.shared_from_this());
  for (const std::size_t i : missing) {
    Value value =
        i + defaults >= count
            ? eval(*stmt.exprs[i + defaults - count])
            : Value::undefined(fmt::format("the parameter '{}' of macro '{}' was not given",
                                           stmt.parameter_names[i], macro.name));
    set_variable(stmt.parameters[i], std::move(value));
  }
}

/// loop(items): runs the body of a recursive loop again, one level deeper.
Value Interp::call_loop(const Value& callee, const Args& args) {
  Loop& loop = callee.loop();
  if (!loop.is_open() || !loop.stmt->recursive)
    stop("this loop is not recursive; write {{% for … recursive %}}");
  const Params params(args, "loop", {"iterable"}, 1);
  const Nested nested(*this);
  TextBuilder out(meter_);
  const Restore<TextBuilder*> output(out_, &out);
  const Restore<std::shared_ptr<Scope>> scope(scope_, loop.scope);
  run_loop(*loop.stmt, params.at(0), loop.depth() + 1);
  return Value::string(out.take());
}

}  // namespace stepless::jinja
