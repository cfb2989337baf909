// The values of a template: Python's, as far as chat templates see them. A Value is cheap to copy;
// what it points to is immutable, except namespaces, iterators and cyclers, which belong to one
// rendering. `user` marks a value that came from the request, so that even a number or a key
// printed by a template is known not to be the template's own text.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "text/jinja_text.hpp"

namespace stepless::jinja {

using Int = __int128;  // Python's integers are unbounded; beyond 128 bits is an error

enum class Kind : std::uint8_t {
  undefined,
  none,
  boolean,
  integer,
  real,
  string,
  list,
  tuple,
  dict,
  range,
  view,
  iterator,
  space,
  macro,
  function,
  loop,
  cycler,
};

class Value;
class Interp;
struct List;
class Dict;
struct Range;
struct View;
struct Iterator;
struct Space;
struct Macro;
struct Function;
class Loop;
struct Cycler;

/// The arguments of a call.
struct Args {
  std::vector<Value> list;
  std::vector<std::pair<std::string, Value>> named;
  bool names_from_user = false;  // some came from the keys of a user's dict, by **
};
/// A method, filter, test or global; `self` is the object, the filtered or tested value.
using Native = Value (*)(Interp&, const Value& self, const Args&);

class Value {
 public:
  Value() = default;  // undefined, without a reason
  /// Undefined; using it otherwise than by printing or testing is an error with this reason.
  static Value undefined(std::string reason);
  static Value none() { return Value(Kind::none); }
  static Value boolean(bool value);
  static Value integer(Int value);
  static Value real(double value);
  static Value string(Text text);
  static Value string(std::string bytes) { return string(Text(std::move(bytes))); }
  /// Throws Failure when the items nest too deep.
  static Value list(std::vector<Value> items);
  static Value tuple(std::vector<Value> items);
  static Value iterator(std::vector<Value> items);
  static Value dict(Dict dict);
  template <class T>
  static Value object(Kind kind, std::shared_ptr<T> object) {
    Value out(kind);
    out.object_ = std::move(object);
    return out;
  }

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_number() const {
    return kind_ == Kind::boolean || kind_ == Kind::integer || kind_ == Kind::real;
  }
  bool is_integral() const { return kind_ == Kind::boolean || kind_ == Kind::integer; }
  bool is_items() const { return kind_ == Kind::list || kind_ == Kind::tuple; }
  bool user() const { return user_; }
  Value& mark_user(bool user = true) {
    user_ = user_ || user;
    return *this;
  }

  bool flag() const { return integer_ != 0; }
  Int integer() const { return integer_; }  // of a boolean: 0 or 1
  double real() const { return kind_ == Kind::real ? real_ : static_cast<double>(integer_); }
  const Text& text() const { return get<Text>(); }
  const std::string& bytes() const { return text().bytes(); }
  const List& list_object() const;
  const std::vector<Value>& items() const;  // of a list or tuple
  const Dict& dict() const { return get<Dict>(); }
  const Range& range() const { return get<Range>(); }
  const View& view() const { return get<View>(); }
  Iterator& iterator() const { return get_mutable<Iterator>(); }
  Space& space() const { return get_mutable<Space>(); }
  const Macro& macro() const { return get<Macro>(); }
  const Function& function() const { return get<Function>(); }
  Loop& loop() const { return get_mutable<Loop>(); }
  Cycler& cycler() const { return get_mutable<Cycler>(); }
  const void* identity() const { return object_.get(); }
  /// Why an undefined value is undefined.
  std::string reason() const;

 private:
  explicit Value(Kind kind) : kind_(kind) {}
  template <class T>
  const T& get() const {
    return *static_cast<const T*>(object_.get());
  }
  template <class T>
  T& get_mutable() const {
    return *static_cast<T*>(object_.get());
  }

  Kind kind_ = Kind::undefined;
  bool user_ = false;
  union {
    Int integer_ = 0;
    double real_;
  };
  std::shared_ptr<void> object_;
};

/// How deep containers may nest: a list of scalars is 1. Keeps printing, comparing and freeing off
/// the stack's end.
inline constexpr int kMaxNesting = 200;

struct List {
  std::vector<Value> items;
  int nesting = 1;
  bool is_group = false;  // a tuple of groupby, whose items are also .grouper and .list
};

/// Keys in order of insertion, as Python's.
class Dict {
 public:
  using Item = std::pair<Value, Value>;
  const std::vector<Item>& items() const { return items_; }
  std::int64_t size() const { return static_cast<std::int64_t>(items_.size()); }
  int nesting() const { return nesting_; }
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  /// A key that is there keeps its place. Throws Failure for a key that Python could not hash.
  void set(Value key, Value value);

 private:
  std::optional<std::size_t> index(const Value& key) const;

  std::vector<Item> items_;
  std::unordered_map<std::string, std::size_t> places_;  // by fingerprint; filled from 16 items on
  int nesting_ = 1;
};

struct Range {
  std::int64_t start, stop, step;
  std::int64_t size() const;
  std::int64_t at(std::int64_t i) const { return start + i * step; }
};

enum class ViewPart : std::uint8_t { keys, values, items };
struct View {
  Value source;  // a dict
  ViewPart part;
  Value at(std::size_t i) const;
};

/// What filters such as map and select return: may be walked once.
struct Iterator {
  std::vector<Value> items;
  int nesting = 1;
  std::size_t next = 0;
};

struct Space {
  Dict attributes;
};

struct Stmt;
struct Scope;
struct Macro {
  std::string name;
  const Stmt* stmt;
  Scope* scope;  // where it was defined; kept alive by the rendering
};

struct Function {
  std::string name;
  Value self;
  Native call = nullptr;
};

struct Cycler {
  std::vector<Value> items;
  int nesting = 1;
  std::size_t next = 0;
};

/// How deep a value nests; 0 for scalars.
int nesting_of(const Value& value);
/// bool(value) of Python.
bool truth(const Value& value);
/// "str", "int", "list", …: Python's name of the type, for messages.
std::string_view type_name(const Value& value);
/// a == b of Python.
bool equal(const Value& a, const Value& b);
/// a < b of Python. Throws Failure for types that have no order.
bool less(const Value& a, const Value& b);
/// Throws Failure when the value is undefined: the door of everything that needs a real value.
void need_defined(const Value& value);

/// A JSON value as json.loads would give it. Strings, keys and numbers below it are the user's if
/// `from_user`.
Value from_json(const OrderedJson& json, bool from_user, Meter& meter);

}  // namespace stepless::jinja
