// Filters on single values, and the lookup over all filters.
#include <array>
#include <cmath>

#include "text/jinja_filters.hpp"
#include "text/jinja_print.hpp"

namespace stepless::jinja {
namespace {

Value default_filter(Interp&, const Value& self, const Args& args) {
  const Params params(args, "default", {"default_value", "boolean"});
  const bool missing = self.is(Kind::undefined) || (params.flag(1) && !truth(self));
  if (!missing) return self;
  return params.has(0) ? params.at(0) : Value::string("");
}

std::optional<Value> whole(double value) {
  if (!std::isfinite(value)) return std::nullopt;
  return Value::integer(truncate_real(value));
}

Value int_filter(Interp&, const Value& self, const Args& args) {
  const Params params(args, "int", {"default", "base"});
  need_defined(self);
  std::optional<Value> out;
  if (self.is_integral()) {
    out = Value::integer(self.integer());
  } else if (self.is(Kind::real)) {
    out = whole(self.real());
  } else if (self.is(Kind::string)) {
    if (const auto number = parse_int(self.bytes(), static_cast<int>(params.integer(1, 10))))
      out = Value::integer(*number);
    else if (const auto real = parse_real(self.bytes()))
      out = whole(*real);
  }
  if (out) return out->mark_user(self.user());
  return params.has(0) ? params.at(0) : Value::integer(0);
}

Value float_filter(Interp&, const Value& self, const Args& args) {
  const Params params(args, "float", {"default"});
  need_defined(self);
  if (self.is_number()) return Value::real(self.real()).mark_user(self.user());
  if (self.is(Kind::string))
    if (const auto number = parse_real(self.bytes()))
      return Value::real(*number).mark_user(self.user());
  return params.has(0) ? params.at(0) : Value::real(0);
}

Value abs_filter(Interp&, const Value& self, const Args& args) {
  const Params params(args, "abs", {});
  need_defined(self);
  if (!self.is_number()) stop("abs of a {}", type_name(self));
  if (self.is(Kind::real)) return Value::real(std::fabs(self.real())).mark_user(self.user());
  return self.integer() < 0 ? compute(Op::subtract, Value::integer(0), self)
                            : Value::integer(self.integer()).mark_user(self.user());
}

Value round_filter(Interp&, const Value& self, const Args& args) {
  const Params params(args, "round", {"precision", "method"});
  need_defined(self);
  if (!self.is_number()) stop("round of a {}", type_name(self));
  const std::int64_t places = params.integer(0, 0);
  if (places < -400 || places > 400) stop("round to {} places", places);
  const std::string method = params.string(1, "common");
  if (method == "common") {
    if (self.is_integral() && places >= 0)
      return Value::integer(self.integer()).mark_user(self.user());
    const double rounded = round_to(self.real(), static_cast<int>(places));
    return (self.is_integral() ? Value::integer(truncate_real(rounded)) : Value::real(rounded))
        .mark_user(self.user());
  }
  if (method != "ceil" && method != "floor")
    stop("round by '{}'; common, ceil or floor is possible", method);
  const double unit = std::pow(10.0, static_cast<double>(places));
  const double scaled = self.real() * unit;
  return Value::real((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / unit)
      .mark_user(self.user());
}

Value attr_filter(Interp&, const Value& self, const Args& args) {
  const Params params(args, "attr", {"name"}, 1);
  const std::string name = params.string(0, "");
  if (!self.is(Kind::dict)) return get_attribute(self, name);
  if (auto method = find_method(self, name)) return *std::move(method);  // a key is no attribute
  return Value::undefined(fmt::format("the dict has no attribute '{}'", name));
}

constexpr std::array kValueRows = {
    NativeRow{"default", default_filter}, NativeRow{"d", default_filter},
    NativeRow{"int", int_filter},         NativeRow{"float", float_filter},
    NativeRow{"abs", abs_filter},         NativeRow{"round", round_filter},
    NativeRow{"attr", attr_filter},
};

}  // namespace

std::span<const NativeRow> value_filters() { return kValueRows; }

Native find_filter(std::string_view name) {
  for (const auto rows : {text_filters(), item_filters(), value_filters()})
    if (const Native native = find_row(rows, name)) return native;
  return nullptr;
}

}  // namespace stepless::jinja
