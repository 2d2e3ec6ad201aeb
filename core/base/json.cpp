#include "base/json.hpp"

#include <Poco/Exception.h>
#include <Poco/JSON/Handler.h>
#include <Poco/JSON/Parser.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <unordered_set>

#include "base/crypto.hpp"

namespace roost {
namespace {

Error at(std::size_t offset, std::string_view why) {
  return Error{Code::invalid, "offset " + std::to_string(offset) + ": " + std::string(why), 0};
}

// Poco turns numbers that do not fit into 0 or infinity; they are refused before it sees them. It also takes negative integers
// through a double: all integers are therefore gathered here, in the text's order, for the builder.
Status check_number(std::string_view text, std::size_t begin, std::size_t end, std::vector<std::int64_t>& integers) {
  const std::string_view token = text.substr(begin, end - begin);
  const bool real = token.find_first_of(".eE") != std::string_view::npos;
  if (!real) {
    std::int64_t value = 0;
    const auto parsed = std::from_chars(token.data(), token.data() + token.size(), value);
    if (parsed.ec == std::errc::result_out_of_range) return at(begin, "the integer does not fit 64 bits");
    integers.push_back(value);
    return {};
  }
  double value = 0;
  const auto parsed = std::from_chars(token.data(), token.data() + token.size(), value);
  if (parsed.ec == std::errc::result_out_of_range || !std::isfinite(value)) return at(begin, "the number does not fit a double");
  return {};
}

// One pass over the text for what Poco's parser lets through: NUL in strings, numbers out of range, and depth.
Status prescan(std::string_view text, int max_depth, std::vector<std::int64_t>& integers) {
  int depth = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\0') return at(i, "NUL is not allowed");
    if (c == '{' || c == '[') {
      if (++depth > max_depth) return at(i, "nested deeper than " + std::to_string(max_depth));
    } else if (c == '}' || c == ']') {
      --depth;
    } else if (c == '"') {
      for (++i; i < text.size() && text[i] != '"'; ++i) {
        if (static_cast<unsigned char>(text[i]) < 0x20) return at(i, "a control character in a string must be escaped");
        if (text[i] != '\\') continue;
        ++i;
        if (text.substr(i, 5) == "u0000") return at(i - 1, "\\u0000 is not allowed");
      }
      if (i >= text.size()) return at(text.size(), "the string does not end");
    } else if (c == '-' || (c >= '0' && c <= '9')) {
      const std::size_t end = std::min(text.find_first_not_of("+-.0123456789eE", i), text.size());
      ROOST_CHECK(check_number(text, i, end, integers));
      i = end - 1;
    }
  }
  return {};
}

struct Refused {
  std::string why;
};

// Builds the tree from Poco's events; refuses duplicate keys.
class Builder : public Poco::JSON::Handler {
 public:
  explicit Builder(const std::vector<std::int64_t>& integers) : integers_(integers) {}
  Json take() { return std::move(root_); }

  void reset() override {}
  void startObject() override { open(Json::object()); }
  void endObject() override { close(); }
  void startArray() override { open(Json::array()); }
  void endArray() override { close(); }
  void key(const std::string& name) override {
    if (!stack_.back().is_new(name)) throw Refused{"the key \"" + name + "\" stands twice"};
    stack_.back().key = name;
  }
  void null() override { add(Json()); }
  void value(int) override { add_integer(); }
  void value(unsigned) override { add_integer(); }
#if defined(POCO_HAVE_INT64)
  void value(Poco::Int64) override { add_integer(); }
  void value(Poco::UInt64) override { add_integer(); }
#endif
  void value(const std::string& v) override { add(Json(v)); }
  void value(double v) override { add(Json(v)); }
  void value(bool v) override { add(Json(v)); }

 private:
  void add_integer() {
    if (next_integer_ == integers_.size()) throw Refused{"a number that is none"};
    add(Json(integers_[next_integer_++]));
  }
  // A container that is being read.
  struct Open {
    Json container;
    std::string key;                         // of the next member
    std::unordered_set<std::string> seen{};  // the keys of an object with many, so that each is looked up once

    bool is_new(const std::string& name) {
      constexpr std::size_t kFew = 16;
      if (container.members().size() < kFew) return !container.find(name);
      if (seen.empty()) {
        for (const Json::Member& member : container.members()) seen.insert(member.first);
      }
      return seen.insert(name).second;
    }
  };
  void open(Json container) { stack_.push_back({std::move(container), {}}); }
  void close() {
    Json done = std::move(stack_.back().container);
    stack_.pop_back();
    add(std::move(done));
  }
  void add(Json v) {
    if (stack_.empty()) {
      root_ = std::move(v);
    } else if (stack_.back().container.is_array()) {
      stack_.back().container.push(std::move(v));
    } else {
      stack_.back().container.add(std::move(stack_.back().key), std::move(v));
    }
  }
  const std::vector<std::int64_t>& integers_;
  std::size_t next_integer_ = 0;
  Json root_;
  std::vector<Open> stack_;
};

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

Result<Json> parse_container(std::string_view text, const std::vector<std::int64_t>& integers) {
  Poco::SharedPtr<Builder> builder(new Builder(integers));
  try {
    Poco::JSON::Parser parser(builder);
    parser.parse(std::string(text));
    return builder->take();
  } catch (const Refused& refused) {
    return Error{Code::invalid, refused.why, 0};
  } catch (const Poco::Exception& e) {
    return Error{Code::invalid, "not JSON: " + e.message(), 0};
  } catch (const std::exception& e) {
    return Error{Code::invalid, std::string("not JSON: ") + e.what(), 0};
  }
}

const Json& null_json() {
  static const Json value;
  return value;
}

void append_number(std::string& out, double value) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  const std::string_view text(buffer, static_cast<std::size_t>(end - buffer));
  out += text;
  if (text.find_first_of(".e") == std::string_view::npos) out += ".0";
}

