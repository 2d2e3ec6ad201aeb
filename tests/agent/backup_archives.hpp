// Archives in memory and trees on disk, for the tests of backup, verify and restore.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "agent/archive_reader.hpp"
#include "agent/archive_writer.hpp"
#include "agent/task.hpp"
#include "agent/verify.hpp"

namespace roost::agent {

class TempDir {
 public:
  TempDir() {
    std::string name = std::filesystem::temp_directory_path() / "roost-agent-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  // By the shell: std::filesystem cannot remove paths that are longer than PATH_MAX.
  ~TempDir() {
    if (std::system(("chmod -R u+rwX '" + path_ + "' 2>/dev/null; rm -rf '" + path_ + "'").c_str()) != 0)
      ADD_FAILURE() << path_ << " stays";
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

class MemorySink final : public ByteSink {
 public:
  Status write(std::string_view data) override {
    bytes += data;
    return {};
  }
  std::string bytes;
};

class MemorySource final : public ArchiveSource {
 public:
  explicit MemorySource(std::string bytes) : bytes_(std::move(bytes)) {}
  [[nodiscard]] std::uint64_t size() const override { return bytes_.size(); }
  Result<std::string> read(std::uint64_t offset, std::size_t length) override {
    EXPECT_LE(offset + length, bytes_.size()) << "a read beyond the end was not prevented";
    return bytes_.substr(offset, length);
  }

 private:
  std::string bytes_;
};

inline ManifestHeader test_header() {
  ManifestHeader header;
  header.session_id = "abcd1234";
  header.user_id = "user@example.com";
  header.operation_id = "0badcafe";
  header.attempt = 1;
  header.backup_id = "abcd1234-20251115T035136Z";
  header.archive = "workspace-abcd1234-20251115T035136Z.zip";
  header.volume_uid = "volume-1";
  header.made_at_us = 1'763'178'696'653'291;
  return header;
}

// An archive made by `fill(writer)`.
template <class Fill>
std::string make_archive(Fill fill, Result<Receipt>* receipt = nullptr) {
  MemorySink sink;
  auto writer = ArchiveWriter::create("/tmp", test_header(), sink);
  EXPECT_TRUE(writer.ok());
  fill(**writer);
  auto made = (*writer)->finish();
  EXPECT_TRUE(made.ok()) << made.error().message;
  if (receipt != nullptr) *receipt = made;
  return sink.bytes;
}

inline EntryAttributes at(std::string path, std::uint32_t mode = 0644) {
  return EntryAttributes{std::move(path), mode, 1'600'000'000'123'456'789};
}

inline Result<Receipt> verify_bytes(std::string bytes) {
  MemorySource source(std::move(bytes));
  auto monitor = TaskMonitor::create("");
  EXPECT_TRUE(monitor.ok());
  return read_archive(source, *monitor);
}

inline std::string read_text(const std::string& path) {
  std::ostringstream text;  // not by istreambuf_iterator: a call for each byte is minutes under TSan
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}
inline void write_text(const std::string& path, std::string_view text) { std::ofstream(path, std::ios::binary) << text; }

inline std::string noise(std::size_t size, std::uint64_t seed = 1) {
  std::string out(size, '\0');
  std::uint64_t state = seed * 0x9E3779B97F4A7C15ull + 1;
  for (char& c : out) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    c = static_cast<char>(state >> 56);
  }
  return out;
}

// What a tree is, for comparison: a line for each path with type, permissions, time, and contents or target.
inline std::map<std::string, std::string> snapshot(const std::string& root) {
  std::map<std::string, std::string> all;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    const std::string path = entry.path().string();
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) continue;
    std::string text = std::to_string(status.st_mtim.tv_sec) + "." + std::to_string(status.st_mtim.tv_nsec);
    char mode[16];
    std::snprintf(mode, sizeof mode, " %o ", static_cast<unsigned>(status.st_mode));
    text += mode;
    if (S_ISREG(status.st_mode)) text += read_text(path);
    if (S_ISLNK(status.st_mode)) text += std::filesystem::read_symlink(path).string();
    if (S_ISREG(status.st_mode) || S_ISLNK(status.st_mode) || S_ISDIR(status.st_mode)) all[path.substr(root.size() + 1)] = text;
  }
  return all;
}

// Tells the first difference instead of printing two trees.
inline void expect_same_trees(const std::map<std::string, std::string>& one, const std::map<std::string, std::string>& other) {
  for (const auto& [path, text] : one) {
    const auto found = other.find(path);
    if (found == other.end()) {
      ADD_FAILURE() << "missing: " << path;
    } else if (found->second != text) {
      ADD_FAILURE() << "differs: " << path << "\n  " << text.substr(0, 100) << "\n  " << found->second.substr(0, 100);
    }
  }
  for (const auto& [path, text] : other) EXPECT_TRUE(one.count(path) == 1) << "too much: " << path;
}

}  // namespace roost::agent
