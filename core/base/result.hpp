// Result<T>: a value or an Error. Every fallible function of Roost returns one; exceptions of libraries are caught in one
// adapter per library. Context is added while an error travels up (`context`), and it is logged once, at the edge.
// Thread safety: a plain value.
#pragma once

#include <cassert>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace roost {

// The codes are those of the plugin ABI (roost/plugin.h, enum roost_code), with the same numbers and the same remedies.
enum class Code : std::int32_t {
  invalid = 1,           // the request is wrong: do not repeat it unchanged
  not_found = 2,         // no such thing
  exists = 3,            // it is there already, and is not the caller's
  conflict = 4,          // a precondition (revision, incarnation) does not hold: read again, decide again
  denied = 5,            // not allowed: credentials, permissions, policy
  exhausted = 6,         // a quota, a disk or a limit is full: retry after retry_after, or after somebody makes room
  unavailable = 7,       // the backend cannot be reached, and nothing was done: retry
  deadline = 8,          // the deadline passed, and nothing was done: retry
  cancelled = 9,         // the caller cancelled, and nothing was done
  expired = 10,          // a cursor or token is too old: start from the beginning
  outcome_unknown = 11,  // it may or may not have been done: observe before anything else
  unsupported = 12,      // this backend cannot do it: do not repeat
  data_loss = 13,        // stored data is damaged or gone: stop, tell a human
  internal = 14,         // a defect
};

// The code's name as it appears in logs and in the API, e.g. "not_found".
[[nodiscard]] std::string_view to_string(Code code);

struct Error {
  Code code = Code::internal;
  std::string message;              // for a human: what, where, what to do; never a secret
  std::int64_t retry_after_ms = 0;  // 0: not stated

  // The same error, its message prefixed with "what: ".
  [[nodiscard]] Error context(std::string_view what) const;
  bool operator==(const Error&) const = default;
};

template <class T>
class [[nodiscard]] Result {
 public:
  using value_type = T;
  Result(T value) : data_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : data_(std::in_place_index<1>, std::move(error)) {}
  Result(Code code, std::string message) : data_(std::in_place_index<1>, Error{code, std::move(message), 0}) {}

  [[nodiscard]] bool ok() const { return data_.index() == 0; }
  explicit operator bool() const { return ok(); }

  // REQUIRES: ok().
  T& value() & {
    assert(ok());
    return *std::get_if<0>(&data_);
  }
  const T& value() const& {
    assert(ok());
    return *std::get_if<0>(&data_);
  }
  T&& value() && {
    assert(ok());
    return std::move(*std::get_if<0>(&data_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  [[nodiscard]] T value_or(T other) const& { return ok() ? value() : std::move(other); }

  // REQUIRES: !ok().
  [[nodiscard]] const Error& error() const& {
    assert(!ok());
    return *std::get_if<1>(&data_);
  }
  [[nodiscard]] Error&& error() && {
    assert(!ok());
    return std::move(*std::get_if<1>(&data_));
  }

 private:
  std::variant<T, Error> data_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}
  Result(Code code, std::string message) : error_(Error{code, std::move(message), 0}) {}

  [[nodiscard]] bool ok() const { return !error_; }
  explicit operator bool() const { return ok(); }
  // REQUIRES: !ok().
  [[nodiscard]] const Error& error() const {
    assert(error_);
    return *error_;
  }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

}  // namespace roost

#define ROOST_CONCAT_(a, b) a##b
#define ROOST_CONCAT(a, b) ROOST_CONCAT_(a, b)

// ROOST_TRY(auto x, f()): x is f()'s value, or the enclosing function returns f()'s error.
#define ROOST_TRY(declaration, expression) ROOST_TRY_(ROOST_CONCAT(roost_try_, __LINE__), declaration, expression)
#define ROOST_TRY_(name, declaration, expression) \
  auto name = (expression);                       \
  if (!name.ok()) return std::move(name).error(); \
  declaration = *std::move(name)

// ROOST_CHECK(f()): the enclosing function returns f()'s error, if it has one.
#define ROOST_CHECK(expression) \
  if (auto roost_check_ = (expression); !roost_check_.ok()) return roost_check_.error()
