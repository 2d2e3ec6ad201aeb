#include "compute/kubernetes/json.hpp"

#include <Poco/Exception.h>
#include <Poco/JSON/Handler.h>
#include <Poco/JSON/Parser.h>
#include <Poco/SHA1Engine.h>
#include <Poco/UTF8Encoding.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "roost/plugin.hpp"

namespace roost::kubernetes {
namespace {

constexpr std::size_t kDepthMax = 100;

// Builds the tree from Poco's events. `item`, if set, takes the elements of the top-level array "items" instead of the tree.
class Builder : public Poco::JSON::Handler {
 public:
  explicit Builder(const std::function<void(Json)>* item) : item_(item) {}
  Json take() { return std::move(root_); }

  void reset() override {}
  void startObject() override { open(Json::object()); }
  void endObject() override { close(); }
  void startArray() override { open(Json::array()); }
  void endArray() override { close(); }
  void key(const std::string& name) override { stack_.back().key = name; }
  void null() override { add(Json()); }
  void value(int v) override { add(Json(v)); }
  void value(unsigned v) override { add(Json(static_cast<std::int64_t>(v))); }
#if defined(POCO_HAVE_INT64)
  void value(Poco::Int64 v) override { add(Json(static_cast<std::int64_t>(v))); }
  void value(Poco::UInt64 v) override { add(Json(static_cast<std::int64_t>(v))); }
#endif
  void value(const std::string& v) override { add(Json(v)); }
  void value(double v) override { add(Json(v)); }
  void value(bool v) override { add(Json(v)); }

 private:
  struct Level {
    Json value;
    std::string key;
  };
  void open(Json container) {
    if (stack_.size() >= kDepthMax) throw Poco::DataFormatException("nested too deeply");
    stack_.push_back({std::move(container), {}});
  }
  void close() {
    Json done = std::move(stack_.back().value);
    stack_.pop_back();
    add(std::move(done));
  }
  void add(Json value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return;
    }
    Level& level = stack_.back();
    if (!level.value.is_array()) {
      if (level.key != "managedFields") level.value.set(level.key, std::move(value));
    } else if (item_ != nullptr && stack_.size() == 2 && stack_.front().key == "items") {
      (*item_)(std::move(value));
    } else {
      level.value.push(std::move(value));
    }
  }
  const std::function<void(Json)>* item_;
  Json root_;
  std::vector<Level> stack_;
};

Json parse_with(std::string_view text, std::string_view what, const std::function<void(Json)>* item) {
  try {
    Poco::SharedPtr<Builder> builder(new Builder(item));
    Poco::JSON::Parser parser(builder);
    parser.parse(std::string(text));
    Json value = builder->take();
    if (value.is_object()) return value;
  } catch (const Poco::Exception& e) {
    throw sdk::Failure(ROOST_INTERNAL, std::string(what) + ": not JSON: " + e.message());
  }
  throw sdk::Failure(ROOST_INTERNAL, std::string(what) + ": not a JSON object");
}

// The length of the UTF-8 sequence at text[i]; 0: it is none.
std::size_t utf8_at(std::string_view text, std::size_t i) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data()) + i;
  const int length = bytes[0] < 0x80 ? 1 : bytes[0] < 0xE0 ? 2 : bytes[0] < 0xF0 ? 3 : 4;
  const bool whole = i + static_cast<std::size_t>(length) <= text.size() && Poco::UTF8Encoding::isLegal(bytes, length);
  return whole ? static_cast<std::size_t>(length) : 0;
}

// What the host is to read must be valid UTF-8 without a NUL, or it refuses the whole document, and a list of sessions with it.
// A container's last words are its user's, and a text that was cut may end within a character.
void write_string(std::string& out, const std::string& text) {
  out += '"';
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const std::size_t length = c == '\0' ? 0 : utf8_at(text, i);
    if (length != 1) {
      out += length == 0 ? "\xEF\xBF\xBD" : text.substr(i, length);
      i += std::max<std::size_t>(length, 1) - 1;
      continue;
    }
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
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

// The element of a list of named objects that has that name.
Json* named(Json::Array& items, const Json& name) {
  const auto found = std::find_if(items.begin(), items.end(), [&](const Json& item) { return item["name"] == name; });
  return found == items.end() ? nullptr : &*found;
}

bool all_named(const Json::Array& items) {
  return !items.empty() && std::all_of(items.begin(), items.end(), [](const Json& item) { return item["name"].is_string(); });
}

}  // namespace

