#include "agent/backup_save.hpp"

#include <fcntl.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "agent/backup_count.hpp"
#include "agent/backup_file.hpp"
#include "agent/backup_tree.hpp"

namespace roost::agent {

namespace {

// One part of a large file on its way through the pool.
class PartJob final : public WorkPool::Job {
 public:
  std::vector<char> buffer = std::vector<char>(Deflater::kPartMax);
  std::string_view data;
  std::string part;
  void run(Workbench& bench) override {
    part.clear();
    bench.encoder.deflater().deflate_part(data, part);
  }
};

// So many of them as keep every thread busy, made as soon as there is a large file, and used again in a circle.
class PartRing {
 public:
  explicit PartRing(WorkPool& pool) : pool_(pool) {}
  ~PartRing() {
    for (; !empty(); pop()) pool_.wait(oldest_part());
  }
  PartRing(const PartRing&) = delete;
  PartRing& operator=(const PartRing&) = delete;

  [[nodiscard]] bool empty() const { return count_ == 0; }
  [[nodiscard]] bool full() const { return count_ == size(); }
  PartJob& free_part() {  // REQUIRES: !full()
    auto& job = jobs_[(first_ + count_) % size()];
    if (!job) job = std::make_unique<PartJob>();
    return *job;
  }
  void submit() {  // the one that free_part() answered
    pool_.submit_urgent(free_part());
    ++count_;
  }
  [[nodiscard]] PartJob& oldest_part() { return *jobs_[first_]; }  // REQUIRES: !empty()
  void pop() {
    first_ = (first_ + 1) % size();
    --count_;
  }

 private:
  [[nodiscard]] std::size_t size() const { return pool_.threads() + 2; }
  WorkPool& pool_;
  std::vector<std::unique_ptr<PartJob>> jobs_ = std::vector<std::unique_ptr<PartJob>>(size());
  std::size_t first_ = 0;
  std::size_t count_ = 0;
};

// Puts what the tree holds into the archive, in order.
class Saver {
 public:
  Saver(ArchiveWriter& writer, WorkPool& pool, TaskMonitor& monitor, const TreeCount& count, bool live)
      : writer_(writer), pool_(pool), monitor_(monitor), count_(count), live_(live), parts_(pool) {}

  Status advance(std::int64_t bytes, std::int64_t files) {
    if (count_.known()) monitor_.expect(count_.bytes(), count_.files());
    return monitor_.advance(bytes, files);
  }

  Status save(FoundBatch& batch) {
    std::string_view bytes = batch.bytes;
    for (FoundItem& item : batch.items) {
      ROOST_CHECK(save(item, bytes.substr(0, item.bytes)));
      bytes.remove_prefix(item.bytes);
    }
    return {};
  }

 private:
  Status save(FoundItem& item, std::string_view bytes) {
    switch (item.state) {
      case FoundItem::State::skipped: return writer_.add_skip(item.skip);
      case FoundItem::State::alone: return save_alone(item);
      case FoundItem::State::found: return {Code::internal, "something of the tree was not read"};
      case FoundItem::State::encoded: break;
    }
    ROOST_CHECK(writer_.add_encoded(item.entry, bytes));
    const bool file = item.entry.line.type == EntryType::file;
    return advance(file ? item.entry.line.size : 0, 1);
  }

  // A file that is large, or was when it was looked at.
  Status save_alone(FoundItem& item) {
    const std::string& path = item.attributes.path;
    for (int attempt = 1;; ++attempt) {
      const OpenedFile file = open_file(*item.parent, base_name(path), live_ ? Settle::no : Settle::wait);
      if (file.refused != nullptr) return writer_.add_skip(ManifestSkip{path, "file", file.refused});
      if (file.status.st_size <= static_cast<off_t>(ArchiveWriter::kSmallFile)) {
        if (!bench_) bench_ = std::make_unique<Workbench>();
        std::string bytes;
        item.state = FoundItem::State::found;
        read_small(item, live_, *bench_, bytes);
        if (item.state != FoundItem::State::alone) return save(item, bytes);
      } else {
        const bool last = attempt == kReadings;
        ROOST_TRY(const Reading reading, save_large(path, file, live_ && last ? OnChange::take : OnChange::refuse));
        if (reading == Reading::whole || reading == Reading::torn) return advance(0, 1);
        if (reading == Reading::unreadable) return writer_.add_skip(ManifestSkip{path, "file", "unreadable"});
      }
      if (attempt == kReadings) return writer_.add_skip(ManifestSkip{path, "file", "changed"});
    }
  }

  // It is in the stream before it is known to be good: a bad reading is abandoned there, and no directory names it.
  Result<Reading> save_large(const std::string& path, const OpenedFile& file, OnChange on_change) {
    const std::int64_t size = file.status.st_size;
    ::posix_fadvise(file.fd.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
    ROOST_CHECK(writer_.begin_file(attributes_of(path, file.status), static_cast<std::uint64_t>(size)));
    std::int64_t offset = 0;
    bool error = false;
    while (offset < size) {
      if (parts_.full()) ROOST_CHECK(write_oldest_part());
      PartJob& job = parts_.free_part();
      const auto wanted = static_cast<std::size_t>(std::min<std::int64_t>(Deflater::kPartMax, size - offset));
      job.data = read_piece(file, offset, wanted, std::span(job.buffer).first(wanted), error);
      if (job.data.empty()) break;
      offset += static_cast<std::int64_t>(job.data.size());
      parts_.submit();
    }
    while (!parts_.empty()) ROOST_CHECK(write_oldest_part());
    const bool whole = !error && offset == size && still_unchanged(file);
    const bool torn = !whole && !error && on_change == OnChange::take;
    ROOST_CHECK(writer_.end_file(whole  ? ArchiveWriter::Keep::entry
                                 : torn ? ArchiveWriter::Keep::torn_entry
                                        : ArchiveWriter::Keep::abandon));
    return whole ? Reading::whole : torn ? Reading::torn : error ? Reading::unreadable : Reading::changed;
  }

  Status write_oldest_part() {
    PartJob& job = parts_.oldest_part();
    while (!pool_.wait(job, std::chrono::milliseconds(50))) ROOST_CHECK(advance(0, 0));
    ROOST_CHECK(writer_.write_deflated(job.data, job.part));
    ROOST_CHECK(advance(static_cast<std::int64_t>(job.data.size()), 0));
    parts_.pop();
    return {};
  }

  ArchiveWriter& writer_;
  WorkPool& pool_;
  TaskMonitor& monitor_;
  const TreeCount& count_;
  const bool live_;
  PartRing parts_;
  std::unique_ptr<Workbench> bench_;
};

}  // namespace

Status save_tree(int root, const WalkOptions& options, WorkPool& pool, ArchiveWriter& writer, TaskMonitor& monitor) {
  ROOST_TRY(const auto count, TreeCount::start(root, options));
  ROOST_TRY(const auto tree, TreeReader::start(root, options, pool));
  Saver saver(writer, pool, monitor, *count, options.live);
  for (;;) {
    ROOST_TRY(FoundBatch* const batch, tree->next([&saver] { return saver.advance(0, 0); }));
    if (batch == nullptr) return {};
    ROOST_CHECK(saver.save(*batch));
    tree->give_back(*batch);
  }
}

}  // namespace roost::agent
