// PluginFixture: a directory of a test's own with plugins and manifests, and a host that remembers what plugins told it.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/crypto.hpp"
#include "base/json.hpp"
#include "host/loader.hpp"

namespace roost::test {

inline std::string read_all(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_all(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

// What plugins said and did wrong; lives as long as the process, as HostApi must.
struct RecordingHost {
  std::mutex mutex;
  std::vector<std::string> logs;
  std::vector<std::string> misbehaved;
  HostApi api{[this](int, std::string_view message, std::string_view fields) {
                const std::scoped_lock lock(mutex);
                logs.push_back(std::string(message) + std::string(fields));
              },
              [this](std::string_view plugin, std::string_view what) {
                const std::scoped_lock lock(mutex);
                misbehaved.push_back(std::string(plugin) + ": " + std::string(what));
              }};
  std::vector<std::string> violations() {
    const std::scoped_lock lock(mutex);
    return misbehaved;
  }
};

class PluginFixture : public testing::Test {
 protected:
  PluginFixture() {
    std::string pattern = (std::filesystem::temp_directory_path() / "roost-host-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
  }
  ~PluginFixture() override { std::filesystem::remove_all(directory_); }

  // A manifest that is right for a library of the test's plugins, which is copied beside it.
  Json manifest(const std::string& library, const std::string& name, const std::string& kind) {
    const std::filesystem::path source = std::filesystem::path(ROOST_TEST_PLUGINS) / (library + ".so");
    std::filesystem::remove(directory_ / (library + ".so"));  // never written over: it may be mapped
    std::filesystem::copy_file(source, directory_ / (library + ".so"));
    Json document = Json::object({{"name", name}, {"kind", kind}, {"version", "1.0.0"}});
    document.set("abi", Json::object({{"major", 1}, {"minor", 0}}));
    document.set("library", library + ".so");
    document.set("sha256", to_hex(sha256(read_all(source))));
    document.set("config_schema", Json::object({{"type", "object"}}));
    return document;
  }
  std::filesystem::path write_manifest(const Json& document) {
    const std::filesystem::path path = directory_ / (document["name"].as_string() + ".roost.json");
    write_all(path, document.dump());
    return path;
  }
  static std::int64_t in_seconds(int seconds) { return system_clock().monotonic_ns() + std::int64_t{seconds} * 1'000'000'000; }

  std::filesystem::path directory_;
  RecordingHost& host_ = immortal_host();

 private:
  // Plugins keep their host for ever.
  static RecordingHost& immortal_host() {
    static auto* hosts = new std::vector<std::unique_ptr<RecordingHost>>;
    hosts->push_back(std::make_unique<RecordingHost>());
    return *hosts->back();
  }
};

}  // namespace roost::test
