// YAML to typed JSON, with the place of every value. Plain scalars are typed by YAML 1.2's core schema (so `no` is a text),
// quoted ones are texts. Refused: duplicate keys, several documents, tags of one's own, merge keys, keys that are not scalars,
// aliases that grow the document beyond the limits, whatever is too deep or too large. Thread safety: pure functions, plain
// values.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>

#include "base/json.hpp"
#include "base/result.hpp"

namespace roost::config {

struct Position {
  std::string source;  // a file's name, or "environment variable ROOST_…"
  int line = 0;        // from 1; 0: the source has no lines
  int column = 0;

  [[nodiscard]] std::string text() const;  // "roost.yaml:12:9"
};

// JSON pointers (RFC 6901) to places.
class Positions {
 public:
  void set(const std::string& pointer, Position value, Position key);
  void erase_below(const std::string& pointer);                  // it and everything below it
  [[nodiscard]] Position value(std::string_view pointer) const;  // its own, or the nearest parent's
  [[nodiscard]] Position key(std::string_view pointer) const;    // of the key in front of the value

 private:
  struct Entry {
    Position value, key;
  };
  [[nodiscard]] const Entry* nearest(std::string_view pointer) const;
  std::map<std::string, Entry, std::less<>> entries_;
};

struct YamlLimits {
  std::size_t bytes = 1 << 20;
  std::size_t values = 100'000;  // after aliases are put in
  std::size_t keys = 1'000;      // of one map
  int depth = 32;
};

struct YamlDocument {
  Json value;  // null for an empty document
  Positions positions;
};

// INVALID "SOURCE:LINE:COLUMN: why".
[[nodiscard]] Result<YamlDocument> parse_yaml(std::string_view text, const std::string& source, const YamlLimits& limits = {});

// pointer + "/" + segment, escaped.
[[nodiscard]] std::string child_pointer(std::string_view pointer, std::string_view segment);

}  // namespace roost::config
