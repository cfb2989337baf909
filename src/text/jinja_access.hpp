// Reading values apart: attributes, items, slices, membership and iteration, with Jinja's rule that
// an attribute may also be a key and a key an attribute, and the sandbox's that nothing can be
// changed and no internals are reachable.
#pragma once
#include <optional>
#include <vector>

#include "text/jinja_value.hpp"

namespace stepless::jinja {

/// object.name
Value get_attribute(const Value& object, const std::string& name);
/// object[key]
Value get_item(const Value& object, const Value& key, Meter& meter);
/// object[start:stop:step]; a null or none bound is absent.
Value get_slice(const Value& object, const Value* start, const Value* stop, const Value* step,
                Meter& meter);
/// item in container
bool contains(const Value& container, const Value& item, Meter& meter);
/// len(value); nothing when it has none.
std::optional<std::int64_t> length_of(const Value& value);
bool is_iterable(const Value& value);
/// list(value)
std::vector<Value> collect(const Value& value, Meter& meter);
/// A bound method of the type, or undefined when the type has none of that name or the sandbox
/// forbids it.
std::optional<Value> find_method(const Value& object, std::string_view name);
/// `index` as Python takes it, with negative ones from the end; nothing when out of range.
std::optional<std::int64_t> wrap_index(Int index, std::int64_t size);

/// Walks the items of a value. An iterator it walks is used up.
class Cursor {
 public:
  Cursor() = default;
  /// Throws Failure when the value cannot be walked.
  explicit Cursor(Value source);
  bool next(Value& out);

 private:
  Value source_ = Value::none();
  std::int64_t at_ = 0;  // a byte offset in strings
};

/// The methods of strings, for find_method().
Native find_string_method(std::string_view name);

}  // namespace stepless::jinja
