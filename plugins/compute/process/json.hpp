// JSON for this plugin, over Poco: text that comes from outside becomes an object or a Failure, getters never convert.
// Thread safety: pure functions.
#pragma once

#include <Poco/JSON/Array.h>
#include <Poco/JSON/Object.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace roost::compute_process {

using Object = Poco::JSON::Object;
using Array = Poco::JSON::Array;

// INVALID, naming `what`, for anything that is not one object of at most 1 MiB.
Object::Ptr parse_object(std::string_view text, const std::string& what);
// The same for what may be damaged or missing: null then.
Object::Ptr try_parse(std::string_view text);

// The member, or the fallback where it is missing or of another type.
std::string text_of(const Object& object, const std::string& key, const std::string& fallback = "");
std::int64_t number_of(const Object& object, const std::string& key, std::int64_t fallback = 0);
bool flag_of(const Object& object, const std::string& key, bool fallback = false);
Object::Ptr object_of(const Object& object, const std::string& key);  // never null; empty where there is none
Array::Ptr array_of(const Object& object, const std::string& key);    // never null
std::vector<std::string> texts_of(const Object& object, const std::string& key);

std::string dump(const Object& object);

}  // namespace roost::compute_process
