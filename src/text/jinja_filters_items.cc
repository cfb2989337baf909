// Filters over items: choosing, mapping, ordering and grouping them.
#include <algorithm>
#include <array>
#include <utility>

#include "text/jinja_filters.hpp"
#include "text/jinja_print.hpp"
#include "text/jinja_unicode.hpp"

namespace stepless::jinja {
namespace {

/// What a filter compares: the item or its attribute, with texts in lower case unless case counts.
struct Key {
  const Value* attribute;
  bool ignores_case;
  Meter& meter;

  Value of(const Value& item) const {
    Value key = attribute == nullptr || attribute->is(Kind::none)
                    ? item
                    : attribute_of(item, *attribute, meter);
    if (ignores_case && key.is(Kind::string)) return Value::string(to_lower(key.bytes()));
    return key;
  }
};

std::string name_argument(const Args& args, std::size_t i, std::string_view filter) {
  if (args.list.size() <= i || !args.list[i].is(Kind::string))
    stop("{}: a name is missing", filter);
  return args.list[i].bytes();
}

Args behind(const Args& args, std::size_t count) {
  return {{args.list.begin() + static_cast<std::ptrdiff_t>(count), args.list.end()},
          args.named,
          args.names_from_user};
}

Value map_filter(Interp& interp, const Value& self, const Args& args) {
  std::vector<Value> out;
  if (!truth(self)) return Value::iterator({});  // also what could not be walked, such as none
  if (args.list.empty()) {
    const Params params(args, "map", {"attribute", "default"}, 1);
    for (const Value& item : collect(self, interp.meter())) {
      Value found = attribute_of(item, params.at(0), interp.meter());
      out.push_back(found.is(Kind::undefined) && params.has(1) ? params.at(1) : std::move(found));
    }
    return Value::iterator(std::move(out));
  }
  const std::string name = name_argument(args, 0, "map");
  const Args rest = behind(args, 1);
  for (const Value& item : collect(self, interp.meter()))
    out.push_back(interp.apply_filter(name, item, rest));
  return Value::iterator(std::move(out));
}

/// select, reject, selectattr and rejectattr: the items whose test (truth, when none is named) is
/// `wanted`.
template <bool wanted, bool by_attribute>
Value choose_filter(Interp& interp, const Value& self, const Args& args) {
  const std::size_t skipped = by_attribute ? 1 : 0;
  if (by_attribute && args.list.empty())
    stop("selectattr and rejectattr need the name of an attribute");
  const bool tested = args.list.size() > skipped;
  const std::string name = tested ? name_argument(args, skipped, "select") : "";
  const Args rest = tested ? behind(args, skipped + 1) : Args{};
  std::vector<Value> out;
  if (!truth(self)) return Value::iterator({});
  for (const Value& item : collect(self, interp.meter())) {
    const Value subject = by_attribute ? attribute_of(item, args.list[0], interp.meter()) : item;
    if ((tested ? interp.apply_test(name, subject, rest) : truth(subject)) == wanted)
      out.push_back(item);
  }
  return Value::iterator(std::move(out));
}

Value list_filter(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "list", {});
  return Value::list(collect(self, interp.meter()));
}

Value join_filter(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "join", {"d", "attribute"});
  const Text separator = params.has(0) ? to_text(params.at(0), interp.meter()) : Text();
  TextBuilder out(interp.meter());
  bool first = true;
  for (const Value& item : collect(self, interp.meter())) {
    if (!first) out.add(separator);
    first = false;
    print(params.has(1) && !params.at(1).is(Kind::none)
              ? attribute_of(item, params.at(1), interp.meter())
              : item,
          out, interp.meter());
  }
  return Value::string(out.take());
}

Value length_filter(Interp&, const Value& self, const Args& args) {
  const Params params(args, "length", {});
  const auto length = length_of(self);
  if (!length) stop("a {} has no length", type_name(self));
  return Value::integer(*length);
}

Value first_filter(Interp&, const Value& self, const Args& args) {
  const Params params(args, "first", {});
  Cursor cursor(self);
  Value item;
  return cursor.next(item) ? item : Value::undefined("there is no first item");
}

Value last_filter(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "last", {});
  if (self.is(Kind::iterator)) stop("a generator has no last item");
  if (self.is(Kind::string)) {
    const Text& text = self.text();
    if (text.size() == 0) return Value::undefined("there is no last item");
    std::size_t begin = text.bytes().size();
    last_char(text.bytes(), begin);
    return Value::string(text.slice(static_cast<std::int64_t>(begin), text.size()));
  }
  const std::vector<Value> items = collect(self, interp.meter());
  return items.empty() ? Value::undefined("there is no last item") : items.back();
}

