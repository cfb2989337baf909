// The arithmetic operators on any two values, and the parameters of a call.
#include <algorithm>

#include "text/jinja_format.hpp"
#include "text/jinja_interp.hpp"
#include "text/jinja_print.hpp"

namespace stepless::jinja {
namespace {

constexpr std::int64_t kStepsPerItem =
    4;  // a list that doubles in a loop must not fill the memory first

std::string_view sign_of(Op op) {
  switch (op) {
    case Op::add:
      return "+";
    case Op::subtract:
      return "-";
    case Op::multiply:
      return "*";
    case Op::divide:
      return "/";
    case Op::floor_divide:
      return "//";
    case Op::modulo:
      return "%";
    case Op::power:
      return "**";
    case Op::equal:
    case Op::not_equal:
    case Op::less:
    case Op::less_equal:
    case Op::greater:
    case Op::greater_equal:
    case Op::in:
    case Op::not_in:
      break;
  }
  return "?";
}

/// Markup escapes what is added to it.
Value add_texts(Interp& interp, const Text& a, const Text& b) {
  const bool markup = a.is_markup() || b.is_markup();
  TextBuilder out(interp.meter());
  out.add(markup ? to_markup(a, interp.meter()) : a);
  out.add(markup ? to_markup(b, interp.meter()) : b);
  Text text = out.take();
  text.set_markup(markup);
  return Value::string(std::move(text));
}

Value repeat(Interp& interp, const Value& value, Int times) {
  const Int count = std::max<Int>(times, 0);
  if (value.is(Kind::string)) {
    TextBuilder out(interp.meter());
    for (Int i = 0; value.text().size() > 0 && i < count; ++i) out.add(value.text());
    Text text = out.take();
    text.set_markup(value.text().is_markup());
    return Value::string(std::move(text));
  }
  std::vector<Value> items;
  for (Int i = 0; i < count && !value.items().empty(); ++i) {
    interp.meter().step(kStepsPerItem * std::ssize(value.items()));
    items.insert(items.end(), value.items().begin(), value.items().end());
  }
  return value.is(Kind::list) ? Value::list(std::move(items)) : Value::tuple(std::move(items));
}

Value join_items(Interp& interp, const Value& a, const Value& b) {
  std::vector<Value> items = a.items();
  items.insert(items.end(), b.items().begin(), b.items().end());
  interp.meter().step(kStepsPerItem * std::ssize(items));
  return a.is(Kind::list) ? Value::list(std::move(items)) : Value::tuple(std::move(items));
}

}  // namespace

Value binary(Interp& interp, Op op, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return compute(op, a, b);
  if (op == Op::modulo && a.is(Kind::string))
    return Value::string(format_percent(interp, a.text(), b));
  need_defined(a);
  need_defined(b);
  if (op == Op::add) {
    if (a.is(Kind::string) && b.is(Kind::string)) return add_texts(interp, a.text(), b.text());
    if (a.is_items() && a.kind() == b.kind()) return join_items(interp, a, b);
  }
  if (op == Op::multiply) {
    const auto repeats = [](const Value& v) { return v.is(Kind::string) || v.is_items(); };
    if (repeats(a) && b.is_integral()) return repeat(interp, a, b.integer());
    if (repeats(b) && a.is_integral()) return repeat(interp, b, a.integer());
  }
  stop("{} {} {} is not possible", type_name(a), sign_of(op), type_name(b));
}

Params::Params(const Args& args, std::string_view function,
               std::initializer_list<std::string_view> names, std::size_t required)
    : function_(function), names_(names), values_(names.size(), nullptr) {
  if (args.list.size() > names.size())
    stop("{} takes {} arguments, not {}", function, names.size(), args.list.size());
  for (std::size_t i = 0; i < args.list.size(); ++i) values_[i] = &args.list[i];
  for (const auto& [name, value] : args.named) {
    const auto at = std::find(names_.begin(), names_.end(), name);
    if (at == names_.end()) stop("{} has no argument '{}'", function, name);
    const Value*& place = values_[static_cast<std::size_t>(at - names_.begin())];
    if (place != nullptr) stop("{} was given '{}' twice", function, name);
    place = &value;
  }
  for (std::size_t i = 0; i < required; ++i)
    if (values_[i] == nullptr) stop("{} needs the argument '{}'", function, names_[i]);
}

bool Params::flag(std::size_t i, bool absent) const { return has(i) ? truth(at(i)) : absent; }

std::int64_t Params::integer(std::size_t i, std::int64_t absent) const {
  if (!has(i)) return absent;
  need_defined(at(i));
  if (!at(i).is_integral())
    stop("{}: '{}' is a {}; an int is possible", function_, names_[i], type_name(at(i)));
  return static_cast<std::int64_t>(std::clamp<Int>(at(i).integer(), INT64_MIN / 4, INT64_MAX / 4));
}

std::string Params::string(std::size_t i, std::string_view absent) const {
  if (!has(i) || at(i).is(Kind::none)) return std::string(absent);
  need_defined(at(i));
  if (!at(i).is(Kind::string))
    stop("{}: '{}' is a {}; a str is possible", function_, names_[i], type_name(at(i)));
  return at(i).bytes();
}

}  // namespace stepless::jinja
