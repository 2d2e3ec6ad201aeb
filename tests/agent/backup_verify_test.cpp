// Verification finds every damage: flipped bits, cut and lengthened archives, and archives whose parts disagree.
#include <gmock/gmock.h>

#include <archive.h>
#include <archive_entry.h>

#include "agent/backup_archives.hpp"
#include "base/crypto.hpp"

namespace roost::agent {
namespace {

using ::testing::HasSubstr;

std::string small_archive() {
  return make_archive([](ArchiveWriter& writer) {
    EXPECT_TRUE(writer.add_directory(at("dir", 0755)).ok());
    EXPECT_TRUE(writer.add_file(at("dir/compressed"), std::string(500, 'x') + "end", false).ok());
    EXPECT_TRUE(writer.add_file(at("dir/stored"), noise(60), false).ok());
    EXPECT_TRUE(writer.add_file(at("empty\xff"), "", false).ok());
    EXPECT_TRUE(writer.add_symlink(at("link", 0777), "dir/stored").ok());
    EXPECT_TRUE(writer.begin_file(at("large"), 100).ok());
    EXPECT_TRUE(writer.write_file(noise(100)).ok());
    EXPECT_TRUE(writer.end_file(ArchiveWriter::Keep::entry).ok());
    EXPECT_TRUE(writer.begin_file(at("gone"), 50).ok());
    EXPECT_TRUE(writer.write_file(noise(50)).ok());
    EXPECT_TRUE(writer.end_file(ArchiveWriter::Keep::abandon).ok());
    EXPECT_TRUE(writer.add_skip(ManifestSkip{"gone", "file", "changed"}).ok());
  });
}

Code code_of(const Result<Receipt>& result) { return result.ok() ? Code{} : result.error().code; }

// Gives a changed archive the right SHA-256 in its end record again, so that only the structure can tell.
std::string sealed(std::string bytes) {
  const std::size_t text = bytes.rfind("roost-backup 1 ");
  const std::size_t end = text - kEndSize;
  bytes.replace(bytes.size() - 64, 64, to_hex(sha256(std::string_view(bytes).substr(0, end))));
  return bytes;
}

TEST(BackupVerify, ASoundArchiveIsSound) {
  const auto receipt = verify_bytes(small_archive());
  ASSERT_TRUE(receipt.ok()) << receipt.error().message;
  EXPECT_EQ(receipt->files, 6);
  EXPECT_EQ(verify_bytes(sealed(small_archive()))->archive_sha256, receipt->archive_sha256);
}

TEST(BackupVerify, AFlippedBitAnywhereIsFound) {
  const std::string sound = small_archive();
  for (std::size_t i = 0; i < sound.size(); ++i) {
    std::string damaged = sound;
    damaged[i] = static_cast<char>(damaged[i] ^ (1 << (i % 8)));
    const auto result = verify_bytes(damaged);
    ASSERT_FALSE(result.ok()) << "byte " << i << " of " << sound.size();
    EXPECT_TRUE(result.error().code == Code::data_loss || result.error().code == Code::unsupported) << result.error().message;
  }
}

// The same, where whoever damaged it made the checksum right: headers, records and contents are held against each other.
TEST(BackupVerify, AFlippedByteUnderARightChecksumIsFoundInEveryHeaderAndContents) {
  const std::string sound = small_archive();
  const std::size_t abandoned = sound.find("gone") - kLocalHeaderSize;
  const std::size_t abandoned_end = sound.find("PK\x03\x04", abandoned + 4);
  const std::size_t end = sound.rfind("roost-backup 1 ") - kEndSize;
  std::size_t missed = 0;
  for (std::size_t i = 0; i < end; ++i) {
    if (i >= abandoned && i < abandoned_end) continue;  // no directory names it: only the checksum covers it
    std::string damaged = sound;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x41);
    missed += verify_bytes(sealed(damaged)).ok() ? 1 : 0;
  }
  EXPECT_EQ(missed, 0u);
}

TEST(BackupVerify, EveryTruncationIsFound) {
  const std::string sound = small_archive();
  for (std::size_t size = 0; size < sound.size(); ++size) {
    ASSERT_EQ(code_of(verify_bytes(sound.substr(0, size))), Code::data_loss) << size;
  }
}

TEST(BackupVerify, WhateverIsAppendedPrependedOrInsertedIsFound) {
  const std::string sound = small_archive();
  EXPECT_EQ(code_of(verify_bytes(sound + '\0')), Code::data_loss);
  EXPECT_EQ(code_of(verify_bytes(sound + sound)), Code::data_loss);
  EXPECT_EQ(code_of(verify_bytes("x" + sound)), Code::data_loss);
  for (std::size_t i = 0; i < sound.size(); i += 7) {
    std::string more = sound;
    more.insert(i, "PK");
    ASSERT_EQ(code_of(verify_bytes(sealed(more))), Code::data_loss) << i;
  }
}

TEST(BackupVerify, AnEntryThatIsMissingOrTooMuchIsFound) {
  // The central directory of one archive under the body of another with one entry more.
  const auto one = make_archive([](ArchiveWriter& writer) { EXPECT_TRUE(writer.add_file(at("a"), "same", false).ok()); });
  const auto two = make_archive([](ArchiveWriter& writer) {
    EXPECT_TRUE(writer.add_file(at("a"), "same", false).ok());
    EXPECT_TRUE(writer.add_file(at("b"), "same", false).ok());
  });
  const std::string mark = "PK\x01\x02";
  EXPECT_EQ(code_of(verify_bytes(sealed(one.substr(0, one.find(mark)) + two.substr(two.find(mark))))), Code::data_loss);
  EXPECT_EQ(code_of(verify_bytes(sealed(two.substr(0, two.find(mark)) + one.substr(one.find(mark))))), Code::data_loss);
}

TEST(BackupVerify, WhatIsNoArchiveOfRoostIsRefused) {
  EXPECT_EQ(code_of(verify_bytes("")), Code::data_loss);
  EXPECT_EQ(code_of(verify_bytes("PK\x05\x06" + std::string(18, '\0'))), Code::data_loss);
  EXPECT_EQ(code_of(verify_bytes(noise(100'000))), Code::data_loss);
}

TEST(BackupVerify, ErrorsNeverCarryANameUnescaped) {
  const std::string sound =
      make_archive([](ArchiveWriter& writer) { EXPECT_TRUE(writer.add_file(at("evil\n\"name\xff"), noise(50), false).ok()); });
  std::string damaged = sound;
  const std::size_t central = damaged.find("PK\x01\x02");
  damaged[central + 38] = 'x';  // external attributes
  const auto result = verify_bytes(sealed(damaged));
  ASSERT_FALSE(result.ok());
  EXPECT_THAT(result.error().message, HasSubstr("evil\\x0a\\x22name\\xff"));
}

TEST(BackupVerify, AFailingStorageIsNotADamagedArchive) {
  class Failing final : public ArchiveSource {
   public:
    explicit Failing(std::string bytes) : inner_(std::move(bytes)) {}
    [[nodiscard]] std::uint64_t size() const override { return inner_.size(); }
    Result<std::string> read(std::uint64_t offset, std::size_t length) override {
      if (reads-- == 0) return Error{Code::unavailable, "the network is down", 0};
      return inner_.read(offset, length);
    }
    int reads = 0;

   private:
    MemorySource inner_;
  };
  auto monitor = TaskMonitor::create("");
  bool succeeded = false;
  for (int reads = 0; !succeeded && reads < 50; ++reads) {
    Failing source(small_archive());
    source.reads = reads;
    const auto result = read_archive(source, *monitor);
    succeeded = result.ok();
    if (!succeeded) {
      EXPECT_EQ(result.error().code, Code::unavailable) << reads << ": " << result.error().message;
    }
  }
  EXPECT_TRUE(succeeded);
}

// More than 4 GiB of one file, and offsets beyond it. A second reader of ours is libarchive's seeking one.
TEST(BackupVerify, FourGibibytesAndMoreAreSound) {
  Result<Receipt> made(Code::internal, "");
  const std::string piece(1 << 20, '\0');
  const std::uint64_t pieces = 4100;
  const std::string bytes = make_archive(
      [&](ArchiveWriter& writer) {
        ASSERT_TRUE(writer.begin_file(at("huge"), pieces << 20).ok());
        for (std::uint64_t i = 0; i < pieces; ++i) ASSERT_TRUE(writer.write_file(piece).ok());
        ASSERT_TRUE(writer.end_file(ArchiveWriter::Keep::entry).ok());
        ASSERT_TRUE(writer.add_file(at("after"), "small", false).ok());
      },
      &made);
  const auto read = verify_bytes(bytes);
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(*read, *made);
  EXPECT_EQ(read->bytes, static_cast<std::int64_t>(pieces << 20) + 5);
  struct archive* seeking = ::archive_read_new();
  ::archive_read_support_format_zip_seekable(seeking);
  ASSERT_EQ(::archive_read_open_memory(seeking, bytes.data(), bytes.size()), ARCHIVE_OK);
  struct archive_entry* entry = nullptr;
  std::map<std::string, std::int64_t> sizes;
  while (::archive_read_next_header(seeking, &entry) == ARCHIVE_OK)
    sizes[::archive_entry_pathname(entry)] = ::archive_entry_size(entry);
  ::archive_read_free(seeking);
  EXPECT_EQ(sizes["huge"], static_cast<std::int64_t>(pieces << 20));
  EXPECT_EQ(sizes["after"], 5);
}

}  // namespace
}  // namespace roost::agent