Value reverse_filter(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "reverse", {});
  const Value step = Value::integer(-1);
  if (self.is(Kind::string)) return get_slice(self, nullptr, nullptr, &step, interp.meter());
  std::vector<Value> items = collect(self, interp.meter());
  std::reverse(items.begin(), items.end());
  return self.is(Kind::iterator) ? Value::list(std::move(items))
                                 : Value::iterator(std::move(items));
}

/// The keys of sort(attribute='a,b'): one value per attribute.
std::vector<Value> sort_keys(const Value& item, const Value* attribute, bool ignores_case,
                             Meter& meter) {
  std::vector<Value> keys;
  if (attribute == nullptr || !attribute->is(Kind::string)) {
    keys.push_back(Key{attribute, ignores_case, meter}.of(item));
    return keys;
  }
  std::string_view rest = attribute->bytes();
  while (true) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    const Value one = Value::string(std::string(rest.substr(0, comma)));
    keys.push_back(Key{&one, ignores_case, meter}.of(item));
    if (comma == rest.size()) return keys;
    rest.remove_prefix(comma + 1);
  }
}

bool less_keys(const std::vector<Value>& a, const std::vector<Value>& b) {
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!equal(a[i], b[i])) return less(a[i], b[i]);
  return false;
}

using Keyed = std::pair<std::vector<Value>, Value>;

std::vector<Keyed> sorted(Interp& interp, const Value& self, const Value* attribute,
                          bool ignores_case, bool reverse) {
  std::vector<Keyed> items;
  for (Value& item : collect(self, interp.meter()))
    items.emplace_back(sort_keys(item, attribute, ignores_case, interp.meter()), item);
  Meter& meter = interp.meter();
  std::stable_sort(items.begin(), items.end(), [reverse, &meter](const Keyed& a, const Keyed& b) {
    meter.step();
    return reverse ? less_keys(b.first, a.first) : less_keys(a.first, b.first);
  });
  return items;
}

std::vector<Value> without_keys(const std::vector<Keyed>& items) {
  std::vector<Value> out;
  for (const Keyed& item : items) out.push_back(item.second);
  return out;
}

Value sort_filter(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "sort", {"reverse", "case_sensitive", "attribute"});
  return Value::list(
      without_keys(sorted(interp, self, params.get(2), !params.flag(1), params.flag(0))));
}

Value dict_sort_filter(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "dictsort", {"case_sensitive", "by", "reverse"});
  const std::string by = params.string(1, "key");
  if (by != "key" && by != "value") stop("dictsort by '{}'; key or value is possible", by);
  if (!self.is(Kind::dict)) stop("dictsort of a {}; a dict is possible", type_name(self));
  const Value pairs =
      Value::object(Kind::view, std::make_shared<View>(View{self, ViewPart::items}));
  const Value index = Value::integer(by == "key" ? 0 : 1);
  return Value::list(without_keys(sorted(interp, pairs, &index, !params.flag(0), params.flag(2))));
}

Value group_filter(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "groupby", {"attribute", "default", "case_sensitive"}, 1);
  const bool ignores_case = !params.flag(2);
  std::vector<Keyed> items;
  for (Value& item : collect(self, interp.meter())) {
    Value key = attribute_of(item, params.at(0), interp.meter());
    if (key.is(Kind::undefined) && params.has(1)) key = params.at(1);
    items.emplace_back(
        std::vector<Value>{Key{nullptr, ignores_case, interp.meter()}.of(key), std::move(key)},
        item);
  }
  std::stable_sort(items.begin(), items.end(),
                   [](const Keyed& a, const Keyed& b) { return less(a.first[0], b.first[0]); });
  std::vector<Value> groups;
  for (std::size_t begin = 0; begin < items.size();) {
    std::size_t end = begin;
    std::vector<Value> members;
    for (; end < items.size() && equal(items[end].first[0], items[begin].first[0]); ++end)
      members.push_back(items[end].second);
    auto group = std::make_shared<List>(
        Value::tuple({items[begin].first[1], Value::list(std::move(members))}).list_object());
    group->is_group = true;
    groups.push_back(Value::object(Kind::tuple, std::move(group)));
    begin = end;
  }
  return Value::list(std::move(groups));
}

Value unique_filter(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "unique", {"case_sensitive", "attribute"});
  const Key key{params.get(1), !params.flag(0), interp.meter()};
  Dict seen;
  std::vector<Value> out;
  for (const Value& item : collect(self, interp.meter())) {
    const Value one = key.of(item);
    if (seen.find(one) != nullptr) continue;
    seen.set(one, Value::none());
    out.push_back(item);
  }
  return Value::iterator(std::move(out));
}

