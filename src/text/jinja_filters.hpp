// The tables of filters, tests and methods: each a name and a function.
#pragma once
#include <span>
#include <string>
#include <string_view>

#include "text/jinja_interp.hpp"

namespace stepless::jinja {

struct NativeRow {
  std::string_view name;
  Native native;
};

inline Native find_row(std::span<const NativeRow> rows, std::string_view name) {
  for (const NativeRow& row : rows)
    if (row.name == name) return row.native;
  return nullptr;
}

std::span<const NativeRow> text_filters();
std::span<const NativeRow> item_filters();
std::span<const NativeRow> value_filters();

/// item, or what `attribute` of it names: an int, or names and indices with dots between. Undefined
/// if there is none.
Value attribute_of(const Value& item, const Value& attribute, Meter& meter);
/// Markup("…").striptags() and urllib's quote, for the filters of these names.
Text strip_tags(const Text& text, Meter& meter);
Text quoted_for_url(const Text& text, bool slash_is_safe, Meter& meter);
/// islower() and isupper(): at least one cased letter, and none of the other case.
bool is_all_case(std::string_view text, bool upper);

}  // namespace stepless::jinja