void append(std::string& out, const Json& value) {
  if (value.is_null()) {
    out += "null";
  } else if (value.is_bool()) {
    out += value.as_bool() ? "true" : "false";
  } else if (value.is_int()) {
    out += std::to_string(value.as_int());
  } else if (value.is_double()) {
    append_number(out, value.as_double());
  } else if (value.is_string()) {
    append_json_string(out, value.as_string());
  } else if (value.is_array()) {
    out += '[';
    bool first = true;
    for (const Json& item : value.items()) {
      if (!std::exchange(first, false)) out += ',';
      append(out, item);
    }
    out += ']';
  } else {
    out += '{';
    bool first = true;
    for (const auto& [key, item] : value.members()) {
      if (!std::exchange(first, false)) out += ',';
      append_json_string(out, key);
      out += ':';
      append(out, item);
    }
    out += '}';
  }
}

}  // namespace

Result<Json> Json::parse(std::string_view text, Limits limits) {
  if (text.size() > limits.bytes) {
    return Error{Code::invalid, "larger than " + std::to_string(limits.bytes) + " bytes", 0};
  }
  if (!valid_utf8(text)) return Error{Code::invalid, "not valid UTF-8", 0};
  const std::string_view body = trim(text);
  if (body.empty()) return Error{Code::invalid, "empty", 0};
  std::vector<std::int64_t> integers;
  ROOST_CHECK(prescan(body, limits.depth, integers));
  if (body.front() == '{' || body.front() == '[') return parse_container(body, integers);
  // Poco refuses a scalar at the top, RFC 8259 allows it: it is parsed as an array's only item.
  ROOST_TRY(Json wrapped, parse_container("[" + std::string(body) + "]", integers));
  if (wrapped.items().size() != 1) return Error{Code::invalid, "not exactly one value", 0};
  return wrapped.items().front();
}

bool Json::as_bool(bool fallback) const {
  const auto* v = std::get_if<bool>(&data_);
  return v ? *v : fallback;
}

std::int64_t Json::as_int(std::int64_t fallback) const {
  const auto* v = std::get_if<std::int64_t>(&data_);
  return v ? *v : fallback;
}

double Json::as_double(double fallback) const {
  if (const auto* v = std::get_if<double>(&data_)) return *v;
  if (const auto* v = std::get_if<std::int64_t>(&data_)) return static_cast<double>(*v);
  return fallback;
}

const std::string& Json::as_string() const {
  static const std::string empty;
  const auto* v = std::get_if<std::string>(&data_);
  return v ? *v : empty;
}

const Json::Array& Json::items() const {
  static const Array empty;
  const auto* v = std::get_if<Array>(&data_);
  return v ? *v : empty;
}

const Json::Object& Json::members() const {
  static const Object empty;
  const auto* v = std::get_if<Object>(&data_);
  return v ? *v : empty;
}

const Json* Json::find(std::string_view key) const {
  for (const auto& [name, value] : members()) {
    if (name == key) return &value;
  }
  return nullptr;
}

const Json& Json::operator[](std::string_view key) const {
  const Json* value = find(key);
  return value ? *value : null_json();
}

Json& Json::set(std::string key, Json value) {
  if (is_null()) data_ = Object{};
  auto& object = std::get<Object>(data_);
  const auto found = std::find_if(object.begin(), object.end(), [&](const Member& m) { return m.first == key; });
  if (found != object.end()) {
    found->second = std::move(value);
  } else {
    object.emplace_back(std::move(key), std::move(value));
  }
  return *this;
}

void Json::add(std::string key, Json value) { std::get<Object>(data_).emplace_back(std::move(key), std::move(value)); }

void Json::remove(std::string_view key) {
  if (auto* object = std::get_if<Object>(&data_)) std::erase_if(*object, [&](const Member& m) { return m.first == key; });
}

void Json::push(Json value) {
  if (is_null()) data_ = Array{};
  std::get<Array>(data_).push_back(std::move(value));
}

Result<std::string> Json::get_string(std::string_view key) const {
  const Json* value = find(key);
  if (!value) return Error{Code::invalid, "\"" + std::string(key) + "\" is missing", 0};
  if (!value->is_string()) return Error{Code::invalid, "\"" + std::string(key) + "\" must be a string", 0};
  return value->as_string();
}

Result<std::int64_t> Json::get_int(std::string_view key) const {
  const Json* value = find(key);
  if (!value) return Error{Code::invalid, "\"" + std::string(key) + "\" is missing", 0};
  if (!value->is_int()) return Error{Code::invalid, "\"" + std::string(key) + "\" must be an integer", 0};
  return value->as_int();
}

Result<bool> Json::get_bool(std::string_view key) const {
  const Json* value = find(key);
  if (!value) return Error{Code::invalid, "\"" + std::string(key) + "\" is missing", 0};
  if (!value->is_bool()) return Error{Code::invalid, "\"" + std::string(key) + "\" must be true or false", 0};
  return value->as_bool();
}

std::string Json::dump() const {
  std::string out;
  append(out, *this);
  return out;
}

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  std::string clean;
  if (!valid_utf8(text)) {
    for (const char c : text) {
      if (static_cast<unsigned char>(c) < 0x80)
        clean += c;
      else
        clean += "\xEF\xBF\xBD";
    }
    text = clean;
  }
  for (const char c : text) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\b': out += "\\b"; break;
      case '\f': out += "\\f"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
          char escaped[8];
          std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(c));
          out += escaped;
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

}  // namespace roost