Json Json::parse(std::string_view text, std::string_view what) { return parse_with(text, what, nullptr); }

Json Json::parse_list(std::string_view text, std::string_view what, const std::function<void(Json)>& item) {
  return parse_with(text, what, &item);
}

const Json& Json::operator[](std::string_view key) const {
  static const Json none;
  for (const Member& member : members()) {
    if (member.first == key) return member.second;
  }
  return none;
}

Json& Json::at(std::string_view key) {
  if (is_null()) data_ = Object();
  Object& object = std::get<Object>(data_);
  for (Member& member : object) {
    if (member.first == key) return member.second;
  }
  return object.emplace_back(std::string(key), Json()).second;
}

const std::string& Json::str() const {
  static const std::string none;
  const auto* value = std::get_if<std::string>(&data_);
  return value != nullptr ? *value : none;
}

std::int64_t Json::integer(std::int64_t fallback) const {
  const auto* value = std::get_if<std::int64_t>(&data_);
  return value != nullptr ? *value : fallback;
}

bool Json::boolean(bool fallback) const {
  const auto* value = std::get_if<bool>(&data_);
  return value != nullptr ? *value : fallback;
}

const Json::Array& Json::items() const {
  static const Array none;
  const auto* value = std::get_if<Array>(&data_);
  return value != nullptr ? *value : none;
}

const Json::Object& Json::members() const {
  static const Object none;
  const auto* value = std::get_if<Object>(&data_);
  return value != nullptr ? *value : none;
}

void Json::push(Json value) {
  if (is_null()) data_ = Array();
  std::get<Array>(data_).push_back(std::move(value));
}

void Json::write(std::string& out) const {
  if (is_null()) {
    out += "null";
  } else if (const auto* flag = std::get_if<bool>(&data_)) {
    out += *flag ? "true" : "false";
  } else if (const auto* number = std::get_if<std::int64_t>(&data_)) {
    out += std::to_string(*number);
  } else if (const auto* real = std::get_if<double>(&data_)) {
    char text[32];
    std::snprintf(text, sizeof text, "%.17g", std::isfinite(*real) ? *real : 0.0);
    out += text;
  } else if (const auto* text = std::get_if<std::string>(&data_)) {
    write_string(out, *text);
  } else if (is_array()) {
    out += '[';
    for (const Json& item : items()) {
      if (&item != &items().front()) out += ",";
      item.write(out);
    }
    out += ']';
  } else {
    bool first = true;
    out += '{';
    for (const Member& member : members()) {
      if (!first) out += ',';
      first = false;
      write_string(out, member.first);
      out += ':';
      member.second.write(out);
    }
    out += '}';
  }
}

std::string Json::dump() const {
  std::string out;
  write(out);
  return out;
}

Json merge(Json base, const Json& over) {
  if (over.is_null()) return base;
  if (over.is_object() && (base.is_object() || base.is_null())) {
    Json::Object kept;
    for (const Json::Member& member : base.members()) {
      bool removed = false;
      for (const Json::Member& change : over.members())
        removed = removed || (change.first == member.first && change.second.is_null());
      if (!removed) kept.push_back(member);
    }
    Json merged = Json::from(std::move(kept));
    for (const Json::Member& change : over.members()) {
      if (!change.second.is_null()) merged.set(change.first, merge(merged[change.first], change.second));
    }
    return merged;
  }
  if (over.is_array() && base.is_array() && all_named(over.items()) && all_named(base.items())) {
    Json::Array merged = base.items();
    for (const Json& item : over.items()) {
      Json* same = named(merged, item["name"]);
      if (same != nullptr) {
        *same = merge(*same, item);
      } else {
        merged.push_back(item);
      }
    }
    return Json::from(std::move(merged));
  }
  return over;
}

bool contains(const Json& live, const Json& wanted) {
  if (wanted.is_object()) {
    return live.is_object() && std::all_of(wanted.members().begin(), wanted.members().end(), [&](const Json::Member& member) {
             return contains(live[member.first], member.second);
           });
  }
  if (wanted.is_array()) {
    return live.items().size() == wanted.items().size() &&
           std::equal(live.items().begin(), live.items().end(), wanted.items().begin(), contains);
  }
  return live == wanted;
}

std::string digest(std::string_view text) {
  Poco::SHA1Engine engine;
  engine.update(text.data(), text.size());
  return Poco::DigestEngine::digestToHex(engine.digest());
}

}  // namespace roost::kubernetes
