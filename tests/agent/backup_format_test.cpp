// The manifest's lines, and the archive's limits that no tree on a disk can show cheaply.
#include <gmock/gmock.h>

#include "agent/backup_archives.hpp"
#include "base/crypto.hpp"

namespace roost::agent {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(BackupManifest, EveryLineComesBackAsItWas) {
  ManifestEntry odd;
  odd.path = "a\xff\n\"\\/b";
  odd.type = EntryType::symlink;
  odd.mode = 07777;
  odd.mtime_ns = -1;
  odd.size = 5;
  odd.sha256 = std::string(64, 'a');
  odd.torn = true;
  odd.abandoned = 7;
  ManifestEntry directory;
  directory.path = "\xc3\xa9";
  directory.type = EntryType::directory;
  for (const ManifestLine& line :
       std::vector<ManifestLine>{test_header(), odd, directory, ManifestSkip{"x\xfe", "file", "changed"}, ManifestEnd{1, 2, 3}}) {
    std::string text = to_line(line);
    ASSERT_EQ(text.back(), '\n');
    text.pop_back();
    EXPECT_THAT(text, Not(HasSubstr("\n")));
    EXPECT_TRUE(valid_utf8(text));
    const auto parsed = parse_line(text);
    ASSERT_TRUE(parsed.ok()) << text << ": " << parsed.error().message;
    EXPECT_TRUE(*parsed == line) << text;
  }
}

TEST(BackupManifest, PathsThatLeaveTheTreeAreNone) {
  for (const std::string& path :
       {std::string(), std::string("/a"), std::string(".."), std::string("a/.."), std::string("../a"), std::string("a//b"),
        std::string("a/"), std::string("./a"), std::string("a\0b", 3), std::string(256, 'x')}) {
    EXPECT_FALSE(safe_path(path)) << path;
    ManifestEntry entry;
    entry.path = path;
    entry.type = EntryType::directory;
    std::string text = to_line(entry);
    text.pop_back();
    EXPECT_FALSE(parse_line(text).ok()) << path;
  }
  for (const char* path : {"a", "...", "..a", "a/.b", " ", "C:", "a\\..\\b"}) EXPECT_TRUE(safe_path(path)) << path;
}

TEST(BackupManifest, ItsNameInTheArchiveIsNoneOfTheTrees) {
  EXPECT_EQ(manifest_number(".roost-manifest.jsonl"), 0);
  EXPECT_EQ(manifest_number(".roost-manifest-7.jsonl"), 7);
  for (const char* name : {"roost-manifest.jsonl", ".roost-manifest-0.jsonl", ".roost-manifest-01.jsonl",
                           ".roost-manifest-.jsonl", ".roost-manifest--1.jsonl", "a/.roost-manifest.jsonl",
                           ".roost-manifest-99999999999999999999.jsonl", ".roost-manifestx.jsonl"}) {
    EXPECT_EQ(manifest_number(name), -1) << name;
  }
  const std::string archive = make_archive([](ArchiveWriter& writer) {
    EXPECT_TRUE(writer.add_file(at(".roost-manifest-3.jsonl"), "the user's own", false).ok());
    EXPECT_TRUE(writer.add_file(at(".roost-manifest.jsonl"), "and another", false).ok());
  });
  EXPECT_THAT(archive, HasSubstr(".roost-manifest-4.jsonl"));
  EXPECT_TRUE(verify_bytes(archive).ok());
}

TEST(BackupArchive, SaysNamesAreUtf8OnlyWhereTheyAre) {
  ZipEntry entry;
  entry.name = "\xc3\xa9";
  EXPECT_EQ(get_u16(local_header(entry), 6), 1u << 11);
  EXPECT_EQ(get_u16(central_record(entry), 8), 1u << 11);
  entry.name = "\xe9";
  EXPECT_EQ(get_u16(local_header(entry), 6), 0u);
}

TEST(BackupArchive, ReceiptOfWriterAndReaderAgree) {
  Result<Receipt> made(Code::internal, "");
  const std::string archive = make_archive(
      [](ArchiveWriter& writer) {
        EXPECT_TRUE(writer.add_directory(at("d", 0755)).ok());
        EXPECT_TRUE(writer.add_file(at("d/f"), "contents", false).ok());
        EXPECT_TRUE(writer.add_symlink(at("d/l", 0777), "f").ok());
        EXPECT_TRUE(writer.add_skip(ManifestSkip{"d/s", "socket", "unsupported"}).ok());
        EXPECT_TRUE(writer.begin_file(at("big"), 3 << 20).ok());
        EXPECT_TRUE(writer.write_file(noise(3 << 20)).ok());
        EXPECT_TRUE(writer.end_file(ArchiveWriter::Keep::entry).ok());
      },
      &made);
  const auto read = verify_bytes(archive);
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(*read, *made);
  EXPECT_EQ(read->files, 4);
  EXPECT_EQ(read->bytes, 8 + (3 << 20));
  EXPECT_EQ(read->archive_sha256, to_hex(sha256(archive)));
  EXPECT_EQ(read->archive_bytes, static_cast<std::int64_t>(archive.size()));
  EXPECT_FALSE(read->empty_volume);
  ASSERT_EQ(read->skipped.size(), 1u);
  EXPECT_EQ(read->skipped.front(), (Skipped{"socket", "unsupported", 1, "d/s"}));
}

TEST(BackupArchive, AnEmptyVolumeSaysSo) {
  const auto empty = verify_bytes(make_archive([](ArchiveWriter&) {}));
  ASSERT_TRUE(empty.ok()) << empty.error().message;
  EXPECT_TRUE(empty->empty_volume);
  EXPECT_EQ(empty->files, 0);
  // A socket is nothing to save; a file that could not be read is.
  const auto socket = verify_bytes(make_archive([](ArchiveWriter& writer) {
    EXPECT_TRUE(writer.add_skip({"s", "socket", "unsupported"}).ok());
  }));
  EXPECT_TRUE(socket.ok() && socket->empty_volume);
  const auto file = verify_bytes(make_archive([](ArchiveWriter& writer) {
    EXPECT_TRUE(writer.add_skip({"f", "file", "unreadable"}).ok());
  }));
  EXPECT_TRUE(file.ok() && !file->empty_volume);
}

TEST(BackupArchive, AnAbandonedReadingIsNoEntry) {
  const std::string archive = make_archive([](ArchiveWriter& writer) {
    EXPECT_TRUE(writer.begin_file(at("big"), 2 << 20).ok());
    EXPECT_TRUE(writer.write_file(noise(2 << 20, 1)).ok());
    EXPECT_TRUE(writer.end_file(ArchiveWriter::Keep::abandon).ok());
    EXPECT_TRUE(writer.begin_file(at("big"), 2 << 20).ok());
    EXPECT_TRUE(writer.write_file(noise(2 << 20, 2)).ok());
    EXPECT_TRUE(writer.end_file(ArchiveWriter::Keep::entry).ok());
  });
  const auto receipt = verify_bytes(archive);
  ASSERT_TRUE(receipt.ok()) << receipt.error().message;
  EXPECT_EQ(receipt->files, 1);
  EXPECT_EQ(receipt->bytes, 2 << 20);
}

TEST(BackupArchive, SeventyThousandEntriesNeedAndGetZip64) {
  Result<Receipt> made(Code::internal, "");
  const std::string archive = make_archive(
      [](ArchiveWriter& writer) {
        for (int i = 0; i < 70'000; ++i) ASSERT_TRUE(writer.add_directory(at("directory-" + std::to_string(i))).ok());
      },
      &made);
  const auto read = verify_bytes(archive);
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read->files, 70'000);
  EXPECT_EQ(*read, *made);
}

TEST(BackupArchive, SpoolsGiveBackWhatTheyGot) {
  auto spool = Spool::create("/nonexistent");
  ASSERT_TRUE(spool.ok()) << spool.error().message;
  const std::string data = noise(200'000);
  for (std::size_t i = 0; i < data.size(); i += 999) ASSERT_TRUE(spool->append(std::string_view(data).substr(i, 999)).ok());
  EXPECT_EQ(spool->size(), data.size());
  EXPECT_TRUE(*spool->read(0, 300'000) == data);
  EXPECT_TRUE(*spool->read(150'000, 10) == data.substr(150'000, 10));
}

}  // namespace
}  // namespace roost::agent
