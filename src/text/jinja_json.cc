// JSON in and out of a template: values of a request, and the filter tojson as transformers defines
// it.
#include <algorithm>
#include <cmath>

#include "text/jinja_number.hpp"
#include "text/jinja_print.hpp"
#include "text/jinja_unicode.hpp"

namespace stepless::jinja {
namespace {

void add_unicode_escape(std::string& out, char32_t c) {
  if (c >= 0x10000) {
    c -= 0x10000;
    out += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + static_cast<unsigned>(c >> 10),
                       0xDC00 + static_cast<unsigned>(c & 0x3FF));
  } else {
    out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
  }
}

/// The two-character escape of a character, or nothing.
const char* short_escape(char c) {
  switch (c) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    case '\f':
      return "\\f";
    case '\b':
      return "\\b";
    default:
      return nullptr;
  }
}

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, TextBuilder& out, Meter& meter)
      : style_(style), out_(out), meter_(meter) {}

  void write(const Value& value, int depth) {
    meter_.step();
    if (value.is(Kind::string)) return string(value.bytes(), value.text().has_user_bytes());
    if (value.is(Kind::none)) return out_.add("null", value.user());
    if (value.is(Kind::boolean)) return out_.add(value.flag() ? "true" : "false", value.user());
    if (value.is(Kind::integer)) return out_.add(format_int(value.integer()), value.user());
    if (value.is(Kind::real)) return out_.add(real(value.real()), value.user());
    if (value.is_items()) return list(value, depth);
    if (value.is(Kind::dict)) return dict(value, depth);
    need_defined(value);
    stop("tojson: a {} is not JSON", type_name(value));
  }

 private:
  void string(const std::string& bytes, bool from_user) {
    std::string text = "\"";
    std::size_t done = 0;
    for (std::size_t pos = 0; pos < bytes.size();) {
      const auto byte = static_cast<unsigned char>(bytes[pos]);
      if (byte >= 0x20 && byte != '"' && byte != '\\' && (byte < 0x80 || !style_.ensure_ascii)) {
        ++pos;
        continue;
      }
      text.append(bytes, done, pos - done);
      const char32_t c = next_char(bytes, pos);
      done = pos;
      const char* escape = c < 0x80 ? short_escape(static_cast<char>(c)) : nullptr;
      if (escape != nullptr)
        text += escape;
      else
        add_unicode_escape(text, c);
    }
    text.append(bytes, done).push_back('"');
    out_.add(text, from_user);
  }

  static std::string real(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return format_real(value);
  }

  void line(int depth) {
    if (!style_.pretty) return;
    out_.add("\n");
    for (int i = 0; i < depth; ++i) out_.add(style_.indent);
  }

  void list(const Value& value, int depth) {
    const std::vector<Value>& items = value.items();
    if (items.empty()) return out_.add("[]", value.user());
    out_.add("[", value.user());
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_.add(style_.item_separator);
      line(depth + 1);
      write(items[i], depth + 1);
    }
    line(depth);
    out_.add("]");
  }

  void key(const Value& value) {
    if (value.is(Kind::string)) return string(value.bytes(), value.text().has_user_bytes());
    if (!value.is_number() && !value.is(Kind::none))
      stop("tojson: a {} cannot be a key of JSON", type_name(value));
    TextBuilder text(meter_);
    JsonWriter(style_, text, meter_).write(value, 0);
    string(text.take().bytes(), value.user());
  }

  void dict(const Value& value, int depth) {
    std::vector<const Dict::Item*> items;
    for (const Dict::Item& item : value.dict().items()) items.push_back(&item);
    if (items.empty()) return out_.add("{}", value.user());
    if (style_.sort_keys)
      std::stable_sort(items.begin(), items.end(), [](const Dict::Item* a, const Dict::Item* b) {
        return less(a->first, b->first);
      });
    out_.add("{", value.user());
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_.add(style_.item_separator);
      line(depth + 1);
      key(items[i]->first);
      out_.add(style_.key_separator);
      write(items[i]->second, depth + 1);
    }
    line(depth);
    out_.add("}");
  }

  const JsonStyle& style_;
  TextBuilder& out_;
  Meter& meter_;
};

Value from_string(const std::string& bytes, bool from_user, Meter& meter) {
  if (!is_valid_utf8(bytes)) stop("a string of the input is not valid UTF-8");
  meter.grow(static_cast<std::int64_t>(bytes.size()), static_cast<std::int64_t>(bytes.size()));
  return Value::string(Text(bytes, from_user)).mark_user(from_user);
}

Value from_scalar(const OrderedJson& json, bool from_user, Meter& meter) {
  if (json.is_string()) return from_string(json.get_ref<const std::string&>(), from_user, meter);
  if (json.is_boolean()) return Value::boolean(json.get<bool>());
  if (json.is_number_unsigned()) return Value::integer(static_cast<Int>(json.get<std::uint64_t>()));
  if (json.is_number_integer()) return Value::integer(static_cast<Int>(json.get<std::int64_t>()));
  if (json.is_number_float()) return Value::real(json.get<double>());
  if (json.is_null()) return Value::none();
  stop("a value of the input is {}; a string, number, boolean, null, array or object is possible",
       json.type_name());
}

Value from_json_at(const OrderedJson& json, bool from_user, Meter& meter, int depth) {
  meter.step();
  if (depth > kMaxNesting) stop("the input nests deeper than {}", kMaxNesting);
  if (json.is_array()) {
    std::vector<Value> items;
    items.reserve(json.size());
    for (const OrderedJson& item : json)
      items.push_back(from_json_at(item, from_user, meter, depth + 1));
    return Value::list(std::move(items)).mark_user(from_user);
  }
  if (json.is_object()) {
    Dict dict;
    for (const auto& [key, item] : json.items())
      dict.set(from_string(key, from_user, meter), from_json_at(item, from_user, meter, depth + 1));
    return Value::dict(std::move(dict)).mark_user(from_user);
  }
  return from_scalar(json, from_user, meter).mark_user(from_user);
}

}  // namespace

Text to_json(const Value& value, const JsonStyle& style, Meter& meter) {
  TextBuilder out(meter);
  JsonWriter(style, out, meter).write(value, 0);
  return out.take(true);
}

Value from_json(const OrderedJson& json, bool from_user, Meter& meter) {
  return from_json_at(json, from_user, meter, 0);
}

}  // namespace stepless::jinja
