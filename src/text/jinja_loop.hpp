// The state of one running for loop, which templates see as `loop`. Items are drawn one by one;
// only asking for what lies ahead (last, nextitem, length) draws more, so that a loop's filter runs
// when Jinja runs it.
#pragma once
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "text/jinja_access.hpp"

namespace stepless::jinja {

class Loop {
 public:
  using Filter = std::function<bool(const Value&)>;
  Loop(const Value& iterable, Filter filter, Meter& meter, int depth);

  /// Moves to the next item; false at the end.
  bool advance();
  const Value& item() const { return current_; }
  int depth() const { return depth_; }
  std::int64_t index() const { return index_; }
  std::int64_t length();
  /// Ends it: what kept a value of this loop alive sees it no more.
  void close();
  bool is_open() const { return open_; }
  /// loop.changed(…)
  bool changed(std::vector<Value> values);
  /// An attribute of `self`, which is this loop; nothing when there is none.
  std::optional<Value> attribute(const Value& self, std::string_view name);

  // For recursion; set by the interpreter.
  const Stmt* stmt = nullptr;
  std::shared_ptr<Scope> scope;

 private:
  bool draw(Value& out);
  bool has_next();

  Cursor cursor_;
  Value iterable_;
  Filter filter_;
  Meter& meter_;
  int depth_;
  bool open_ = true;
  std::int64_t index_ = -1;
  std::optional<Value> before_;
  Value current_;
  std::deque<Value> ahead_;
  std::optional<std::int64_t> length_;
  std::optional<std::vector<Value>> seen_;
};

}  // namespace stepless::jinja
