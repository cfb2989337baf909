// The tests behind `is`.
#include <array>

#include "text/jinja_filters.hpp"
#include "text/jinja_print.hpp"
#include "text/jinja_unicode.hpp"

namespace stepless::jinja {
namespace {

template <Kind... kinds>
Value is_kind(Interp&, const Value& self, const Args& args) {
  const Params params(args, "this test", {});
  return Value::boolean((self.is(kinds) || ...));
}

Value is_defined(Interp&, const Value& self, const Args&) {
  return Value::boolean(!self.is(Kind::undefined));
}
Value is_number(Interp&, const Value& self, const Args&) {
  return Value::boolean(self.is_number());
}
Value is_iterable_test(Interp&, const Value& self, const Args&) {
  return Value::boolean(is_iterable(self) || self.is(Kind::loop));
}

Value is_sequence(Interp&, const Value& self, const Args&) {
  return Value::boolean(self.is(Kind::string) || self.is_items() || self.is(Kind::dict) ||
                        self.is(Kind::range) || self.is(Kind::undefined));
}

template <bool wanted>
Value is_flag(Interp&, const Value& self, const Args&) {
  return Value::boolean(self.is(Kind::boolean) && self.flag() == wanted);
}

Value is_escaped(Interp&, const Value& self, const Args&) {
  return Value::boolean(self.is(Kind::string) && self.text().is_markup());
}

template <bool upper>
Value is_case(Interp& interp, const Value& self, const Args&) {
  return Value::boolean(is_all_case(to_text(self, interp.meter()).bytes(), upper));
}

template <bool odd>
Value is_parity(Interp&, const Value& self, const Args&) {
  const Value rest = self.is_number() ? compute(Op::modulo, self, Value::integer(2)) : Value();
  if (!self.is_number()) stop("odd and even need a number, not a {}", type_name(self));
  return Value::boolean(equal(rest, Value::integer(odd ? 1 : 0)));
}

Value is_divisible(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "divisibleby", {"num"}, 1);
  return Value::boolean(equal(binary(interp, Op::modulo, self, params.at(0)), Value::integer(0)));
}

Value is_same(Interp&, const Value& self, const Args& args) {
  const Params params(args, "sameas", {"other"}, 1);
  const Value& other = params.at(0);
  const bool scalar = self.is_number() || self.is(Kind::none);
  return Value::boolean(self.kind() == other.kind() &&
                        (scalar ? equal(self, other) : self.identity() == other.identity()));
}

template <bool (*holds)(Interp&, const Value&, const Value&)>
Value relation(Interp& interp, const Value& self, const Args& args) {
  const Params params(args, "this test", {"other"}, 1);
  return Value::boolean(holds(interp, self, params.at(0)));
}

bool eq(Interp&, const Value& a, const Value& b) { return equal(a, b); }
bool ne(Interp&, const Value& a, const Value& b) { return !equal(a, b); }
bool lt(Interp&, const Value& a, const Value& b) { return less(a, b); }
bool gt(Interp&, const Value& a, const Value& b) { return less(b, a); }
bool le(Interp&, const Value& a, const Value& b) { return less(a, b) || equal(a, b); }
bool ge(Interp&, const Value& a, const Value& b) { return less(b, a) || equal(a, b); }
bool in(Interp& interp, const Value& a, const Value& b) { return contains(b, a, interp.meter()); }

Value is_filter(Interp&, const Value& self, const Args&) {
  return Value::boolean(self.is(Kind::string) && find_filter(self.bytes()) != nullptr);
}
Value is_test(Interp&, const Value& self, const Args&) {
  return Value::boolean(self.is(Kind::string) && find_test(self.bytes()) != nullptr);
}

constexpr std::array kTestRows = {
    NativeRow{"defined", is_defined},
    NativeRow{"undefined", is_kind<Kind::undefined>},
    NativeRow{"none", is_kind<Kind::none>},
    NativeRow{"string", is_kind<Kind::string>},
    NativeRow{"number", is_number},
    NativeRow{"integer", is_kind<Kind::integer>},
    NativeRow{"float", is_kind<Kind::real>},
    NativeRow{"boolean", is_kind<Kind::boolean>},
    NativeRow{"true", is_flag<true>},
    NativeRow{"false", is_flag<false>},
    NativeRow{"mapping", is_kind<Kind::dict>},
    NativeRow{"sequence", is_sequence},
    NativeRow{"iterable", is_iterable_test},
    NativeRow{"callable", is_kind<Kind::function, Kind::macro, Kind::loop, Kind::undefined>},
    NativeRow{"odd", is_parity<true>},
    NativeRow{"even", is_parity<false>},
    NativeRow{"divisibleby", is_divisible},
    NativeRow{"sameas", is_same},
    NativeRow{"lower", is_case<false>},
    NativeRow{"upper", is_case<true>},
    NativeRow{"escaped", is_escaped},
    NativeRow{"filter", is_filter},
    NativeRow{"test", is_test},
    NativeRow{"in", relation<in>},
    NativeRow{"eq", relation<eq>},
    NativeRow{"==", relation<eq>},
    NativeRow{"equalto", relation<eq>},
    NativeRow{"ne", relation<ne>},
    NativeRow{"!=", relation<ne>},
    NativeRow{"lt", relation<lt>},
    NativeRow{"<", relation<lt>},
    NativeRow{"lessthan", relation<lt>},
    NativeRow{"le", relation<le>},
    NativeRow{"<=", relation<le>},
    NativeRow{"gt", relation<gt>},
    NativeRow{">", relation<gt>},
    NativeRow{"greaterthan", relation<gt>},
    NativeRow{"ge", relation<ge>},
    NativeRow{">=", relation<ge>},
};

}  // namespace

Native find_test(std::string_view name) { return find_row(kTestRows, name); }

}  // namespace stepless::jinja
