#include "text/jinja_value.hpp"

#include <algorithm>
#include <cmath>

#include "text/jinja_unicode.hpp"

namespace stepless::jinja {
namespace {

[[noreturn]] void too_deep() {
  throw Failure(ErrorCode::exhausted,
                fmt::format("lists and dicts nested deeper than {}", kMaxNesting));
}

int nesting_of_all(const std::vector<Value>& items) {
  int deepest = 0;
  for (const Value& item : items) deepest = std::max(deepest, nesting_of(item));
  if (deepest >= kMaxNesting) too_deep();
  return deepest + 1;
}

std::shared_ptr<List> make_list(std::vector<Value> items) {
  auto list = std::make_shared<List>();
  list->nesting = nesting_of_all(items);
  list->items = std::move(items);
  return list;
}

}  // namespace

Value Value::undefined(std::string reason) {
  Value out;
  out.object_ = std::make_shared<std::string>(std::move(reason));
  return out;
}

Value Value::boolean(bool value) {
  Value out(Kind::boolean);
  out.integer_ = value ? 1 : 0;
  return out;
}

Value Value::integer(Int value) {
  Value out(Kind::integer);
  out.integer_ = value;
  return out;
}

Value Value::real(double value) {
  Value out(Kind::real);
  out.real_ = value;
  return out;
}

Value Value::string(Text text) {
  return object(Kind::string, std::make_shared<Text>(std::move(text)));
}
Value Value::list(std::vector<Value> items) {
  return object(Kind::list, make_list(std::move(items)));
}
Value Value::tuple(std::vector<Value> items) {
  return object(Kind::tuple, make_list(std::move(items)));
}

Value Value::iterator(std::vector<Value> items) {
  const int nesting = nesting_of_all(items);
  return object(Kind::iterator, std::make_shared<Iterator>(Iterator{std::move(items), nesting}));
}

Value Value::dict(Dict dict) { return object(Kind::dict, std::make_shared<Dict>(std::move(dict))); }

const List& Value::list_object() const { return get<List>(); }
const std::vector<Value>& Value::items() const { return get<List>().items; }

std::string Value::reason() const {
  return object_ ? *static_cast<const std::string*>(object_.get()) : "the value is undefined";
}

namespace {

constexpr std::size_t kIndexedFrom = 16;

/// Equal keys, and only they, have equal fingerprints: 1, 1.0 and true are one key.
std::string fingerprint(const Value& key) {
  if (key.is(Kind::string)) return "s" + key.bytes();
  if (key.is_integral()) return fmt::format("i{:x}", static_cast<unsigned __int128>(key.integer()));
  if (key.is(Kind::real)) {
    const double x = key.real();
    const bool whole = std::fabs(x) < 1e18 && x == std::floor(x);
    return whole ? fingerprint(Value::integer(static_cast<Int>(x))) : fmt::format("r{}", x);
  }
  if (key.is(Kind::tuple)) {
    std::string all = "t";
    for (const Value& item : key.items()) {
      const std::string one = fingerprint(item);
      all += fmt::format("{}:{}", one.size(), one);
    }
    return all;
  }
  return fmt::format("o{}:{}", static_cast<int>(key.kind()),
                     key.is(Kind::undefined) ? nullptr : key.identity());
}

bool is_hashable(const Value& key) {
  if (key.is(Kind::tuple)) return std::all_of(key.items().begin(), key.items().end(), is_hashable);
  return !key.is(Kind::list) && !key.is(Kind::dict) && !key.is(Kind::view);
}

}  // namespace

std::optional<std::size_t> Dict::index(const Value& key) const {
  if (!places_.empty()) {
    const auto at = places_.find(fingerprint(key));
    return at == places_.end() ? std::nullopt : std::optional(at->second);
  }
  for (std::size_t i = 0; i < items_.size(); ++i)
    if (equal(items_[i].first, key)) return i;
  return std::nullopt;
}

const Value* Dict::find(std::string_view key) const {
  if (!places_.empty()) {
    const auto at = places_.find("s" + std::string(key));
    return at == places_.end() ? nullptr : &items_[at->second].second;
  }
  for (const Item& item : items_)
    if (item.first.is(Kind::string) && item.first.bytes() == key) return &item.second;
  return nullptr;
}

const Value* Dict::find(const Value& key) const {
  if (!is_hashable(key)) stop("a {} cannot be a key of a dict", type_name(key));
  const auto at = index(key);
  return at ? &items_[*at].second : nullptr;
}

void Dict::set(Value key, Value value) {
  if (!is_hashable(key)) stop("a {} cannot be a key of a dict", type_name(key));
  nesting_ = std::max({nesting_, nesting_of(key) + 1, nesting_of(value) + 1});
  if (nesting_ > kMaxNesting) too_deep();
  if (const auto at = index(key)) {
    items_[*at].second = std::move(value);
    return;
  }
  if (!places_.empty()) places_.emplace(fingerprint(key), items_.size());
  items_.emplace_back(std::move(key), std::move(value));
  if (items_.size() == kIndexedFrom)
    for (std::size_t i = 0; i < items_.size(); ++i)
      places_.emplace(fingerprint(items_[i].first), i);
}

std::int64_t Range::size() const {
  if (step > 0) return start < stop ? (stop - start - 1) / step + 1 : 0;
  return start > stop ? (start - stop - 1) / -step + 1 : 0;
}

Value View::at(std::size_t i) const {
  const Dict::Item& item = source.dict().items()[i];
  if (part == ViewPart::keys) return item.first;
  return part == ViewPart::values ? item.second : Value::tuple({item.first, item.second});
}

int nesting_of(const Value& value) {
  if (value.is_items()) return value.list_object().nesting;
  if (value.is(Kind::dict)) return value.dict().nesting();
  if (value.is(Kind::view)) return value.view().source.dict().nesting() + 1;
  if (value.is(Kind::iterator)) return value.iterator().nesting;
  if (value.is(Kind::function)) return nesting_of(value.function().self) + 1;
  if (value.is(Kind::cycler)) return value.cycler().nesting;
  return 0;
}

bool truth(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
    case Kind::none:
      return false;
    case Kind::boolean:
    case Kind::integer:
      return value.flag();
    case Kind::real:
      return value.real() != 0;
    case Kind::string:
      return value.text().size() > 0;
    case Kind::list:
    case Kind::tuple:
      return !value.items().empty();
    case Kind::dict:
      return value.dict().size() > 0;
    case Kind::range:
      return value.range().size() > 0;
    case Kind::view:
      return value.view().source.dict().size() > 0;
    case Kind::iterator:
    case Kind::space:
    case Kind::macro:
    case Kind::function:
    case Kind::loop:
    case Kind::cycler:
      return true;
  }
  return true;
}

std::string_view type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
      return "undefined value";
    case Kind::none:
      return "none";
    case Kind::boolean:
      return "bool";
    case Kind::integer:
      return "int";
    case Kind::real:
      return "float";
    case Kind::string:
      return "str";
    case Kind::list:
      return "list";
    case Kind::tuple:
      return "tuple";
    case Kind::dict:
      return "dict";
    case Kind::range:
      return "range";
    case Kind::view:
      return "view of a dict";
    case Kind::iterator:
      return "generator";
    case Kind::space:
      return "namespace";
    case Kind::macro:
      return "macro";
    case Kind::function:
      return "function";
    case Kind::loop:
      return "loop";
    case Kind::cycler:
      return "cycler";
  }
  return "value";
}

void need_defined(const Value& value) {
  if (value.is(Kind::undefined)) stop("{}", value.reason());
}

}  // namespace stepless::jinja
