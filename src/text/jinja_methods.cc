// Methods of containers, and the functions that every template sees.
#include <algorithm>
#include <array>

#include "text/jinja_filters.hpp"
#include "text/jinja_format.hpp"
#include "text/jinja_print.hpp"

namespace stepless::jinja {
namespace {

template <ViewPart part>
Value view_method(Interp&, const Value& self, const Args& args) {
  const Params params(args, "this method of a dict", {});
  return Value::object(Kind::view, std::make_shared<View>(View{self, part}));
}

Value get_method(Interp&, const Value& self, const Args& args) {
  const Params params(args, "get", {"key", "default"}, 1);
  const Value* found = self.dict().find(params.at(0));
  if (found != nullptr) return *found;
  return params.has(1) ? params.at(1) : Value::none();
}

Value copy_method(Interp&, const Value& self, const Args&) { return self; }

Value count_method(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "count", {"value"}, 1);
  interp.meter().step(std::ssize(self.items()));
  return Value::integer(
      std::count_if(self.items().begin(), self.items().end(),
                    [&](const Value& item) { return equal(item, params.at(0)); }));
}

Value index_method(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "index", {"value"}, 1);
  interp.meter().step(std::ssize(self.items()));
  const auto at = std::find_if(self.items().begin(), self.items().end(),
                               [&](const Value& item) { return equal(item, params.at(0)); });
  if (at == self.items().end()) stop("index: the value is not in the {}", type_name(self));
  return Value::integer(at - self.items().begin());
}

Value next_method(Interp&, const Value& self, const Args&) {
  Cycler& cycler = self.cycler();
  const std::size_t now = cycler.next;
  cycler.next = (now + 1) % cycler.items.size();
  return cycler.items[now];
}

Value reset_method(Interp&, const Value& self, const Args&) {
  self.cycler().next = 0;
  return Value::none();
}

constexpr std::array kDictMethods = {
    NativeRow{"get", get_method},
    NativeRow{"keys", view_method<ViewPart::keys>},
    NativeRow{"values", view_method<ViewPart::values>},
    NativeRow{"items", view_method<ViewPart::items>},
    NativeRow{"copy", copy_method},
};
constexpr std::array kItemsMethods = {NativeRow{"count", count_method},
                                      NativeRow{"index", index_method},
                                      NativeRow{"copy", copy_method}};
constexpr std::array kCyclerMethods = {NativeRow{"next", next_method},
                                       NativeRow{"reset", reset_method}};

constexpr std::array<std::string_view, 6> kDictChanges = {"clear",   "fromkeys",   "pop",
                                                          "popitem", "setdefault", "update"};
constexpr std::array<std::string_view, 8> kListChanges = {"append", "clear",  "extend",  "insert",
                                                          "pop",    "remove", "reverse", "sort"};

Native native_method(const Value& object, std::string_view name) {
  if (object.is(Kind::string)) return find_string_method(name);
  if (object.is(Kind::dict)) return find_row(kDictMethods, name);
  if (object.is(Kind::list)) return find_row(kItemsMethods, name);
  if (object.is(Kind::tuple) && name != "copy") return find_row(kItemsMethods, name);
  if (object.is(Kind::cycler)) return find_row(kCyclerMethods, name);
  return nullptr;
}

Value range_function(Interp&, const Value&, const Args& args) {
  const Params params(args, "range", {"start", "stop", "step"}, 1);
  Range range{params.integer(0, 0), params.integer(1, 0), params.integer(2, 1)};
  if (!params.has(1)) range = {0, range.start, 1};
  if (range.step == 0) stop("range: the step is 0");
  constexpr std::int64_t kMost = 100'000;  // Jinja's sandbox has this limit
  if (range.size() > kMost) stop("range of {} items; at most {} are possible", range.size(), kMost);
  return Value::object(Kind::range, std::make_shared<Range>(range));
}

