#include "cli/contexts.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/clock.hpp"
#include "base/descriptor.hpp"
#include "cli/text.hpp"
#include "cli/url.hpp"
#include "config/yaml.hpp"

namespace roost::cli {
namespace {

constexpr std::size_t kLargest = 256 << 10;
constexpr std::size_t kLongestKey = 4096;

Error system_error(const std::string& what) { return {Code::invalid, what + ": " + std::strerror(errno), 0}; }

// A file of at most `most` bytes; NOT_FOUND where there is none.
Result<std::string> read_small(const std::string& path, std::size_t most, struct stat& status) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (file.get() < 0 && errno == ENOENT) return Error{Code::not_found, path + " does not exist", 0};
  if (file.get() < 0 || ::fstat(file.get(), &status) != 0) return system_error("cannot read " + path);
  if (S_ISDIR(status.st_mode)) return Error{Code::invalid, path + " is a directory", 0};
  std::string text;
  char buffer[4096];
  while (true) {
    const ssize_t n = ::read(file.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_error("cannot read " + path);
    if (n == 0) return text;
    text.append(buffer, static_cast<std::size_t>(n));
    if (text.size() > most) return Error{Code::invalid, path + " is larger than " + std::to_string(most) + " bytes", 0};
  }
}

Result<ContextEntry> parse_entry(const Json& json, const std::string& where) {
  if (!json.is_object()) return Error{Code::invalid, where + ": a context is a map with url and, for example, key_file", 0};
  ContextEntry entry;
  const std::map<std::string_view, std::string ContextEntry::*> known{{"url", &ContextEntry::url},
                                                                      {"key", &ContextEntry::key},
                                                                      {"key_file", &ContextEntry::key_file},
                                                                      {"key_env", &ContextEntry::key_env},
                                                                      {"ca_file", &ContextEntry::ca_file}};
  for (const auto& [name, value] : json.members()) {
    const auto found = known.find(name);
    if (found == known.end()) {
      return Error{Code::invalid,
                   where + ": \"" + printable(name) + "\" is not known here; there are url, key, key_file, key_env and ca_file",
                   0};
    }
    if (!value.is_string()) return Error{Code::invalid, where + ": " + name + " must be a text in quotes", 0};
    entry.*found->second = value.as_string();
  }
  if (entry.url.empty()) return Error{Code::invalid, where + ": url is missing", 0};
  if (const auto url = base_url(entry.url); !url.ok()) return url.error().context(where);
  const int keys = !entry.key.empty() + !entry.key_file.empty() + !entry.key_env.empty();
  if (keys > 1) return Error{Code::invalid, where + ": only one of key, key_file and key_env can be", 0};
  if (!entry.key.empty()) {
    ROOST_TRY(entry.key, checked_key(entry.key, where));
  }
  return entry;
}

Status write_atomically(const std::string& path, const std::string& text) {
  const std::string temporary = path + "." + system_random().hex(4) + ".new";
  const auto fail = [&](const std::string& what) {
    const Error error = system_error(what);
    ::unlink(temporary.c_str());
    return error;
  };
  {
    const Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (file.get() < 0) return system_error("cannot write " + temporary);
    std::size_t done = 0;
    while (done < text.size()) {
      const ssize_t n = ::write(file.get(), text.data() + done, text.size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return fail("cannot write " + temporary);
      done += static_cast<std::size_t>(n);
    }
    if (::fsync(file.get()) != 0) return fail("cannot write " + temporary);
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) return fail("cannot write " + path);
  return {};
}

}  // namespace

bool Contexts::holds_key() const {
  return std::any_of(entries.begin(), entries.end(), [](const auto& entry) { return !entry.second.key.empty(); });
}

bool valid_context_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 && name.front() != '-' && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '.' || c == '_' || c == '-';
  });
}

