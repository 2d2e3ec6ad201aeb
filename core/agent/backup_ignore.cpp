#include "agent/backup_ignore.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace roost::agent {

namespace {

// One part of a path against one of a rule. Only the last star is ever gone back to: an earlier one could not match more.
bool name_fits(std::string_view pattern, std::string_view name) {
  std::size_t p = 0;
  std::size_t n = 0;
  std::size_t behind_star = std::string_view::npos;
  std::size_t star_took = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      behind_star = ++p;
      star_took = n;
      continue;
    }
    if (p < pattern.size()) {
      const std::size_t escape = pattern[p] == '\\' && p + 1 < pattern.size() ? 1 : 0;
      const char wanted = pattern[p + escape];
      if (wanted == name[n] || (wanted == '?' && escape == 0)) {
        p += 1 + escape;
        ++n;
        continue;
      }
    }
    if (behind_star == std::string_view::npos) return false;
    p = behind_star;
    n = ++star_took;
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

std::vector<std::string_view> split(std::string_view path) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = path.find('/');
    parts.push_back(path.substr(0, end));
    if (end == std::string_view::npos) return parts;
    path.remove_prefix(end + 1);
  }
}

// Without the line's end and without the blanks before it, unless a backslash keeps them.
std::string_view trimmed(std::string_view line) {
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  while (!line.empty() && (line.back() == ' ' || line.back() == '\t')) {
    if (line.size() > 1 && line[line.size() - 2] == '\\') break;
    line.remove_suffix(1);
  }
  return line;
}

Error bad_ignore_file(const std::string& what) { return Error{Code::invalid, ".roostignore: " + what, 0}; }

}  // namespace

IgnoreRules::Rule IgnoreRules::rule_of(std::string_view line) {
  Rule rule;
  rule.takes_back = line.front() == '!';
  line.remove_prefix(rule.takes_back ? 1 : 0);
  rule.directories_only = !line.empty() && line.back() == '/';
  line.remove_suffix(rule.directories_only ? 1 : 0);
  const bool anywhere = line.find('/') == std::string_view::npos;
  line.remove_prefix(!line.empty() && line.front() == '/' ? 1 : 0);
  if (line.empty()) return rule;  // has no parts: fits nothing
  if (anywhere) rule.parts.push_back(Part{"", true});
  for (const std::string_view part : split(line)) {
    const bool any_depth = part == "**" && !anywhere;
    const bool again = any_depth && !rule.parts.empty() && rule.parts.back().any_depth;
    if (!again) rule.parts.push_back(Part{std::string(part), any_depth});
  }
  return rule;
}

Result<IgnoreRules> IgnoreRules::parse(std::string_view text) {
  IgnoreRules rules;
  if (text.size() > kTextMax) return bad_ignore_file("it is larger than " + std::to_string(kTextMax) + " bytes");
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.front() == '#') continue;
    if (line.size() > kRuleMax) {
      return bad_ignore_file("line " + std::to_string(number) + " is longer than " + std::to_string(kRuleMax) + " bytes");
    }
    if (rules.rules_.size() == kRulesMax) {
      return bad_ignore_file("line " + std::to_string(number) + " is one rule more than " + std::to_string(kRulesMax));
    }
    rules.rules_.push_back(rule_of(line));
  }
  return rules;
}

Result<IgnoreRules> IgnoreRules::load(const FdOwner& root) {
  const FdOwner file(open_beneath(root.get(), std::string(kFile).c_str(), O_RDONLY | O_NONBLOCK));
  struct stat status {};
  if (!file && errno == ENOENT) return IgnoreRules();
  if (!file || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode))
    return bad_ignore_file("it is not a file that can be read");
  std::string text(kTextMax + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = ::read(file.get(), text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return bad_ignore_file("it cannot be read");
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  text.resize(size);
  return parse(text);
}

bool IgnoreRules::fits(const Rule& rule, const std::vector<std::string_view>& names) {
  const std::vector<Part>& parts = rule.parts;
  std::size_t p = 0;
  std::size_t n = 0;
  bool starred = false;
  std::size_t behind_star = 0;
  std::size_t star_took = 0;
  while (n < names.size()) {
    if (p < parts.size() && parts[p].any_depth) {
      starred = true;
      behind_star = ++p;
      star_took = n;
      if (p == parts.size()) return true;  // at the end: everything beneath
    } else if (p < parts.size() && name_fits(parts[p].text, names[n])) {
      ++p;
      ++n;
    } else if (starred) {
      p = behind_star;
      n = ++star_took;
    } else {
      return false;
    }
  }
  return !parts.empty() && p == parts.size();
}

bool IgnoreRules::excludes(std::string_view path, bool directory) const {
  if (rules_.empty()) return false;
  const std::vector<std::string_view> names = split(path);
  for (auto rule = rules_.rbegin(); rule != rules_.rend(); ++rule) {
    if (rule->directories_only && !directory) continue;
    if (fits(*rule, names)) return !rule->takes_back;
  }
  return false;
}

}  // namespace roost::agent
