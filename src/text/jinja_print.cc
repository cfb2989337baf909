#include "text/jinja_print.hpp"

#include "text/jinja_number.hpp"
#include "text/jinja_unicode.hpp"

namespace stepless::jinja {
namespace {

void print_repr(const Value& value, TextBuilder& out, Meter& meter, int depth);

void repr_string(const std::string& bytes, bool from_user, TextBuilder& out) {
  const bool has_single = bytes.find('\'') != std::string::npos;
  const char quote = has_single && bytes.find('"') == std::string::npos ? '"' : '\'';
  std::string text(1, quote);
  for (std::size_t pos = 0; pos < bytes.size();) {
    const std::size_t begin = pos;
    const char32_t c = next_char(bytes, pos);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      text.push_back('\\');
      text.push_back(static_cast<char>(c));
    } else if (c == '\n') {
      text += "\\n";
    } else if (c == '\r') {
      text += "\\r";
    } else if (c == '\t') {
      text += "\\t";
    } else if (is_printable(c)) {
      text.append(bytes, begin, pos - begin);
    } else if (c < 0x100) {
      text += fmt::format("\\x{:02x}", static_cast<unsigned>(c));
    } else {
      text += c < 0x10000 ? fmt::format("\\u{:04x}", static_cast<unsigned>(c))
                          : fmt::format("\\U{:08x}", static_cast<unsigned>(c));
    }
  }
  text.push_back(quote);
  out.add(text, from_user);
}

void repr_items(const std::vector<Value>& items, TextBuilder& out, Meter& meter, int depth) {
  bool first = true;
  for (const Value& item : items) {
    if (!first) out.add(", ");
    first = false;
    print_repr(item, out, meter, depth + 1);
  }
}

void repr_dict(const Dict& dict, bool user, TextBuilder& out, Meter& meter, int depth) {
  out.add("{", user);
  bool first = true;
  for (const auto& [key, value] : dict.items()) {
    if (!first) out.add(", ");
    first = false;
    print_repr(key, out, meter, depth + 1);
    out.add(": ");
    print_repr(value, out, meter, depth + 1);
  }
  out.add("}");
}

std::string repr_range(const Range& range) {
  return range.step == 1 ? fmt::format("range({}, {})", range.start, range.stop)
                         : fmt::format("range({}, {}, {})", range.start, range.stop, range.step);
}

void repr_view(const Value& value, TextBuilder& out, Meter& meter, int depth) {
  const View& view = value.view();
  out.add(view.part == ViewPart::keys     ? "dict_keys(["
          : view.part == ViewPart::values ? "dict_values(["
                                          : "dict_items([");
  std::vector<Value> items;
  for (std::size_t i = 0; i < view.source.dict().items().size(); ++i) items.push_back(view.at(i));
  repr_items(items, out, meter, depth);
  out.add("])");
}

void print_repr(const Value& value, TextBuilder& out, Meter& meter, int depth) {
  meter.step();
  if (depth > kMaxNesting) stop("printing a value that contains itself");
  switch (value.kind()) {
    case Kind::undefined:
      return out.add("Undefined");
    case Kind::none:
      return out.add("None", value.user());
    case Kind::boolean:
      return out.add(value.flag() ? "True" : "False", value.user());
    case Kind::integer:
      return out.add(format_int(value.integer()), value.user());
    case Kind::real:
      return out.add(format_real(value.real()), value.user());
    case Kind::string: {
      if (value.text().is_markup()) out.add("Markup(");
      repr_string(value.bytes(), value.text().has_user_bytes(), out);
      return value.text().is_markup() ? out.add(")") : void();
    }
    case Kind::list:
      out.add("[", value.user());
      repr_items(value.items(), out, meter, depth);
      return out.add("]");
    case Kind::tuple:
      out.add("(", value.user());
      repr_items(value.items(), out, meter, depth);
      return out.add(value.items().size() == 1 ? ",)" : ")");
    case Kind::dict:
      return repr_dict(value.dict(), value.user(), out, meter, depth);
    case Kind::range:
      return out.add(repr_range(value.range()));
    case Kind::view:
      return repr_view(value, out, meter, depth);
    case Kind::space:
      out.add("<Namespace ");
      repr_dict(value.space().attributes, false, out, meter, depth);
      return out.add(">");
    case Kind::iterator:
    case Kind::macro:
    case Kind::function:
    case Kind::loop:
    case Kind::cycler:
      stop("printing a {}; it has no text of its own", type_name(value));
  }
}

}  // namespace

void print(const Value& value, TextBuilder& out, Meter& meter) {
  if (value.is(Kind::string)) return out.add(value.text());
  if (value.is(Kind::undefined)) return;
  if (value.is_number() || value.is(Kind::none)) return print_repr(value, out, meter, 0);
  out.add(repr(value, meter));
}

Text repr(const Value& value, Meter& meter) {
  TextBuilder out(meter);
  print_repr(value, out, meter, 0);
  return out.take(true);
}

Text to_text(const Value& value, Meter& meter) {
  if (value.is(Kind::string)) return value.text();
  TextBuilder out(meter);
  print(value, out, meter);
  return out.take();
}

void add_escaped(const Text& text, TextBuilder& out) {
  const std::string& bytes = text.bytes();
  std::int64_t done = 0;
  for (std::int64_t i = 0; i < text.size(); ++i) {
    const char c = bytes[static_cast<std::size_t>(i)];
    const char* entity = c == '&'    ? "&amp;"
                         : c == '<'  ? "&lt;"
                         : c == '>'  ? "&gt;"
                         : c == '\'' ? "&#39;"
                         : c == '"'  ? "&#34;"
                                     : nullptr;
    if (entity == nullptr) continue;
    out.add_slice(text, done, i);
    out.add(entity, text.slice(i, i + 1).has_user_bytes());
    done = i + 1;
  }
  out.add_slice(text, done, text.size());
}

Text to_markup(const Text& text, Meter& meter) {
  TextBuilder out(meter);
  if (text.is_markup())
    out.add(text);
  else
    add_escaped(text, out);
  Text markup = out.take();
  markup.set_markup(true);
  return markup;
}

}  // namespace stepless::jinja
