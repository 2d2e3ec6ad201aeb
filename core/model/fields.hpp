// Reads members of a stored document: each getter notes the first member that is wrong, so that a caller checks once at the end.
// Thread safety: a local value.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/json.hpp"
#include "base/result.hpp"

namespace roost {

class Fields {
 public:
  explicit Fields(const Json& document, std::string_view what) : document_(document), what_(what) {
    if (!document.is_object()) fail("is not an object");
  }

  // A missing member keeps the fallback; one of another type is an error.
  std::string text(std::string_view key, std::string fallback = {}) {
    const Json* value = document_.find(key);
    if (!value) return fallback;
    if (!value->is_string()) fail(key, "a string");
    return value->as_string();
  }
  std::int64_t number(std::string_view key, std::int64_t fallback = 0) {
    const Json* value = document_.find(key);
    if (!value) return fallback;
    if (!value->is_int()) fail(key, "an integer");
    return value->as_int();
  }
  bool flag(std::string_view key, bool fallback = false) {
    const Json* value = document_.find(key);
    if (!value) return fallback;
    if (!value->is_bool()) fail(key, "true or false");
    return value->as_bool();
  }
  // The enumerator whose to_string() the member says; a missing one keeps the fallback.
  template <class E, std::size_t N>
  E one_of(std::string_view key, const std::array<E, N>& values, E fallback) {
    const Json* value = document_.find(key);
    if (!value) return fallback;
    for (const E candidate : values) {
      if (value->as_string() == to_string(candidate)) return candidate;
    }
    fail(key, "a known value");
    return fallback;
  }
  // A member that must be there.
  std::string required(std::string_view key) {
    if (!document_.find(key)) fail(key, "present");
    return text(key);
  }
  [[nodiscard]] const Json* find(std::string_view key) const { return document_.find(key); }
  void fail(std::string_view key, std::string_view wanted) {
    fail("\"" + std::string(key) + "\" must be " + std::string(wanted));
  }
  [[nodiscard]] Status status() const {
    if (!error_.empty()) return Error{Code::data_loss, what_ + ": " + error_, 0};
    return {};
  }

 private:
  void fail(std::string why) {
    if (error_.empty()) error_ = std::move(why);
  }
  const Json& document_;
  std::string what_;
  std::string error_;
};

}  // namespace roost
