// What several threads do together: parts of a deflate stream, parts on their way to the storage, and one archive, whose bytes do
// not depend on how many threads made it.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>
#include <zlib.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <random>

#include "agent/archive_deflate.hpp"
#include "agent/backup_archives.hpp"
#include "agent/backup_odd_tree.hpp"
#include "agent/backup_save.hpp"
#include "agent/backup_sink.hpp"
#include "agent/restore.hpp"
#include "agent/task_pool.hpp"
#include "agent/task_read_ahead.hpp"
#include "agent/walk_beneath.hpp"

namespace roost::agent {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;

// By zlib, in one go. REQUIRES: the stream ends where `deflated` does.
std::string inflated(const std::string& deflated, std::size_t size) {
  z_stream stream{};
  EXPECT_EQ(::inflateInit2(&stream, -MAX_WBITS), Z_OK);
  std::string out(size + 1, '\0');
  stream.next_in = reinterpret_cast<unsigned char*>(const_cast<char*>(deflated.data()));
  stream.avail_in = static_cast<unsigned>(deflated.size());
  stream.next_out = reinterpret_cast<unsigned char*>(out.data());
  stream.avail_out = static_cast<unsigned>(out.size());
  EXPECT_EQ(::inflate(&stream, Z_FINISH), Z_STREAM_END);
  EXPECT_EQ(stream.avail_in, 0u) << "something follows the stream";
  out.resize(out.size() - stream.avail_out);
  ::inflateEnd(&stream);
  return out;
}

// Text, noise, zeros and a mixture, by turns.
std::string any_data(std::mt19937& random, std::size_t size) {
  std::string out;
  const auto kind = random() % 4;
  if (kind == 0) return std::string(size, static_cast<char>(random()));
  if (kind == 1) return noise(size, random());
  while (out.size() < size) {
    if (kind == 2 || random() % 3 > 0) out += "word" + std::to_string(random() % 500) + (random() % 8 == 0 ? "\n" : " ");
    if (kind == 3 && random() % 200 == 0) out += noise(random() % 5000, random());
  }
  out.resize(size);
  return out;
}

TEST(BackupDeflate, PartsAreOneStreamWhateverTheyHold) {
  std::mt19937 random(6);
  for (int round = 0; round < 150; ++round) {
    Deflater deflater(round % 2 == 0 ? Deflater::kUsual : Deflater::kFast);
    std::string data;
    std::string deflated;
    const int parts = 1 + static_cast<int>(random() % 6);
    for (int part = 0; part < parts; ++part) {
      const std::size_t most = part == 0 && round % 10 == 0 ? Deflater::kPartMax : 1u << (random() % 18);
      const std::string piece = any_data(random, part == 0 && round % 10 == 0 ? most : random() % (most + 1));
      deflater.deflate_part(piece, deflated);
      data += piece;
    }
    deflated += Deflater::kStreamEnd;
    ASSERT_TRUE(inflated(deflated, data.size()) == data) << "round " << round;
    ASSERT_LE(deflated.size(), data.size() + data.size() / 1000 + 16u * static_cast<unsigned>(parts));
  }
}

TEST(BackupDeflate, AWholeStreamIsShorterThanItsDataOrNotMade) {
  std::mt19937 random(7);
  Deflater deflater(Deflater::kUsual);
  int made = 0;
  for (int round = 0; round < 150; ++round) {
    const std::string data = any_data(random, random() % 200'000);
    std::string out = "before";
    if (!deflater.deflate(data, out)) {
      EXPECT_EQ(out, "before");
      continue;
    }
    ++made;
    ASSERT_LT(out.size(), 6 + data.size());
    ASSERT_TRUE(inflated(out.substr(6), data.size()) == data);
  }
  EXPECT_GT(made, 50);
}

TEST(BackupSink, PartsArriveInOrderAndWhole) {
  std::string got;
  std::vector<std::size_t> sizes;
  const auto sink = PartSink::start([&](std::string_view part) {
    got += part;
    sizes.push_back(part.size());
    return Status();
  });
  ASSERT_TRUE(sink.ok());
  const std::string data = noise(5 * PartSink::kPart + 1000);
  for (std::size_t at = 0; at < data.size(); at += 777'777)
    ASSERT_TRUE((*sink)->write(std::string_view(data).substr(at, 777'777)).ok());
  ASSERT_TRUE((*sink)->flush().ok());
  EXPECT_TRUE(got == data);
  EXPECT_THAT(sizes, ElementsAre(PartSink::kPart, PartSink::kPart, PartSink::kPart, PartSink::kPart, PartSink::kPart, 1000));
}

TEST(BackupSink, WritingGoesOnWhileAPartIsOnItsWay) {
  std::mutex mutex;
  std::condition_variable changed;
  bool released = false;
  const auto sink = PartSink::start([&](std::string_view) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return released; });
    return Status();
  });
  // One is held in the storage, as many as may wait do, and another is begun: none of these writes waits.
  for (std::size_t i = 0; i < 1 + PartSink::kWaiting; ++i) ASSERT_TRUE((*sink)->write(std::string(PartSink::kPart, 'x')).ok());
  ASSERT_TRUE((*sink)->write("more").ok());
  {
    const std::lock_guard lock(mutex);
    released = true;
  }
  changed.notify_all();
  EXPECT_TRUE((*sink)->flush().ok());
}

TEST(BackupSink, AnErrorOfTheStorageIsAnsweredFromThenOn) {
  int puts = 0;
  const auto sink = PartSink::start([&](std::string_view) { return ++puts < 2 ? Status() : Status(Code::exhausted, "full"); });
  const std::string part(PartSink::kPart, 'x');
  Status status;
  for (int i = 0; i < 20 && status.ok(); ++i) status = (*sink)->write(part);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, Code::exhausted);
  EXPECT_FALSE((*sink)->write(part).ok());
  EXPECT_FALSE((*sink)->flush().ok());
  EXPECT_EQ(puts, 2);
}

// Counts what is asked of it, and fails from a place on.
class WatchedSource final : public ArchiveSource {
 public:
  WatchedSource(std::string bytes, std::uint64_t fails_from) : bytes_(std::move(bytes)), fails_from_(fails_from) {}
  [[nodiscard]] std::uint64_t size() const override { return bytes_.size(); }
  Result<std::string> read(std::uint64_t offset, std::size_t length) override {
    asked_ += length;
    if (offset + length > fails_from_) return {Code::unavailable, "gone"};
    return bytes_.substr(offset, length);
  }
  [[nodiscard]] std::uint64_t asked() const { return asked_; }

 private:
  const std::string bytes_;
  const std::uint64_t fails_from_;
  std::atomic<std::uint64_t> asked_{0};
};

TEST(BackupReadAhead, GivesWhatIsThereInOrderAndElsewhereAndFetchesItOnce) {
  const std::string bytes = noise(3 * ReadAheadSource::kPiece + 777);
  WatchedSource source(bytes, bytes.size());
  std::mt19937 random(8);
  {
    const auto ahead = ReadAheadSource::start(source);
    ASSERT_TRUE(ahead.ok());
    EXPECT_EQ((*ahead)->size(), bytes.size());
    std::uint64_t elsewhere = 0;
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t count = std::min<std::size_t>(1 + random() % (2 * ReadAheadSource::kPiece), bytes.size() - at);
      const auto got = (*ahead)->read(at, count);
      ASSERT_TRUE(got.ok() && *got == bytes.substr(at, count)) << at;
      at += count;
      const auto other = (*ahead)->read(at / 2, 10);
      EXPECT_EQ(*other, bytes.substr(at / 2, 10));
      elsewhere += 10;
    }
    EXPECT_EQ(source.asked(), bytes.size() + elsewhere);
  }
}

TEST(BackupReadAhead, AnErrorIsAnsweredWhereItsBytesAreAskedFor) {
  const std::string bytes = noise(3 * ReadAheadSource::kPiece);
  WatchedSource source(bytes, ReadAheadSource::kPiece + 1);
  const auto ahead = ReadAheadSource::start(source);
  EXPECT_TRUE((*ahead)->read(0, ReadAheadSource::kPiece).ok());
  for (int again = 0; again < 2; ++again) {
    const auto failed = (*ahead)->read(ReadAheadSource::kPiece, 10);
    ASSERT_FALSE(failed.ok());
    EXPECT_EQ(failed.error().code, Code::unavailable);
  }
}

TEST(BackupReadAhead, EndsWhileNobodyReads) {
  WatchedSource source(noise(10 * ReadAheadSource::kPiece), UINT64_MAX);
  EXPECT_TRUE(ReadAheadSource::start(source).ok());
}

std::string saved_by(unsigned threads, const std::string& tree, Receipt* receipt) {
  const FdOwner root(::open(tree.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  auto pool = WorkPool::start(threads);
  auto monitor = TaskMonitor::create("");
  EXPECT_TRUE(pool.ok() && monitor.ok());
  Result<Receipt> made(Code::internal, "");
  const std::string bytes = make_archive(
      [&](ArchiveWriter& writer) {
        const Status saved = save_tree(root.get(), WalkOptions(), **pool, writer, *monitor);
        EXPECT_TRUE(saved.ok()) << saved.error().message;
      },
      &made);
  if (made.ok()) *receipt = *made;
  return bytes;
}

// Directories in directories, small and large files, links, in numbers and sizes that chance decides.
void make_random_tree(const std::string& root, std::mt19937& random) {
  std::vector<std::string> directories{root};
  fs::create_directory(root);
  const auto things = 50 + random() % 150;
  for (unsigned i = 0; i < things; ++i) {
    const std::string path =
        directories[random() % directories.size()] + "/" + std::to_string(i) + std::string(random() % 30, 'n');
    switch (random() % 8) {
      case 0:
        fs::create_directory(path);
        directories.push_back(path);
        break;
      case 1: fs::create_symlink(std::to_string(random()), path); break;
      case 2: write_text(path, any_data(random, random() % (1u << 20))); break;
      case 3:
        if (random() % 4 == 0) write_text(path, any_data(random, random() % (4u << 20)));
        break;
      default: write_text(path, any_data(random, random() % 3000));
    }
  }
}

TEST(BackupThreads, AnyTreeBecomesTheSameBytesByOneThreadOrSeveralAndComesBack) {
#ifdef __SANITIZE_THREAD__
  constexpr unsigned kTrees = 4;  // at five seconds each
#else
  constexpr unsigned kTrees = 12;
#endif
  for (unsigned seed = 1; seed <= kTrees; ++seed) {
    std::mt19937 random(seed);
    const TempDir dir;
    make_random_tree(dir / "tree", random);
    Receipt receipt;
    const std::string by_one = saved_by(1, dir / "tree", &receipt);
    for (const unsigned threads : {2u, 4u}) {
      Receipt other;
      ASSERT_TRUE(saved_by(threads, dir / "tree", &other) == by_one) << "seed " << seed << ", " << threads << " threads";
      EXPECT_EQ(other, receipt);
    }
    const auto verified = verify_bytes(by_one);
    ASSERT_TRUE(verified.ok()) << "seed " << seed << ": " << verified.error().message;
    EXPECT_EQ(*verified, receipt);
    fs::create_directory(dir / "into");
    const FdOwner into(::open((dir / "into").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    MemorySource source(by_one);
    auto monitor = TaskMonitor::create("");
    const auto restored = extract_archive(source, into.get(), "0badcafe", *monitor);
    ASSERT_TRUE(restored.ok()) << "seed " << seed << ": " << restored.error().message;
    expect_same_trees(snapshot(dir / "tree"), snapshot(dir / "into"));
    EXPECT_EQ(restored->tree_hash, receipt.tree_hash);
  }
}

TEST(BackupThreads, AnOddTreeBecomesTheSameBytesByOneThreadOrSeveral) {
  const TempDir dir;
  make_odd_tree(dir / "tree");
  Receipt one;
  Receipt four;
  EXPECT_TRUE(saved_by(1, dir / "tree", &one) == saved_by(4, dir / "tree", &four));
  EXPECT_EQ(one, four);
}

// Where the storage fails in the middle, everything that was begun ends: walk, readers, parts under way.
TEST(BackupThreads, AnErrorInTheMiddleEndsEverything) {
  class Full final : public ByteSink {
   public:
    Status write(std::string_view data) override {
      left_ -= static_cast<std::int64_t>(data.size());
      return left_ >= 0 ? Status() : Status(Code::exhausted, "full");
    }

   private:
    std::int64_t left_ = 3 << 20;
  };
  const TempDir dir;
  fs::create_directory(dir / "tree");
  for (int i = 0; i < 3000; ++i) write_text(dir / ("tree/small-" + std::to_string(i)), noise(500));
  for (int i = 0; i < 4; ++i) write_text(dir / ("tree/large-" + std::to_string(i)), noise(3 << 20));
  const FdOwner root(::open((dir / "tree").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const auto pool = WorkPool::start(3);
  auto monitor = TaskMonitor::create("");
  Full sink;
  const auto writer = ArchiveWriter::create("/tmp", test_header(), sink);
  const Status saved = save_tree(root.get(), WalkOptions(), **pool, **writer, *monitor);
  ASSERT_FALSE(saved.ok());
  EXPECT_EQ(saved.error().code, Code::exhausted);
}

}  // namespace
}  // namespace roost::agent
