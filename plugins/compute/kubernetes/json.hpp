// Json: a JSON value for the documents of the Kubernetes API and of the host. Poco parses and escapes; this keeps the order of
// an object's keys, reads with typed getters that never convert, and lets lists be read one item at a time.
// Thread safety: a plain value.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace roost::kubernetes {

class Json {
 public:
  using Array = std::vector<Json>;
  using Member = std::pair<std::string, Json>;
  using Object = std::vector<Member>;

  Json() = default;  // null
  Json(bool value) : data_(value) {}
  Json(int value) : data_(std::int64_t{value}) {}
  Json(long value) : data_(std::int64_t{value}) {}
  Json(long long value) : data_(std::int64_t{value}) {}
  Json(double value) : data_(value) {}
  Json(const char* value) : data_(std::string(value)) {}
  Json(std::string_view value) : data_(std::string(value)) {}
  Json(std::string value) : data_(std::move(value)) {}
  [[nodiscard]] static Json object(std::initializer_list<Member> members = {}) { return from(Object(members)); }
  [[nodiscard]] static Json array(std::initializer_list<Json> items = {}) { return from(Array(items)); }
  [[nodiscard]] static Json from(Object members) { return Json(Data(std::move(members))); }
  [[nodiscard]] static Json from(Array items) { return Json(Data(std::move(items))); }

  // Throws sdk::Failure INTERNAL, "what: why", for anything that is not one JSON object. metadata.managedFields is left out: it
  // is the larger half of most objects and nobody reads it.
  [[nodiscard]] static Json parse(std::string_view text, std::string_view what);
  // The same, but each element of the top-level array `items` goes to `item` and is not kept.
  [[nodiscard]] static Json parse_list(std::string_view text, std::string_view what, const std::function<void(Json)>& item);

  [[nodiscard]] bool is_null() const { return data_.index() == 0; }
  [[nodiscard]] bool is_string() const { return std::holds_alternative<std::string>(data_); }
  [[nodiscard]] bool is_array() const { return std::holds_alternative<Array>(data_); }
  [[nodiscard]] bool is_object() const { return std::holds_alternative<Object>(data_); }

  [[nodiscard]] const Json& operator[](std::string_view key) const;  // null where there is none
  [[nodiscard]] Json& at(std::string_view key);                      // made where there is none. REQUIRES: object or null
  [[nodiscard]] bool has(std::string_view key) const { return !(*this)[key].is_null(); }
  [[nodiscard]] const std::string& str() const;  // "" for another type
  [[nodiscard]] std::int64_t integer(std::int64_t fallback = 0) const;
  [[nodiscard]] bool boolean(bool fallback = false) const;
  [[nodiscard]] const Array& items() const;     // empty for another type
  [[nodiscard]] const Object& members() const;  // empty for another type
  Json& set(std::string key, Json value) {
    at(key) = std::move(value);
    return *this;
  }
  void push(Json value);
  [[nodiscard]] std::string dump() const;

  bool operator==(const Json&) const = default;

 private:
  using Data = std::variant<std::monostate, bool, std::int64_t, double, std::string, Array, Object>;
  explicit Json(Data data) : data_(std::move(data)) {}
  void write(std::string& out) const;
  Data data_;
};

// `over` laid over `base`: objects member by member (a null member removes), lists of named objects by name, anything else
// replaces.
[[nodiscard]] Json merge(Json base, const Json& over);
// Whether everything that `wanted` says is so in `live`, which may say more (what the server filled in).
[[nodiscard]] bool contains(const Json& live, const Json& wanted);
// A mark of a text's contents, 40 hex digits; to notice a change, not for security.
[[nodiscard]] std::string digest(std::string_view text);

}  // namespace roost::kubernetes
