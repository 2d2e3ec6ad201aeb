// Json: a JSON value, strictly parsed. Poco reads and escapes; this wrapper refuses what Poco lets through (duplicate keys,
// NUL in strings, numbers that do not fit, invalid UTF-8, anything after the value) and keeps the order of an object's keys.
// Thread safety: a plain value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.hpp"

namespace roost {

class Json {
 public:
  using Array = std::vector<Json>;
  using Member = std::pair<std::string, Json>;
  using Object = std::vector<Member>;

  struct Limits {
    std::size_t bytes = 1 << 20;
    int depth = 64;
  };

  Json() = default;  // null
  Json(std::nullptr_t) {}
  Json(bool value) : data_(value) {}
  Json(int value) : data_(std::int64_t{value}) {}
  Json(unsigned value) : data_(std::int64_t{value}) {}
  Json(long value) : data_(std::int64_t{value}) {}
  Json(long long value) : data_(std::int64_t{value}) {}
  Json(unsigned long value) : data_(static_cast<std::int64_t>(value)) {}
  Json(double value) : data_(value) {}
  Json(const char* value) : data_(std::string(value)) {}
  Json(std::string_view value) : data_(std::string(value)) {}
  Json(std::string value) : data_(std::move(value)) {}
  Json(Array value) : data_(std::move(value)) {}
  [[nodiscard]] static Json object(std::initializer_list<Member> members = {}) { return Json(Tag{}, Object(members)); }
  [[nodiscard]] static Json array() { return Json(Array{}); }

  // INVALID with "offset N: why" for anything that is not exactly one JSON value within the limits (RFC 8259).
  [[nodiscard]] static Result<Json> parse(std::string_view text, Limits limits);
  [[nodiscard]] static Result<Json> parse(std::string_view text) { return parse(text, Limits{}); }

  [[nodiscard]] bool is_null() const { return data_.index() == 0; }
  [[nodiscard]] bool is_bool() const { return std::holds_alternative<bool>(data_); }
  [[nodiscard]] bool is_int() const { return std::holds_alternative<std::int64_t>(data_); }
  [[nodiscard]] bool is_double() const { return std::holds_alternative<double>(data_); }
  [[nodiscard]] bool is_string() const { return std::holds_alternative<std::string>(data_); }
  [[nodiscard]] bool is_array() const { return std::holds_alternative<Array>(data_); }
  [[nodiscard]] bool is_object() const { return std::holds_alternative<Object>(data_); }

  // The value where the type is right, else the fallback. They never convert: "12" is not a number.
  [[nodiscard]] bool as_bool(bool fallback = false) const;
  [[nodiscard]] std::int64_t as_int(std::int64_t fallback = 0) const;
  [[nodiscard]] double as_double(double fallback = 0) const;  // an integer too
  [[nodiscard]] const std::string& as_string() const;         // "" for another type
  [[nodiscard]] const Array& items() const;                   // empty for another type
  [[nodiscard]] const Object& members() const;                // empty for another type

  [[nodiscard]] const Json* find(std::string_view key) const;        // null where there is none, or for a non-object
  [[nodiscard]] const Json& operator[](std::string_view key) const;  // null value where there is none
  Json& set(std::string key, Json value);  // makes or replaces a member; returns *this. REQUIRES: object or null
  void add(std::string key, Json value);   // REQUIRES: object, without that key
  void remove(std::string_view key);
  void push(Json value);  // REQUIRES: array or null

  // INVALID, naming the key, where it is missing or of another type.
  [[nodiscard]] Result<std::string> get_string(std::string_view key) const;
  [[nodiscard]] Result<std::int64_t> get_int(std::string_view key) const;
  [[nodiscard]] Result<bool> get_bool(std::string_view key) const;

  [[nodiscard]] std::string dump() const;  // compact, valid UTF-8

  bool operator==(const Json&) const = default;

 private:
  struct Tag {};
  Json(Tag, Object value) : data_(std::move(value)) {}
  std::variant<std::monostate, bool, std::int64_t, double, std::string, Array, Object> data_;
};

// Appends text as a JSON string literal, quotes included; bytes that are not UTF-8 become U+FFFD.
void append_json_string(std::string& out, std::string_view text);

}  // namespace roost
