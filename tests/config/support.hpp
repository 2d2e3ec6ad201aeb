// What the tests of the configuration share: a smallest document, and a directory of a test's own.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "config/config.hpp"

namespace roost::config {

// Five lines: what is added begins at line 6.
inline constexpr const char* kSmallest =
    "store: {plugin: store-sqlite, config: {path: \"{data_dir}/s.db\"}}\n"
    "compute: {plugin: compute-process}\n"
    "backup: {plugin: backup-directory}\n"
    "auth:\n"
    "  keys: [{name: me, key: 0123456789abcdef-key}]\n";

inline Result<Config> parse(const std::string& more, const Environment& environment = {}, const std::string& base = kSmallest) {
  return Config::parse(base + more, "r.yaml", "/etc/roost", environment);
}

inline std::string fault(const std::string& more, const Environment& environment = {}, const std::string& base = kSmallest) {
  const auto config = parse(more, environment, base);
  EXPECT_FALSE(config.ok()) << more;
  return config.ok() ? "" : config.error().message;
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

class Directory {
 public:
  Directory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "roost-config-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  std::string write(const std::string& name, const std::string& text, mode_t mode = 0600) const {
    const std::string file = (path_ / name).string();
    std::ofstream(file) << text;
    ::chmod(file.c_str(), mode);
    return file;
  }
  [[nodiscard]] std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

}  // namespace roost::config
