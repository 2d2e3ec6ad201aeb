#include "compute/process/json.hpp"

#include <Poco/Exception.h>
#include <Poco/JSON/Parser.h>

#include <sstream>

#include "roost/plugin.hpp"

namespace roost::compute_process {

Object::Ptr try_parse(std::string_view text) {
  if (text.size() > (1u << 20) || text.find('\0') != std::string_view::npos) return nullptr;
  try {
    Poco::JSON::Parser parser;  // a used one remembers what it failed on
    return parser.parse(std::string(text)).extract<Object::Ptr>();
  } catch (const Poco::Exception&) {
    return nullptr;
  }
}

Object::Ptr parse_object(std::string_view text, const std::string& what) {
  Object::Ptr object = try_parse(text);
  if (object.isNull()) throw sdk::Failure(ROOST_INVALID, what + ": not a JSON object");
  return object;
}

std::string text_of(const Object& object, const std::string& key, const std::string& fallback) {
  const auto value = object.get(key);
  return value.isString() ? value.extract<std::string>() : fallback;
}

std::int64_t number_of(const Object& object, const std::string& key, std::int64_t fallback) {
  const auto value = object.get(key);
  if (!value.isInteger() || value.isBoolean()) return fallback;
  try {
    return value.convert<std::int64_t>();
  } catch (const Poco::Exception&) {  // beyond 64 bits
    return fallback;
  }
}

bool flag_of(const Object& object, const std::string& key, bool fallback) {
  const auto value = object.get(key);
  return value.isBoolean() ? value.extract<bool>() : fallback;
}

Object::Ptr object_of(const Object& object, const std::string& key) {
  Object::Ptr found = object.getObject(key);
  return found.isNull() ? Object::Ptr(new Object) : found;
}

Array::Ptr array_of(const Object& object, const std::string& key) {
  Array::Ptr found = object.getArray(key);
  return found.isNull() ? Array::Ptr(new Array) : found;
}

std::vector<std::string> texts_of(const Object& object, const std::string& key) {
  std::vector<std::string> texts;
  const Array::Ptr items = array_of(object, key);
  for (std::size_t i = 0; i < items->size(); ++i) {
    const auto value = items->get(static_cast<unsigned>(i));
    if (value.isString()) texts.push_back(value.extract<std::string>());
  }
  return texts;
}

std::string dump(const Object& object) {
  std::ostringstream text;
  object.stringify(text);
  return text.str();
}

}  // namespace roost::compute_process
