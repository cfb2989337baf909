// Equality and order of values, as Python defines them.
#include <algorithm>

#include "text/jinja_value.hpp"

namespace stepless::jinja {
namespace {

bool equal_numbers(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) return a.integer() == b.integer();
  return a.real() == b.real();
}

bool equal_dicts(const Dict& a, const Dict& b) {
  if (a.size() != b.size()) return false;
  return std::all_of(a.items().begin(), a.items().end(), [&b](const Dict::Item& item) {
    const Value* other = b.find(item.first);
    return other != nullptr && equal(item.second, *other);
  });
}

bool equal_ranges(const Range& a, const Range& b) {
  if (a.size() != b.size()) return false;
  return a.size() == 0 || (a.start == b.start && (a.size() == 1 || a.step == b.step));
}

/// Keys and items compare as sets, values by identity alone.
bool equal_views(const View& a, const View& b) {
  if (a.part != b.part || a.part == ViewPart::values) return false;
  if (a.part == ViewPart::items) return equal_dicts(a.source.dict(), b.source.dict());
  const auto& keys = a.source.dict().items();
  return a.source.dict().size() == b.source.dict().size() &&
         std::all_of(keys.begin(), keys.end(), [&b](const Dict::Item& item) {
           return b.source.dict().find(item.first) != nullptr;
         });
}

}  // namespace

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return equal_numbers(a, b);
  if (a.kind() != b.kind()) return false;
  if (a.is(Kind::undefined) || a.is(Kind::none)) return true;
  if (a.identity() == b.identity()) return true;
  if (a.is(Kind::string)) return a.bytes() == b.bytes();
  if (a.is_items())
    return std::equal(a.items().begin(), a.items().end(), b.items().begin(), b.items().end(),
                      equal);
  if (a.is(Kind::dict)) return equal_dicts(a.dict(), b.dict());
  if (a.is(Kind::view)) return equal_views(a.view(), b.view());
  if (a.is(Kind::range)) return equal_ranges(a.range(), b.range());
  if (a.is(Kind::function))
    return a.function().call == b.function().call &&
           a.function().self.identity() == b.function().self.identity();
  return false;
}

bool less(const Value& a, const Value& b) {
  need_defined(a);
  need_defined(b);
  if (a.is_number() && b.is_number())
    return a.is_integral() && b.is_integral() ? a.integer() < b.integer() : a.real() < b.real();
  if (a.is(Kind::string) && b.is(Kind::string))
    return a.bytes() < b.bytes();  // bytes of UTF-8 order as code points do
  if (a.is_items() && a.kind() == b.kind()) {
    const auto [left, right] = std::mismatch(a.items().begin(), a.items().end(), b.items().begin(),
                                             b.items().end(), equal);
    if (left == a.items().end() || right == b.items().end())
      return a.items().size() < b.items().size();
    return less(*left, *right);
  }
  stop("{} and {} have no order", type_name(a), type_name(b));
}

}  // namespace stepless::jinja
