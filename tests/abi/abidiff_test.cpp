// The present header beside the released one (v1_0/), as abidiff sees it through the symbols of probe.c: any difference needs a
// new minor version, and a removed symbol is never allowed. What kind of difference it is abidiff cannot tell (its status is the
// same for an appended field and for a broken one): that is what layout.c and frozen_test.cpp are for.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <string>

namespace {

namespace fs = std::filesystem;

const fs::path kSource = ROOST_SOURCE_DIR;
const fs::path kReleased = kSource / "tests/abi/v1_0";
const fs::path kPresent = kSource / "core/abi/include";
constexpr int kAbiChanged = 4;  // abidiff(1), RETURN VALUES; a symbol that is gone adds 8

std::string read(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

int run(const std::string& command) {
  const int status = std::system(command.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int minor_of(const std::string& header) {
  std::smatch found;
  EXPECT_TRUE(std::regex_search(header, found, std::regex(R"(#define ROOST_ABI_MINOR (\d+)u)")));
  return found.empty() ? -1 : std::stoi(found[1]);
}

class AbiDiff : public testing::Test {
 protected:
  void SetUp() override {
    if (run("abidiff --version >/dev/null 2>&1") != 0) GTEST_SKIP() << "abidiff is missing: install abigail-tools";
    std::string made = (fs::temp_directory_path() / "roost-abi-XXXXXX").string();
    ASSERT_NE(::mkdtemp(made.data()), nullptr);
    directory_ = made;
    probe("released", kReleased);
  }
  void TearDown() override {
    if (!directory_.empty()) fs::remove_all(directory_);
  }

  // NAME.so: probe.c with the header in `include`, with the debugging information that abidiff reads.
  void probe(const std::string& name, const fs::path& include) {
    const std::string command = std::string(ROOST_C_COMPILER) + " -std=c11 -g -O0 -shared -fPIC -I '" + include.string() + "' '" +
                                (kSource / "tests/abi/probe.c").string() + "' -o '" + (directory_ / (name + ".so")).string() +
                                "'";
    ASSERT_EQ(run(command), 0) << command;
  }
  // abidiff's status for the released header beside that of NAME.so. What it said is in `said_`.
  int compare(const std::string& name) {
    const fs::path out = directory_ / "said";
    const int status = run("abidiff --harmless '" + (directory_ / "released.so").string() + "' '" +
                           (directory_ / (name + ".so")).string() + "' >'" + out.string() + "' 2>&1");
    said_ = read(out);
    return status;
  }
  // The same for the present header with the first match of `pattern` replaced.
  int compare_changed(const char* pattern, const char* replacement) {
    const std::string header = read(kPresent / "roost/plugin.h");
    const std::string changed =
        std::regex_replace(header, std::regex(pattern), replacement, std::regex_constants::format_first_only);
    EXPECT_NE(changed, header) << pattern << " is nowhere in plugin.h";
    fs::create_directories(directory_ / "changed/roost");
    std::ofstream(directory_ / "changed/roost/plugin.h") << changed;
    probe("changed", directory_ / "changed");
    return compare("changed");
  }

  fs::path directory_;
  std::string said_;
};

TEST_F(AbiDiff, WhatChangedSinceTheReleaseHasANewMinorVersion) {
  probe("present", kPresent);
  const int status = compare("present");
  const bool bumped = minor_of(read(kPresent / "roost/plugin.h")) > minor_of(read(kReleased / "roost/plugin.h"));
  EXPECT_TRUE(status == 0 || (status == kAbiChanged && bumped))
      << "plugin.h is not what was released: append only, and raise ROOST_ABI_MINOR. abidiff (" << status << "):\n"
      << said_;
}

// If abidiff went blind (an untyped pointer, no debugging information), the test above would prove nothing.
TEST_F(AbiDiff, SeesEveryKindOfChange) {
  EXPECT_EQ(compare_changed(R"(\} roost_sink;)", "void* more; } roost_sink;"), kAbiChanged) << "appended: " << said_;
  EXPECT_EQ(compare_changed(R"(typedef struct roost_call \{)", "$& uint64_t more;"), kAbiChanged) << "inserted: " << said_;
  EXPECT_EQ(compare_changed(R"(\(\*put_abort\)\(roost_instance\*)", "$&, int"), kAbiChanged) << "signature: " << said_;
  EXPECT_EQ(compare_changed("ROOST_DATA_LOSS = 13", "ROOST_DATA_LOSS = 19"), kAbiChanged) << "value: " << said_;
}

TEST_F(AbiDiff, ProbeReachesEveryStructureAndEnumeration) {
  const std::string header = read(kPresent / "roost/plugin.h");
  const std::regex fields(R"(typedef struct (roost_\w+) \{)");
  int structures = 0;
  for (auto at = std::sregex_iterator(header.begin(), header.end(), fields); at != std::sregex_iterator(); ++at, ++structures) {
    const std::string name = (*at)[1];
    EXPECT_EQ(compare_changed(("\\} " + name + ";").c_str(), ("void* more; } " + name + ";").c_str()), kAbiChanged) << name;
  }
  EXPECT_GE(structures, 16);
  const std::regex values(R"(enum (roost_\w+) \{)");
  int enumerations = 0;
  for (auto at = std::sregex_iterator(header.begin(), header.end(), values); at != std::sregex_iterator(); ++at, ++enumerations) {
    const std::string name = (*at)[1];
    EXPECT_EQ(compare_changed(("enum " + name + " \\{").c_str(), ("enum " + name + " { ROOST_MORE = 77,").c_str()), kAbiChanged)
        << name;
  }
  EXPECT_GE(enumerations, 7);
}

}  // namespace