template <bool most>
Value extreme_filter(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, most ? "max" : "min", {"case_sensitive", "attribute"});
  const Key key{params.get(1), !params.flag(0), interp.meter()};
  const std::vector<Value> items = collect(self, interp.meter());
  if (items.empty()) return Value::undefined("there is no least or greatest of no items");
  const Value* best = &items[0];
  for (const Value& item : items)
    if (most ? less(key.of(*best), key.of(item)) : less(key.of(item), key.of(*best))) best = &item;
  return *best;
}

Value sum_filter(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "sum", {"attribute", "start"});
  Value total = params.has(1) ? params.at(1) : Value::integer(0);
  if (total.is(Kind::string)) stop("sum adds no str; join does");
  const Key key{params.get(0), false, interp.meter()};
  for (const Value& item : collect(self, interp.meter()))
    total = binary(interp, Op::add, total, key.of(item));
  return total;
}

Value batch_filter(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "batch", {"linecount", "fill_with"}, 1);
  const std::int64_t size = params.integer(0, 0);
  const bool filled = params.has(1) && !params.at(1).is(Kind::none);
  std::vector<Value> batches;
  std::vector<Value> batch;
  for (const Value& item : collect(self, interp.meter())) {
    if (std::ssize(batch) == size) batches.push_back(Value::list(std::exchange(batch, {})));
    batch.push_back(item);
  }
  while (filled && !batch.empty() && std::ssize(batch) < size) {
    interp.meter().step();
    batch.push_back(params.at(1));
  }
  if (!batch.empty()) batches.push_back(Value::list(std::move(batch)));
  return Value::iterator(std::move(batches));
}

Value slice_filter(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "slice", {"slices", "fill_with"}, 1);
  const std::int64_t count = params.integer(0, 0);
  if (count <= 0) stop("slice into {} parts", count);
  const std::vector<Value> items = collect(self, interp.meter());
  interp.meter().step(count);
  const std::int64_t size = std::ssize(items) / count;
  const std::int64_t longer = std::ssize(items) % count;
  std::vector<Value> slices;
  auto at = items.begin();
  for (std::int64_t i = 0; i < count; ++i) {
    const auto end = at + size + (i < longer ? 1 : 0);
    std::vector<Value> part(at, end);
    if (params.has(1) && !params.at(1).is(Kind::none) && i >= longer) part.push_back(params.at(1));
    slices.push_back(Value::list(std::move(part)));
    at = end;
  }
  return Value::iterator(std::move(slices));
}

Value items_filter(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "items", {});
  if (self.is(Kind::undefined)) return Value::iterator({});
  if (!self.is(Kind::dict)) stop("items of a {}; a dict is possible", type_name(self));
  std::vector<Value> pairs;
  interp.meter().step(self.dict().size());
  for (const auto& [key, value] : self.dict().items()) pairs.push_back(Value::tuple({key, value}));
  return Value::iterator(std::move(pairs));
}

constexpr std::array kItemRows = {
    NativeRow{"map", map_filter},
    NativeRow{"select", choose_filter<true, false>},
    NativeRow{"reject", choose_filter<false, false>},
    NativeRow{"selectattr", choose_filter<true, true>},
    NativeRow{"rejectattr", choose_filter<false, true>},
    NativeRow{"list", list_filter},
    NativeRow{"join", join_filter},
    NativeRow{"length", length_filter},
    NativeRow{"count", length_filter},
    NativeRow{"first", first_filter},
    NativeRow{"last", last_filter},
    NativeRow{"reverse", reverse_filter},
    NativeRow{"sort", sort_filter},
    NativeRow{"dictsort", dict_sort_filter},
    NativeRow{"groupby", group_filter},
    NativeRow{"unique", unique_filter},
    NativeRow{"min", extreme_filter<false>},
    NativeRow{"max", extreme_filter<true>},
    NativeRow{"sum", sum_filter},
    NativeRow{"batch", batch_filter},
    NativeRow{"slice", slice_filter},
    NativeRow{"items", items_filter},
};

}  // namespace

Value attribute_of(const Value& item, const Value& attribute, Meter& meter) {
  if (!attribute.is(Kind::string)) return get_item(item, attribute, meter);
  Value value = item;
  std::string_view rest = attribute.bytes();
  while (true) {
    const std::size_t dot = std::min(rest.find('.'), rest.size());
    const std::string part(rest.substr(0, dot));
    const bool digits = !part.empty() && std::all_of(part.begin(), part.end(),
                                                     [](char c) { return c >= '0' && c <= '9'; });
    value = get_item(value, digits ? Value::integer(*parse_int(part)) : Value::string(part), meter);
    if (dot == rest.size()) return value;
    rest.remove_prefix(dot + 1);
  }
}

std::span<const NativeRow> item_filters() { return kItemRows; }

}  // namespace stepless::jinja