Result<Contexts> parse_contexts(std::string_view yaml, const std::string& source) {
  ROOST_TRY(const config::YamlDocument document, config::parse_yaml(yaml, source));
  Contexts contexts;
  if (document.value.is_null()) return contexts;
  const auto at = [&](const std::string& pointer) { return document.positions.key(pointer).text(); };
  if (!document.value.is_object()) return Error{Code::invalid, source + ": must be a map with current and contexts", 0};
  for (const auto& [name, value] : document.value.members()) {
    if (name == "current" && (value.is_string() || value.is_null())) {
      contexts.current = value.as_string();
    } else if (name == "contexts" && (value.is_object() || value.is_null())) {
      for (const auto& [context, entry] : value.members()) {
        const std::string where = at(config::child_pointer("/contexts", context));
        if (!valid_context_name(context)) {
          return Error{Code::invalid, where + ": a context's name is of letters, digits, \".\", \"_\" and \"-\"", 0};
        }
        ROOST_TRY(contexts.entries[context], parse_entry(entry, where));
      }
    } else {
      return Error{Code::invalid, at(config::child_pointer("", name)) + ": must be current (a name) or contexts (a map)", 0};
    }
  }
  return contexts;
}

std::string format_contexts(const Contexts& contexts) {
  std::string out = "# The servers that roostctl knows; `roostctl config` changes this file.\n";
  const auto line = [&](std::string_view indent, std::string_view name, const std::string& value) {
    if (value.empty()) return;
    out.append(indent).append(name).append(": ");
    append_json_string(out, value);  // which is YAML's quoted text as well
    out += "\n";
  };
  line("", "current", contexts.current);
  if (contexts.entries.empty()) return out;
  out += "contexts:\n";
  for (const auto& [name, entry] : contexts.entries) {
    out += "  \"" + name + "\":\n";
    line("    ", "url", entry.url);
    line("    ", "key", entry.key);
    line("    ", "key_file", entry.key_file);
    line("    ", "key_env", entry.key_env);
    line("    ", "ca_file", entry.ca_file);
  }
  return out;
}

Result<ContextsFile> read_contexts(const std::string& path) {
  ContextsFile file;
  if (path.empty()) return file;
  struct stat status {};
  const auto text = read_small(path, kLargest, status);
  if (!text.ok() && text.error().code == Code::not_found) return file;
  if (!text.ok()) return text.error();
  ROOST_TRY(file.contexts, parse_contexts(*text, path));
  file.exposed = file.contexts.holds_key() && (status.st_mode & 077) != 0;
  return file;
}

Status change_contexts(const std::string& path, const std::function<Status(Contexts&)>& change) {
  if (path.empty()) return Error{Code::invalid, "there is no place for the configuration: set HOME or XDG_CONFIG_HOME", 0};
  std::error_code problem;
  std::filesystem::path real = std::filesystem::weakly_canonical(path, problem);  // a link to it stays a link
  if (problem) real = path;
  std::filesystem::create_directories(real.parent_path(), problem);
  const Descriptor directory(::open(real.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0) return system_error("cannot use " + real.parent_path().string());
  if (::flock(directory.get(), LOCK_EX) != 0) return system_error("cannot lock " + real.parent_path().string());
  ROOST_TRY(ContextsFile file, read_contexts(real));
  ROOST_CHECK(change(file.contexts));
  return write_atomically(real, format_contexts(file.contexts));
}

std::string contexts_path(const Environment& environment) {
  const std::string xdg = environment("XDG_CONFIG_HOME").value_or("");
  if (xdg.starts_with('/')) return xdg + "/roost/config.yaml";  // a relative one is to be ignored, says the specification
  const std::string home = environment("HOME").value_or("");
  return home.empty() ? "" : home + "/.config/roost/config.yaml";
}

Result<std::string> read_key_file(const std::string& path) {
  struct stat status {};
  const auto text = read_small(path, kLongestKey, status);
  if (!text.ok()) return Error{Code::invalid, "the key's file: " + text.error().message, 0};
  return checked_key(*text, path);
}

Result<std::string> checked_key(std::string_view text, const std::string& source) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  if (text.empty()) return Error{Code::invalid, source + " holds no key", 0};
  const bool visible = std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > 0x20 && c < 0x7F; });
  if (!visible || text.size() > kLongestKey) {
    return Error{Code::invalid, source + " does not hold a key: one line of visible ASCII characters", 0};
  }
  return std::string(text);
}

}  // namespace roost::cli
