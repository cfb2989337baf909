// A parsed template: a tree of statements and expressions, immutable and shared by all renderings.
// Chains (a + b + c, a ~ b, and, or, comparisons) are one flat node each, so that long ones need no
// deep stack.
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja_number.hpp"

namespace stepless::jinja {

enum class ExprKind : std::uint8_t {
  constant,
  name,
  list,
  tuple,
  dict,
  attribute,
  item,
  slice,
  call,
  filter,
  test,
  negate,
  positive,
  logical_not,
  logical_and,
  logical_or,
  compare,
  arithmetic,
  concat,
  condition,
  captured,  // the text that a filter block or a filtered set hands to its filters
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct CallArgs {
  std::vector<ExprPtr> list;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr star, star_star;
};

struct Expr {
  ExprKind kind;
  int line;
  int height = 1;        // of the tree below, this node included
  int name = -1;         // of a variable: its index in Program::names
  std::string text;      // the attribute, filter or test
  Value value;           // of a constant; of an attribute and item: the key
  bool negated = false;  // `is not`
  std::vector<ExprPtr>
      parts;  // dict: key, value, key, …; slice: object, start, stop, step (null = absent)
  std::vector<Op> ops;  // compare, arithmetic: the operator before parts[i + 1]
  CallArgs args;
  Native native = nullptr;  // the filter or test; null when there is none of that name
};

struct Stmt;
using Block = std::vector<std::unique_ptr<Stmt>>;

/// What is assigned to: a variable, ns.attribute, or a tuple of targets.
struct Target {
  int name = -1;
  std::string attribute;
  std::vector<Target> items;
};

enum class StmtKind : std::uint8_t {
  text,
  output,
  set,
  set_block,
  branch,
  loop,
  macro,
  call,
  filter,
  with,
  leave,
  next,
  generation,
};

struct Stmt {
  StmtKind kind;
  int line;
  Value text;  // of a text
  std::vector<ExprPtr>
      exprs;  // output: value; branch: conditions; loop: iterable, filter or null; with: values;
              // macro, call: defaults of the last parameters; call: then the call itself
  std::vector<Target> targets;  // set, loop: one; with: one per value
  std::vector<Block> blocks;    // branch: one per condition, then else; loop: body, else
  int name = -1;                // macro: its own
  std::vector<int> parameters;  // macro, call
  std::vector<std::string> parameter_names;
  bool recursive = false;                                               // loop
  bool uses_caller = false, uses_kwargs = false, uses_varargs = false;  // macro, call
};

struct Program {
  Block body;
  std::vector<std::string> names;  // of variables, by index
};

/// Throws SyntaxError; Failure (exhausted) when nested too deep.
Program parse(std::string_view source, const TemplateLimits& limits);

/// The filter or test of a name; null when there is none.
Native find_filter(std::string_view name);
Native find_test(std::string_view name);

}  // namespace stepless::jinja
