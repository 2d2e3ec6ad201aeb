// Archives open with ordinary tools. A tool that is missing skips its test on a laptop and fails it in CI.
#include <gmock/gmock.h>

#include "agent/backup_agent.hpp"
#include "agent/backup_odd_tree.hpp"

namespace roost::agent {
namespace {

namespace fs = std::filesystem;

bool have(const std::string& tool) { return std::system(("command -v " + tool + " >/dev/null 2>&1").c_str()) == 0; }

#define NEEDS(tool)                                                                \
  if (!have(tool)) {                                                               \
    if (std::getenv("CI") != nullptr) FAIL() << tool << " is missing: install it"; \
    GTEST_SKIP() << tool << " is missing";                                         \
  }

int sh(const std::string& command) {
  const int status = std::system((command + " >/dev/null 2>&1").c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

class BackupTools : public ::testing::Test {
 protected:
  void save(void (*make)(const std::string&)) {
    make(volume_);
    TaskRun backup;
    backup.volume = volume_;
    const auto made = agent_.run(backup);
    ASSERT_TRUE(made.succeeded()) << made.document.dump();
  }
  // The volume as ZIP can express it: times in seconds, links as they are, a manifest beside.
  std::map<std::string, std::string> contents(const std::string& root) {
    std::map<std::string, std::string> all;
    for (auto& [path, text] : snapshot(root)) {
      if (manifest_number(path) < 0) all[path] = text.substr(text.find(' '));
    }
    return all;
  }

  Agent agent_;
  std::string volume_ = agent_.dir() / "volume";
  std::string out_ = agent_.dir() / "out";
};

TEST_F(BackupTools, UnzipTestsAndExtracts) {
  NEEDS("unzip");
  save(make_plain_tree);
  EXPECT_EQ(sh("unzip -tqq '" + agent_.stored() + "'"), 0);
  ASSERT_EQ(sh("LC_ALL=C.UTF-8 unzip -qq -d '" + out_ + "' '" + agent_.stored() + "'"), 0);
  expect_same_trees(contents(volume_), contents(out_));
}

TEST_F(BackupTools, SevenZipTestsAndExtracts) {
  NEEDS("7z");
  save(make_plain_tree);
  EXPECT_EQ(sh("7z t '" + agent_.stored() + "'"), 0);
  // It refuses links that point out of the tree, which is its right.
  sh("LC_ALL=C.UTF-8 7z x -snld -o'" + out_ + "' '" + agent_.stored() + "'");
  EXPECT_TRUE(read_text(out_ + "/sizes/zip-in-zip") == read_text(volume_ + "/sizes/zip-in-zip"));
  EXPECT_TRUE(read_text(out_ + "/sizes/compressible") == read_text(volume_ + "/sizes/compressible"));
}

TEST_F(BackupTools, PythonTestsAndExtracts) {
  NEEDS("python3");
  save(make_plain_tree);
  EXPECT_EQ(sh("python3 -c 'import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); sys.exit(z.testzip() is not None); ' '" +
               agent_.stored() + "'"),
            0);
  ASSERT_EQ(sh("python3 -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])' '" + agent_.stored() +
               "' '" + out_ + "'"),
            0);
  EXPECT_TRUE(read_text(out_ + "/sizes/incompressible") == read_text(volume_ + "/sizes/incompressible"));
  EXPECT_EQ(read_text(out_ + "/\xc3\xa9\xc3\xbc \xe2\x82\xac \xf0\x9f\x90\x93"), "UTF-8");
}

// Each entry's name byte for byte, its mode, and the SHA-256 of what Python reads, against the manifest.
constexpr const char* kHoldAgainstManifest = R"(
import base64, hashlib, json, sys, zipfile
archive = zipfile.ZipFile(sys.argv[1])
*entries, manifest = archive.infolist()
found = {e.filename.encode('utf-8' if e.flag_bits & 0x800 else 'cp437').rstrip(b'/'): e for e in entries}
lines = [json.loads(line) for line in archive.read(manifest).splitlines()]
wanted = [line for line in lines if 'type' in line and 'abandoned' not in line]
assert len(wanted) == len(found) == len(entries) == lines[-1]['files']
for line in wanted:
    path = line['path'].encode() if 'path' in line else base64.urlsafe_b64decode(line['path_base64url'] + '===')
    entry = found.pop(path)
    assert entry.external_attr >> 16 & 0o7777 == int(line['mode'], 8), path
    assert entry.is_dir() == (line['type'] == 'directory'), path
    if not entry.is_dir():
        assert hashlib.sha256(archive.read(entry)).hexdigest() == line['sha256'], path
)";

TEST_F(BackupTools, PythonReadsOfAnOddTreeWhatItsManifestSays) {
  NEEDS("python3");
  save(make_odd_tree);
  write_text(out_, kHoldAgainstManifest);
  EXPECT_EQ(sh("python3 '" + out_ + "' '" + agent_.stored() + "'"), 0);
}

// Names of any bytes: every tool still opens the archive and finds its contents sound.
TEST_F(BackupTools, AnOddTreeIsReadByAll) {
  NEEDS("unzip");
  NEEDS("7z");
  NEEDS("python3");
  save(make_odd_tree);
  EXPECT_EQ(sh("unzip -tqq '" + agent_.stored() + "'"), 0);
  EXPECT_EQ(sh("7z t '" + agent_.stored() + "'"), 0);
  EXPECT_EQ(sh("python3 -c 'import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); sys.exit(z.testzip() is not None)' '" +
               agent_.stored() + "'"),
            0);
}

// A reading that was thrown away leaves bytes that no directory names.
TEST_F(BackupTools, AnAbandonedReadingTroublesNoTool) {
  NEEDS("unzip");
  NEEDS("7z");
  NEEDS("python3");
  const std::string path = agent_.dir() / "abandoned.zip";
  write_text(path, make_archive([](ArchiveWriter& writer) {
               EXPECT_TRUE(writer.add_file(at("before"), "x", false).ok());
               EXPECT_TRUE(writer.begin_file(at("big"), 2 << 20).ok());
               EXPECT_TRUE(writer.write_file(noise(2 << 20, 1)).ok());
               EXPECT_TRUE(writer.end_file(ArchiveWriter::Keep::abandon).ok());
               EXPECT_TRUE(writer.add_file(at("after"), "y", false).ok());
             }));
  EXPECT_EQ(sh("unzip -tqq '" + path + "'"), 0);
  EXPECT_LE(sh("7z t '" + path + "'"), 1);  // 1 is a warning
  EXPECT_EQ(sh("python3 -c 'import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); sys.exit(z.testzip() is not None or "
               "len(z.namelist()) != 3)' '" +
               path + "'"),
            0);
}

TEST_F(BackupTools, SeventyThousandEntriesAreCountedByAll) {
  NEEDS("unzip");
  NEEDS("7z");
  NEEDS("python3");
  const std::string path = agent_.dir() / "many.zip";
  write_text(path, make_archive([](ArchiveWriter& writer) {
               for (int i = 0; i < 70'000; ++i) ASSERT_TRUE(writer.add_directory(at("d" + std::to_string(i))).ok());
             }));
  EXPECT_EQ(sh("unzip -tqq '" + path + "'"), 0);
  EXPECT_EQ(sh("7z t '" + path + "'"), 0);
  EXPECT_EQ(
      sh("python3 -c 'import sys, zipfile; sys.exit(len(zipfile.ZipFile(sys.argv[1]).namelist()) != 70001)' '" + path + "'"), 0);
}

}  // namespace
}  // namespace roost::agent
