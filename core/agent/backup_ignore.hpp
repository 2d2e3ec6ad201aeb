// IgnoreRules: which paths a .roostignore leaves out. A subset of gitignore: comments, empty lines, `*`, `?`, `**`, `\` before a
// character that is meant as it is, `/` in front (or within) for the root only, `/` at the end for directories only, `!` to take
// back; the last rule that fits decides. `?` is one byte. No rule is slower than its length times the path's, however many stars
// it has. Thread safety: immutable after parse.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "agent/walk_beneath.hpp"
#include "base/result.hpp"

namespace roost::agent {

class IgnoreRules {
 public:
  static constexpr std::string_view kFile = ".roostignore";
  static constexpr std::size_t kTextMax = 32u << 10;
  static constexpr std::size_t kRulesMax = 256;
  static constexpr std::size_t kRuleMax = 256;  // bytes

  // INVALID, with the line, where it is beyond these limits.
  static Result<IgnoreRules> parse(std::string_view text);
  // What lies at the root of a tree; none where there is no such file. INVALID also where it is not a file that can be read.
  static Result<IgnoreRules> load(const FdOwner& root);

  [[nodiscard]] bool empty() const { return rules_.empty(); }
  // Whether this path, relative to the root, is left out. What is in a directory that is left out need not be asked for: no rule
  // takes it back.
  [[nodiscard]] bool excludes(std::string_view path, bool directory) const;

 private:
  struct Part {
    std::string text;
    bool any_depth = false;  // `**`: any number of directories
  };
  struct Rule {
    std::vector<Part> parts;
    bool takes_back = false;
    bool directories_only = false;
  };
  static bool fits(const Rule& rule, const std::vector<std::string_view>& names);
  static Rule rule_of(std::string_view line);

  std::vector<Rule> rules_;
};

}  // namespace roost::agent
