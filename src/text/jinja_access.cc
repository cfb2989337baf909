#include "text/jinja_access.hpp"

#include <algorithm>

#include "text/jinja_ast.hpp"
#include "text/jinja_loop.hpp"
#include "text/jinja_unicode.hpp"

namespace stepless::jinja {
namespace {

Value no_attribute(const Value& object, std::string_view name) {
  return Value::undefined(fmt::format("the {} has no '{}'", type_name(object), name));
}

Value macro_attribute(const Value& object, const std::string& name) {
  const Macro& macro = object.macro();
  if (name == "name") return Value::string(macro.name);
  if (name == "catch_kwargs") return Value::boolean(macro.stmt->uses_kwargs);
  if (name == "catch_varargs") return Value::boolean(macro.stmt->uses_varargs);
  if (name == "caller") return Value::boolean(macro.stmt->uses_caller);
  if (name != "arguments") return no_attribute(object, name);
  std::vector<Value> names;
  for (const std::string& parameter : macro.stmt->parameter_names)
    names.push_back(Value::string(parameter));
  return Value::tuple(std::move(names));
}

/// What getattr() of Python finds, or nothing.
std::optional<Value> own_attribute(const Value& object, const std::string& name) {
  if (object.is(Kind::space)) {
    const Value* found = object.space().attributes.find(name);
    if (found != nullptr) return *found;
  }
  if (name.starts_with("__"))
    return Value::undefined(fmt::format("'{}' is internal; templates cannot reach it", name));
  if (object.is(Kind::loop)) return object.loop().attribute(object, name);
  if (object.is(Kind::macro)) return macro_attribute(object, name);
  if (object.is(Kind::tuple) && object.list_object().is_group) {
    if (name == "grouper") return object.items()[0];
    if (name == "list") return object.items()[1];
  }
  if (object.is(Kind::range)) {
    const Range& range = object.range();
    if (name == "start") return Value::integer(range.start);
    if (name == "stop") return Value::integer(range.stop);
    if (name == "step") return Value::integer(range.step);
  }
  if (object.is(Kind::cycler) && name == "current")
    return object.cycler().items[object.cycler().next];
  return find_method(object, name);
}

std::optional<Value> indexed(const Value& object, const Value& key, Meter& meter) {
  if (!key.is_integral()) return std::nullopt;
  const auto size = length_of(object);
  if (!size) return std::nullopt;
  const auto index =
      wrap_index(key.integer(), object.is(Kind::string) ? object.text().chars() : *size);
  if (!index) return std::nullopt;
  if (object.is_items()) return object.items()[static_cast<std::size_t>(*index)];
  if (object.is(Kind::range)) return Value::integer(object.range().at(*index));
  if (!object.is(Kind::string)) return std::nullopt;
  if (!object.text().is_ascii()) meter.step(object.text().size() / 512);
  const std::int64_t begin = object.text().offset(*index);
  return Value::string(object.text().slice(begin, offset_of_char(object.bytes(), 1, begin)));
}

std::optional<Int> bound(const Value* value) {
  if (value == nullptr || value->is(Kind::none)) return std::nullopt;
  need_defined(*value);
  if (!value->is_integral())
    stop("a bound of a slice is a {}; an int is possible", type_name(*value));
  return value->integer();
}

/// The indices start, start + step, …, `count` of them, that Python's slice takes from `size`
/// items.
struct Picked {
  std::int64_t start, step, count;
};

Picked pick(std::int64_t size, const Value* start, const Value* stop_at, const Value* step) {
  const Int by = bound(step).value_or(1);
  if (by == 0) stop("the step of a slice is 0");
  const Int lowest = by > 0 ? 0 : -1;
  const Int highest = by > 0 ? size : size - 1;
  const auto place = [&](const Value* value, Int absent) {
    const auto given = bound(value);
    if (!given) return absent;
    return std::clamp(*given < 0 ? *given + size : *given, lowest, highest);
  };
  const Int from = place(start, by > 0 ? lowest : highest);
  const Int to = place(stop_at, by > 0 ? highest : lowest);
  const Int limited = std::clamp<Int>(by, -(Int{size} + 1), Int{size} + 1);
  Int count = 0;
  if (by > 0 && from < to) count = (to - from - 1) / limited + 1;
  if (by < 0 && from > to) count = (from - to - 1) / -limited + 1;
  return {static_cast<std::int64_t>(from), static_cast<std::int64_t>(limited),
          static_cast<std::int64_t>(count)};
}

Value slice_text(const Text& text, const Picked& picked, Meter& meter) {
  TextBuilder out(meter);
  if (picked.step == 1 || picked.count == 0) {
    const std::int64_t begin = picked.count == 0 ? 0 : text.offset(picked.start);
    const std::int64_t end =
        picked.count == 0 ? 0 : offset_of_char(text.bytes(), picked.count, begin);
    out.add_slice(text, begin, end);
  } else {
    std::vector<std::int64_t>
        offsets;  // of every character, unless they are the indices themselves
    if (!text.is_ascii()) {
      for (std::size_t pos = 0; pos < text.bytes().size(); next_char(text.bytes(), pos))
        offsets.push_back(static_cast<std::int64_t>(pos));
      offsets.push_back(text.size());
    }
    for (std::int64_t i = 0; i < picked.count; ++i) {
      const std::int64_t at = picked.start + i * picked.step;
      const auto index = static_cast<std::size_t>(at);
      const bool ascii = offsets.empty();
      out.add_slice(text, ascii ? at : offsets[index], ascii ? at + 1 : offsets[index + 1]);
    }
  }
  Text result = out.take();
  result.set_markup(text.is_markup());
  return Value::string(std::move(result));
}

}  // namespace

std::optional<std::int64_t> wrap_index(Int index, std::int64_t size) {
  if (index < 0) index += size;
  if (index < 0 || index >= size) return std::nullopt;
  return static_cast<std::int64_t>(index);
}

Value get_attribute(const Value& object, const std::string& name) {
  need_defined(object);
  if (auto own = own_attribute(object, name)) return *std::move(own);
  if (object.is(Kind::dict)) {
    const Value* item = object.dict().find(name);
    if (item != nullptr) return *item;
  }
  return no_attribute(object, name);
}

Value get_item(const Value& object, const Value& key, Meter& meter) {
  need_defined(object);
  if (object.is(Kind::dict)) {
    const bool hashable = !key.is(Kind::list) && !key.is(Kind::dict) && !key.is(Kind::view);
    const Value* item = hashable ? object.dict().find(key) : nullptr;
    if (item != nullptr) return *item;
  } else if (auto item = indexed(object, key, meter)) {
    return *std::move(item);
  }
  if (key.is(Kind::string)) {
    if (auto own = own_attribute(object, key.bytes())) return *std::move(own);
    return no_attribute(object, key.bytes());
  }
  if (key.is_integral())
    return Value::undefined(
        fmt::format("the {} has no item {}", type_name(object), format_int(key.integer())));
  return Value::undefined(
      fmt::format("the {} has no item that a {} could name", type_name(object), type_name(key)));
}

Value get_slice(const Value& object, const Value* start, const Value* stop_at, const Value* step,
                Meter& meter) {
  need_defined(object);
  if (object.is(Kind::string))
    return slice_text(object.text(), pick(object.text().chars(), start, stop_at, step), meter);
  if (object.is(Kind::range)) {
    const Range& range = object.range();
    const Picked picked = pick(range.size(), start, stop_at, step);
    const std::int64_t first = range.at(picked.start);
    const std::int64_t by = range.step * picked.step;
    return Value::object(Kind::range,
                         std::make_shared<Range>(Range{first, first + by * picked.count, by}));
  }
  if (!object.is_items()) stop("a {} cannot be sliced", type_name(object));
  const Picked picked =
      pick(static_cast<std::int64_t>(object.items().size()), start, stop_at, step);
  meter.step(picked.count);
  std::vector<Value> items;
  items.reserve(static_cast<std::size_t>(picked.count));
  for (std::int64_t i = 0; i < picked.count; ++i)
    items.push_back(object.items()[static_cast<std::size_t>(picked.start + i * picked.step)]);
  return object.is(Kind::list) ? Value::list(std::move(items)) : Value::tuple(std::move(items));
}

bool contains(const Value& container, const Value& item, Meter& meter) {
  if (container.is(Kind::string)) {
    need_defined(item);
    if (!item.is(Kind::string)) stop("'in' of a str needs a str, not a {}", type_name(item));
    meter.step(container.text().size() / 64);
    return container.bytes().find(item.bytes()) != std::string::npos;
  }
  if (container.is(Kind::dict)) return container.dict().find(item) != nullptr;
  if (container.is(Kind::view) && container.view().part == ViewPart::keys)
    return container.view().source.dict().find(item) != nullptr;
  Cursor cursor(container);
  Value candidate;
  while (cursor.next(candidate)) {
    meter.step();
    if (equal(candidate, item)) return true;
  }
  return false;
}

std::optional<std::int64_t> length_of(const Value& value) {
  if (value.is(Kind::undefined)) return 0;
  if (value.is(Kind::string)) return value.text().chars();
  if (value.is_items()) return static_cast<std::int64_t>(value.items().size());
  if (value.is(Kind::dict)) return value.dict().size();
  if (value.is(Kind::range)) return value.range().size();
  if (value.is(Kind::view)) return value.view().source.dict().size();
  if (value.is(Kind::loop)) return value.loop().length();
  return std::nullopt;
}

bool is_iterable(const Value& value) {
  return value.is(Kind::undefined) || value.is(Kind::string) || value.is_items() ||
         value.is(Kind::dict) || value.is(Kind::range) || value.is(Kind::view) ||
         value.is(Kind::iterator);
}

std::vector<Value> collect(const Value& value, Meter& meter) {
  if (value.is_items()) {
    meter.step(static_cast<std::int64_t>(value.items().size()));
    return value.items();
  }
  std::vector<Value> out;
  Cursor cursor(value);
  Value item;
  while (cursor.next(item)) {
    meter.step();
    out.push_back(item);
  }
  return out;
}

Cursor::Cursor(Value source) : source_(std::move(source)) {
  if (!is_iterable(source_)) stop("a {} cannot be walked by a loop or filter", type_name(source_));
}

bool Cursor::next(Value& out) {
  const auto index = static_cast<std::size_t>(at_);
  if (source_.is(Kind::string)) {
    if (at_ >= source_.text().size()) return false;
    const std::int64_t end = offset_of_char(source_.bytes(), 1, at_);
    Text character = source_.text().slice(at_, end);
    character.set_markup(false);
    out = Value::string(std::move(character));
    at_ = end;
    return true;
  }
  if (source_.is(Kind::iterator)) {
    Iterator& iterator = source_.iterator();
    if (iterator.next >= iterator.items.size()) return false;
    out = iterator.items[iterator.next++];
    return true;
  }
  if (source_.is(Kind::none) || at_ >= length_of(source_).value_or(0)) return false;
  if (source_.is_items())
    out = source_.items()[index];
  else if (source_.is(Kind::dict))
    out = source_.dict().items()[index].first;
  else if (source_.is(Kind::range))
    out = Value::integer(source_.range().at(at_));
  else
    out = source_.view().at(index);
  ++at_;
  return true;
}

}  // namespace stepless::jinja
