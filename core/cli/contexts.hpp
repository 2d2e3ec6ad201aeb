// Contexts: the servers that roostctl knows by name, in a YAML file of the user's. Thread safety: plain values; the file is
// written as a whole, and two that change it at once do so one after the other.
// Invariants: names are of letters, digits, ".", "_" and "-"; at most one of key, key_file and key_env is set.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace roost::cli {

struct ContextEntry {
  std::string url;
  std::string key;       // itself: then nobody else may read the file
  std::string key_file;  // where it is
  std::string key_env;   // the environment variable that holds it
  std::string ca_file;
  bool operator==(const ContextEntry&) const = default;
};

struct Contexts {
  std::string current;  // empty: none
  std::map<std::string, ContextEntry> entries;
  bool operator==(const Contexts&) const = default;

  [[nodiscard]] bool holds_key() const;
};

[[nodiscard]] bool valid_context_name(std::string_view name);
// INVALID "SOURCE:LINE:COLUMN: why".
[[nodiscard]] Result<Contexts> parse_contexts(std::string_view yaml, const std::string& source);
[[nodiscard]] std::string format_contexts(const Contexts& contexts);

struct ContextsFile {
  Contexts contexts;
  bool exposed = false;  // it holds a key, and others may read it
};
// An absent file is an empty one.
[[nodiscard]] Result<ContextsFile> read_contexts(const std::string& path);
// Reads it, lets `change` act, writes it with mode 0600. Nothing is written where `change` refuses.
[[nodiscard]] Status change_contexts(const std::string& path, const std::function<Status(Contexts&)>& change);

using Environment = std::function<std::optional<std::string>(const std::string& name)>;
// $XDG_CONFIG_HOME/roost/config.yaml, else ~/.config/roost/config.yaml; "" where neither is known.
[[nodiscard]] std::string contexts_path(const Environment& environment);

// A key's file: its first line, without what surrounds it. INVALID where it cannot be read or holds no key.
[[nodiscard]] Result<std::string> read_key_file(const std::string& path);
// INVALID where it cannot be a key: empty, longer than 4 KiB, anything but visible ASCII.
[[nodiscard]] Result<std::string> checked_key(std::string_view text, const std::string& source);

}  // namespace roost::cli