/// dict(pairs or dict, name=value, …), also what namespace() starts from.
Dict make_dict(Interp& interp, const Args& args, std::string_view function) {
  if (args.list.size() > 1) stop("{} takes at most one argument without a name", function);
  Dict out;
  if (!args.list.empty()) {
    const Value& from = args.list[0];
    need_defined(from);
    if (from.is(Kind::dict)) {
      out = from.dict();
      interp.meter().step(out.size());
    } else {
      for (const Value& pair : collect(from, interp.meter())) {
        const std::vector<Value> two = collect(pair, interp.meter());
        if (two.size() != 2) stop("{}: an item of {} values is not a pair", function, two.size());
        out.set(two[0], two[1]);
      }
    }
  }
  for (const auto& [name, value] : args.named)
    out.set(Value::string(Text(name, args.names_from_user)), value);
  return out;
}

Value dict_function(Interp& interp, const Value&, const Args& args) {
  return Value::dict(make_dict(interp, args, "dict"));
}

Value namespace_function(Interp& interp, const Value&, const Args& args) {
  return interp.make_space(make_dict(interp, args, "namespace"));
}

Value cycler_of(std::vector<Value> items) {
  auto cycler = std::make_shared<Cycler>();
  cycler->nesting = nesting_of(Value::list(items));
  cycler->items = std::move(items);
  return Value::object(Kind::cycler, std::move(cycler));
}

Value cycler_function(Interp&, const Value&, const Args& args) {
  if (args.list.empty()) stop("cycler() has nothing to cycle through");
  return cycler_of(args.list);
}

Value call_joiner(Interp&, const Value& self, const Args&) {
  Cycler& used = self.cycler();
  return used.next++ == 0 ? Value::string("") : used.items[0];
}

Value joiner_function(Interp&, const Value&, const Args& args) {
  const Params params(args, "joiner", {"sep"});
  const Value separator = params.has(0) ? params.at(0) : Value::string(", ");
  return Value::object(Kind::function, std::make_shared<Function>(Function{
                                           "joiner", cycler_of({separator}), call_joiner}));
}

Value raise_function(Interp& interp, const Value&, const Args& args) {
  const Params params(args, "raise_exception", {"message"}, 1);
  stop("the template refuses its input: {}", to_text(params.at(0), interp.meter()).bytes());
}

Value strftime_function(Interp& interp, const Value&, const Args& args) {
  const Params params(args, "strftime_now", {"format"}, 1);
  const std::string pattern = params.string(0, "");
  return Value::string(derived(format_time(pattern, interp.now_unix()), params.at(0).text()));
}

constexpr std::array kGlobals = {
    NativeRow{"range", range_function},           NativeRow{"dict", dict_function},
    NativeRow{"namespace", namespace_function},   NativeRow{"cycler", cycler_function},
    NativeRow{"joiner", joiner_function},         NativeRow{"raise_exception", raise_function},
    NativeRow{"strftime_now", strftime_function},
};

}  // namespace

std::optional<Value> find_method(const Value& object, std::string_view name) {
  if (const Native native = native_method(object, name))
    return Value::object(Kind::function,
                         std::make_shared<Function>(Function{std::string(name), object, native}));
  const bool changes = (object.is(Kind::dict) && std::find(kDictChanges.begin(), kDictChanges.end(),
                                                           name) != kDictChanges.end()) ||
                       (object.is(Kind::list) && std::find(kListChanges.begin(), kListChanges.end(),
                                                           name) != kListChanges.end());
  if (!changes) return std::nullopt;
  return Value::undefined(
      fmt::format("'{}' would change a {}; templates cannot", name, type_name(object)));
}

Value find_global(std::string_view name) {
  const Native native = find_row(kGlobals, name);
  if (native == nullptr) return {};
  return Value::object(Kind::function, std::make_shared<Function>(
                                           Function{std::string(name), Value::none(), native}));
}

}  // namespace stepless::jinja
