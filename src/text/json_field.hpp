// Fields of tokenizer.json with errors that name the component.
#pragma once
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "base/json.hpp"

namespace stepless {

inline const Json& field(const Json& json, const char* name, std::string_view what) {
  if (!json.is_object())
    fail(ErrorCode::corrupt, "{}: {} where an object is expected", what, json.type_name());
  const auto at = json.find(name);
  if (at == json.end()) fail(ErrorCode::corrupt, "{}: \"{}\" is missing", what, name);
  return *at;
}

/// The field, or null when it is absent.
inline const Json& field_or_null(const Json& json, const char* name) {
  static const Json null;
  if (!json.is_object()) return null;
  const auto at = json.find(name);
  return at == json.end() ? null : *at;
}

inline const std::string& as_string(const Json& json, const char* name, std::string_view what) {
  if (!json.is_string())
    fail(ErrorCode::corrupt, "{}: \"{}\" is {}; expected a string", what, name, json.type_name());
  return json.get_ref<const std::string&>();
}

inline const std::string& string_field(const Json& json, const char* name, std::string_view what) {
  return as_string(field(json, name, what), name, what);
}

inline const Json& array_field(const Json& json, const char* name, std::string_view what) {
  const Json& value = field(json, name, what);
  if (!value.is_array())
    fail(ErrorCode::corrupt, "{}: \"{}\" is {}; expected an array", what, name, value.type_name());
  return value;
}

/// A true or false; null and absence give `otherwise`.
inline bool bool_field(const Json& json, const char* name, std::string_view what, bool otherwise) {
  const Json& value = field_or_null(json, name);
  if (value.is_null()) return otherwise;
  if (!value.is_boolean())
    fail(ErrorCode::corrupt, "{}: \"{}\" is {}; expected true or false", what, name,
         value.type_name());
  return value.get<bool>();
}

inline bool bool_field(const Json& json, const char* name, std::string_view what) {
  field(json, name, what);
  return bool_field(json, name, what, false);
}

/// The "type" of a component.
inline std::string type_of(const Json& json, std::string_view what) {
  return string_field(json, "type", what);
}

}  // namespace stepless
