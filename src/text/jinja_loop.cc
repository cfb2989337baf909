#include "text/jinja_loop.hpp"

#include <utility>

#include "text/jinja_interp.hpp"

namespace stepless::jinja {
namespace {

Value call_cycle(Interp&, const Value& self, const Args& args) {
  if (args.list.empty()) stop("loop.cycle() has nothing to cycle through");
  return args.list[static_cast<std::size_t>(self.loop().index()) % args.list.size()];
}

Value call_changed(Interp&, const Value& self, const Args& args) {
  return Value::boolean(self.loop().changed(args.list));
}

}  // namespace

Loop::Loop(const Value& iterable, Filter filter, Meter& meter, int depth)
    : cursor_(iterable),
      iterable_(iterable),
      filter_(std::move(filter)),
      meter_(meter),
      depth_(depth) {}

bool Loop::draw(Value& out) {
  while (cursor_.next(out)) {
    meter_.step();
    if (!filter_ || filter_(out)) return true;
  }
  return false;
}

bool Loop::has_next() {
  if (!ahead_.empty()) return true;
  Value item;
  if (!draw(item)) return false;
  ahead_.push_back(std::move(item));
  return true;
}

bool Loop::advance() {
  Value item;
  if (!ahead_.empty()) {
    item = std::move(ahead_.front());
    ahead_.pop_front();
  } else if (!draw(item)) {
    return false;
  }
  if (index_ >= 0) before_ = std::move(current_);
  current_ = std::move(item);
  ++index_;
  return true;
}

std::int64_t Loop::length() {
  if (length_) return *length_;
  if (!filter_ && !iterable_.is(Kind::iterator)) {
    length_ = length_of(iterable_).value_or(0);
  } else {
    Value item;
    while (draw(item)) ahead_.push_back(item);
    length_ = index_ + 1 + std::ssize(ahead_);
  }
  return *length_;
}

void Loop::close() {
  open_ = false;
  length_ = length_.value_or(index_ + 1);
  cursor_ = Cursor();
  iterable_ = Value();
  filter_ = nullptr;
  before_.reset();
  current_ = Value();
  ahead_.clear();
  seen_.reset();
  scope.reset();
}

bool Loop::changed(std::vector<Value> values) {
  const bool same = seen_ && seen_->size() == values.size() &&
                    std::equal(values.begin(), values.end(), seen_->begin(), equal);
  if (!same) seen_ = std::move(values);
  return !same;
}

std::optional<Value> Loop::attribute(const Value& self, std::string_view name) {
  if (name == "index") return Value::integer(index_ + 1);
  if (name == "index0") return Value::integer(index_);
  if (name == "first") return Value::boolean(index_ == 0);
  if (name == "last") return Value::boolean(!has_next());
  if (name == "length") return Value::integer(length());
  if (name == "revindex") return Value::integer(length() - index_);
  if (name == "revindex0") return Value::integer(length() - index_ - 1);
  if (name == "depth") return Value::integer(depth_ + 1);
  if (name == "depth0") return Value::integer(depth_);
  if (name == "previtem") return before_ ? *before_ : Value::undefined("there is no previous item");
  if (name == "nextitem")
    return has_next() ? ahead_.front() : Value::undefined("there is no next item");
  if (name == "cycle" || name == "changed") {
    Function function{std::string(name), self, name == "cycle" ? call_cycle : call_changed};
    return Value::object(Kind::function, std::make_shared<Function>(std::move(function)));
  }
  return std::nullopt;
}

}  // namespace stepless::jinja
