// One entry, a list, and the sums, out of archives of which only ranges are fetched; and what damaged ones do.
#include "archive/lookup.hpp"

#include <gmock/gmock.h>

#include "agent/backup_archives.hpp"

namespace roost {
namespace {

using agent::ArchiveWriter;
using agent::at;
using agent::make_archive;
using agent::noise;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Feeds a reading from memory, and counts what it asks for.
struct Store {
  explicit Store(std::string stored) : bytes(std::move(stored)) {}
  Status run(RangeReading& reading) {
    for (;;) {
      const auto range = reading.wanted();
      if (!range) return {};
      EXPECT_LE(range->offset + range->length, bytes.size()) << "a read beyond the end was not prevented";
      EXPECT_LE(range->length, kReadingPiece);
      fetched += range->length;
      ROOST_CHECK(reading.feed(std::string_view(bytes).substr(range->offset, range->length)));
    }
  }
  Result<std::string> contents(EntryReading& entry) {
    std::string out;
    while (!entry.ended()) {
      ROOST_TRY(const std::string piece, entry.take(10'000));
      EXPECT_LE(piece.size(), 10'000U);
      out += piece;
      if (!piece.empty() || entry.ended()) continue;
      const auto range = entry.wanted();
      if (!range) return Error{Code::internal, "it neither goes on nor ends", 0};
      fetched += range->length;
      ROOST_CHECK(entry.feed(std::string_view(bytes).substr(range->offset, range->length)));
    }
    return out;
  }
  // NOT_FOUND where there is no such entry.
  Result<std::string> file(const std::string& path, ManifestEntry* line = nullptr) {
    EntryLookup lookup(bytes.size(), path);
    ROOST_CHECK(run(lookup));
    if (!lookup.found()) return Error{Code::not_found, "no such entry", 0};
    if (line != nullptr) *line = *lookup.found();
    return contents(*lookup.contents());
  }
  std::string bytes;
  std::uint64_t fetched = 0;
};

void write_large(ArchiveWriter& writer, const std::string& path, const std::string& text, ArchiveWriter::Keep keep) {
  EXPECT_TRUE(writer.begin_file(at(path), text.size()).ok());
  for (std::size_t i = 0; i < text.size(); i += 1 << 20)
    EXPECT_TRUE(writer.write_file(std::string_view(text).substr(i, 1 << 20)).ok());
  EXPECT_TRUE(writer.end_file(keep).ok());
}

const std::string kText = [] {
  std::string text;
  for (int i = 0; i < 40'000; ++i) text += "line " + std::to_string(i) + "\n";
  return text;
}();

// Of everything: stored, deflated, empty, with descriptors, torn, abandoned, odd names, links, directories.
std::string mixed(Result<Receipt>* receipt = nullptr) {
  return make_archive(
      [](ArchiveWriter& writer) {
        EXPECT_TRUE(writer.add_directory(at("src", 0755)).ok());
        EXPECT_TRUE(writer.add_file(at("src/main.c"), kText, false).ok());
        EXPECT_TRUE(writer.add_file(at("src/noise"), noise(5000), false).ok());
        EXPECT_TRUE(writer.add_file(at("empty"), "", false).ok());
        write_large(writer, "large", noise(1'300'000) + kText, ArchiveWriter::Keep::abandon);
        write_large(writer, "large", noise(1'300'000, 2) + kText, ArchiveWriter::Keep::entry);
        write_large(writer, "torn", kText + kText + kText, ArchiveWriter::Keep::torn_entry);
        EXPECT_TRUE(writer.add_file(at("a\xff\\b\n"), "odd", false).ok());
        EXPECT_TRUE(writer.add_symlink(at("link", 0777), "src/main.c").ok());
        EXPECT_TRUE(writer.add_skip(ManifestSkip{"socket", "socket", "unsupported"}).ok());
      },
      receipt);
}

TEST(EntryLookup, FindsEveryKindOfEntry) {
  Store store(mixed());
  EXPECT_EQ(*store.file("src/main.c"), kText);
  EXPECT_EQ(*store.file("src/noise"), noise(5000));
  EXPECT_EQ(*store.file("empty"), "");
  EXPECT_EQ(*store.file("large"), noise(1'300'000, 2) + kText);
  EXPECT_EQ(*store.file("torn"), kText + kText + kText);
  EXPECT_EQ(*store.file("a\xff\\b\n"), "odd");
  EXPECT_EQ(*store.file("link"), "src/main.c");
  ManifestEntry line;
  EXPECT_EQ(*store.file("src", &line), "");
  EXPECT_EQ(line.type, EntryType::directory);
  for (const char* none : {"", "src/", "/src", "src/main", "nothing", "../src", "socket"})
    EXPECT_EQ(store.file(none).error().code, Code::not_found) << none;
}

TEST(EntryLookup, FetchesLittleMoreThanTheFile) {
  Store store(make_archive([](ArchiveWriter& writer) {
    for (int i = 0; i < 3000; ++i) EXPECT_TRUE(writer.add_file(at("files/" + std::to_string(i)), noise(10'000, i), false).ok());
  }));
  ASSERT_GT(store.bytes.size(), 30'000'000U);
  for (const int i : {0, 1500, 2999}) {
    store.fetched = 0;
    EXPECT_EQ(*store.file("files/" + std::to_string(i)), noise(10'000, i));
    EXPECT_LT(store.fetched, 10'000U + (700U << 10)) << i;
  }
}

TEST(EntryLookup, FindsWhatNeeds64Bits) {
  ArchiveLayout layout;
  ZipEntry entry;
  entry.name = "far";
  entry.method = kDeflated;
  entry.descriptor = entry.wide_descriptor = true;
  entry.offset = 0x1'2345'6789;
  entry.size = 0x2'0000'0001;
  entry.stored_size = 0x1'0000'0005;
  const std::string record = central_record(entry);
  layout.end.directory_offset = layout.comment.manifest_offset = 0x9'0000'0000;
  layout.end.directory_size = record.size();
  DirectoryReading directory(layout);
  ASSERT_EQ(directory.wanted(), (ByteRange{0x9'0000'0000, record.size()}));
  ASSERT_TRUE(directory.feed(record).ok());
  const auto found = directory.next();
  ASSERT_TRUE(found.ok()) << found.error().message;
  EXPECT_EQ((*found)->offset, entry.offset);
  EXPECT_EQ((*found)->size, entry.size);
  EXPECT_EQ((*found)->stored_size, entry.stored_size);
}

TEST(FileListing, PagesByPrefix) {
  Store store(mixed());
  const auto page = [&](const std::string& prefix, std::uint64_t skip, std::size_t limit) {
    FileListing listing(store.bytes.size(), {prefix, skip, limit});
    EXPECT_TRUE(store.run(listing).ok());
    std::vector<std::string> paths;
    for (const ManifestEntry& entry : listing.files()) paths.push_back(entry.path);
    return std::make_pair(paths, listing.next_skip());
  };
  EXPECT_THAT(page("", 0, 100).first,
              ElementsAre("src", "src/main.c", "src/noise", "empty", "large", "torn", "a\xff\\b\n", "link"));
  EXPECT_FALSE(page("", 0, 8).second);
  const auto first = page("", 0, 3);
  EXPECT_THAT(first.first, ElementsAre("src", "src/main.c", "src/noise"));
  ASSERT_TRUE(first.second);
  EXPECT_THAT(page("", *first.second, 3).first, ElementsAre("empty", "large", "torn"));
  EXPECT_THAT(page("src/", 0, 10).first, ElementsAre("src/main.c", "src/noise"));
  EXPECT_THAT(page("a\xff", 0, 10).first, ElementsAre("a\xff\\b\n"));
  EXPECT_TRUE(page("none", 0, 10).first.empty());
}

TEST(ManifestSummary, MakesTheReceiptThatTheWriterMade) {
  Result<Receipt> made(Code::internal, "");
  Store store(mixed(&made));
  ASSERT_TRUE(made.ok());
  ManifestSummary summary(store.bytes.size());
  ASSERT_TRUE(store.run(summary).ok());
  Receipt wanted = *made;
  wanted.archive_sha256.clear();
  EXPECT_EQ(summary.receipt(), wanted);
  EXPECT_EQ(summary.user_id(), "user@example.com");
  EXPECT_LT(store.fetched, store.bytes.size() / 2);
}

TEST(ArchiveReading, WhatIsCutOffOrNoArchiveIsToldSo) {
  const std::string whole = mixed();
  for (std::size_t length = 0; length < whole.size(); length += length < 4000 ? 1 : 9973) {
    Store store(whole.substr(0, length));
    const auto read = store.file("src/main.c");
    ASSERT_FALSE(read.ok()) << length;
    EXPECT_EQ(read.error().code, Code::data_loss) << length;
  }
  Store other("PK\x03\x04 something else that is long enough to hold an end record");
  EXPECT_EQ(other.file("a").error().code, Code::data_loss);
}

// A flipped bit is an error or changes nothing that was asked for; nothing is read beyond the archive, nothing runs for ever.
TEST(ArchiveReading, AFlippedBitAnywhereEndsInAnAnswer) {
  Result<Receipt> made(Code::internal, "");
  const std::string whole = make_archive(
      [](ArchiveWriter& writer) {
        EXPECT_TRUE(writer.add_file(at("one"), kText.substr(0, 3000), false).ok());
        EXPECT_TRUE(writer.add_file(at("two"), noise(100), false).ok());
        write_large(writer, "three", kText.substr(0, 2000), ArchiveWriter::Keep::entry);
      },
      &made);
  for (std::size_t i = 0; i < whole.size() * 8; ++i) {
    std::string bytes = whole;
    bytes[i / 8] = static_cast<char>(bytes[i / 8] ^ (1 << (i % 8)));
    Store store(std::move(bytes));
    for (const char* path : {"one", "two", "three"}) {
      ManifestEntry line;
      const auto read = store.file(path, &line);
      if (read.ok() && line.size == static_cast<std::int64_t>(read->size()) && line.sha256 == to_hex(sha256(*read))) continue;
    }
    ManifestSummary summary(store.bytes.size());
    (void)store.run(summary);
  }
}

TEST(EntryReading, TheEndOfTheLastEntryIsNoCut) {
  // zlib has taken the last byte while it still holds back what a piece had no room for.
  for (const std::size_t more : {1u, 20u, 100u, 128u, 129u, 384u, 642u}) {
    const std::string text(20'000 + more, ' ');
    Store store(make_archive([&](ArchiveWriter& writer) { EXPECT_TRUE(writer.add_file(at("last"), text, false).ok()); }));
    const auto read = store.file("last");
    ASSERT_TRUE(read.ok()) << more << ": " << read.error().message;
    ASSERT_TRUE(*read == text) << more;
  }
}

TEST(EntryReading, RefusesWhatRoostDoesNotWrite) {
  ZipEntry entry;
  entry.name = "a";
  entry.method = 12;  // bzip2
  const auto refused = [](std::string bytes, std::optional<std::uint64_t> stored) {
    EntryReading reading(0, bytes.size(), "a", stored);
    Status fed = reading.feed(bytes);
    if (!fed.ok()) return fed.error().message;
    for (int i = 0; i < 10 && !reading.ended(); ++i) {
      const auto piece = reading.take(100);
      if (!piece.ok()) return piece.error().message;
    }
    return std::string("nothing");
  };
  EXPECT_THAT(refused(local_header(entry), 0), HasSubstr("method"));
  entry.method = kStored;
  entry.descriptor = true;
  EXPECT_THAT(refused(local_header(entry) + "xx", std::nullopt), HasSubstr("does not say its size"));
  EXPECT_THAT(refused(local_header(entry) + "xx", 3), HasSubstr("cut off"));
  entry.name = "b";
  EXPECT_THAT(refused(local_header(entry), 0), HasSubstr("another name"));
  EXPECT_THAT(refused(std::string(100, 'x'), 0), HasSubstr("does not begin"));
  entry.name = "a";
  entry.method = kDeflated;
  EXPECT_THAT(refused(local_header(entry) + "\xff\xff\xff", 3), HasSubstr("cannot be decoded"));
}

}  // namespace
}  // namespace roost
