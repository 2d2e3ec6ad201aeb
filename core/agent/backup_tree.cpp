#include "agent/backup_tree.hpp"

#include <algorithm>
#include <utility>

#include "agent/archive_writer.hpp"

namespace roost::agent {

namespace {

// A batch is a few files at a time, so that handing it over costs little beside them, and so many bytes and open directories at
// most.
constexpr std::size_t kBatchItems = 64;
constexpr std::size_t kBatchDirectories = 16;
constexpr std::size_t kBatchPathBytes = 64u << 10;
constexpr std::int64_t kBatchBytes = 256 << 10;
constexpr std::size_t kBatchBytesMax = 1u << 20;  // where files have grown since they were looked at
// Small files cost a disk more in waiting than in bytes: while one is read and packed, it fetches so many of those that follow.
constexpr std::size_t kAhead = 32;
constexpr auto kAskAgain = std::chrono::milliseconds(50);

}  // namespace

void FoundItem::skip_as(const char* kind, const char* reason) {
  state = State::skipped;
  skip = ManifestSkip{attributes.path, kind, reason};
}

void read_small(FoundItem& item, bool live, Workbench& bench, std::string& bytes) {
  bench.buffer.resize(ArchiveWriter::kSmallFile + 1);
  for (int attempt = 1;; ++attempt) {
    OpenedFile file = std::exchange(item.opened, OpenedFile());
    if (!file.fd) file = open_file(*item.parent, base_name(item.attributes.path), live ? Settle::no : Settle::wait);
    if (file.refused != nullptr) return item.skip_as("file", file.refused);
    if (file.status.st_size > static_cast<off_t>(ArchiveWriter::kSmallFile)) {
      item.state = FoundItem::State::alone;
      return;
    }
    const bool last = attempt == kReadings;
    std::string_view contents;
    const Reading reading = read_whole_file(file, live && last ? OnChange::take : OnChange::refuse, bench.buffer, contents);
    if (reading == Reading::unreadable) return item.skip_as("file", "unreadable");
    if (reading == Reading::changed && last) return item.skip_as("file", "changed");
    if (reading == Reading::changed) continue;
    const std::size_t before = bytes.size();
    item.entry = bench.encoder.encode(attributes_of(item.attributes.path, file.status), EntryType::file, contents,
                                      reading == Reading::torn, bytes);
    item.bytes = bytes.size() - before;
    item.state = FoundItem::State::encoded;
    return;
  }
}

void FoundBatch::open_ahead(FoundItem& item) const {
  if (item.state != FoundItem::State::found || item.type != EntryType::file) return;
  item.opened = open_file(*item.parent, base_name(item.attributes.path), live_ ? Settle::no : Settle::wait);
  // What cannot be opened is tried again in its turn, when fewer are open.
  if (item.opened.refused != nullptr) item.opened = OpenedFile();
  const off_t size = item.opened.status.st_size;
  if (size > 0 && size <= static_cast<off_t>(ArchiveWriter::kSmallFile)) read_ahead(item.opened);
}

void FoundBatch::run(Workbench& bench) {
  std::size_t ahead = 0;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (stop_.load(std::memory_order_relaxed)) return;
    while (ahead < std::min(items.size(), i + kAhead)) open_ahead(items[ahead++]);
    FoundItem& item = items[i];
    if (item.state != FoundItem::State::found) continue;
    if (item.type != EntryType::file) {
      const std::size_t before = bytes.size();
      item.entry = bench.encoder.encode(item.attributes, item.type, item.target, false, bytes);
      item.bytes = bytes.size() - before;
      item.state = FoundItem::State::encoded;
    } else if (bytes.size() >= kBatchBytesMax) {
      item.opened = OpenedFile();
      item.state = FoundItem::State::alone;
    } else {
      read_small(item, live_, bench, bytes);
    }
  }
}

// Gathers what the walk tells into batches.
class TreeReader::Visitor final : public TreeVisitor {
 public:
  explicit Visitor(TreeReader& reader) : reader_(reader), batch_(reader.free_batch()) {}

  Status directory(const std::string& path, const struct stat& status) override {
    FoundItem& item = add(path);
    item.type = EntryType::directory;
    item.attributes = attributes_of(path, status);
    return end_if_full();
  }

  Status symlink(const std::string& path, const std::string& target, const struct stat& status) override {
    FoundItem& item = add(path);
    item.type = EntryType::symlink;
    item.attributes = attributes_of(path, status);
    item.target = target;
    return end_if_full();
  }

  Status file(const std::string& path, const DirectoryRef& parent, const struct stat& looked) override {
    FoundItem& item = add(path);
    directories_ += parent == last_parent_ ? 0 : 1;
    item.parent = parent;
    last_parent_ = parent;
    if (looked.st_size > static_cast<off_t>(ArchiveWriter::kSmallFile)) {
      item.state = FoundItem::State::alone;
    } else {
      expected_bytes_ += looked.st_size;
    }
    return end_if_full();
  }

  Status skipped(const char* kind, const char* reason, const std::string& path) override {
    add(path).skip_as(kind, reason);
    return end_if_full();
  }

  Status end() {
    if (batch_->items.empty()) return {};
    directories_ = 0;
    path_bytes_ = 0;
    expected_bytes_ = 0;
    last_parent_.reset();
    ROOST_CHECK(reader_.put(std::move(batch_)));
    batch_ = reader_.free_batch();
    return {};
  }

 private:
  FoundItem& add(const std::string& path) {
    path_bytes_ += path.size();
    FoundItem& item = batch_->items.emplace_back();
    item.attributes.path = path;
    return item;
  }

  Status end_if_full() {
    const bool full = batch_->items.size() >= kBatchItems || directories_ >= kBatchDirectories ||
                      path_bytes_ >= kBatchPathBytes || expected_bytes_ >= kBatchBytes;
    return full ? end() : Status();
  }

  TreeReader& reader_;
  std::unique_ptr<FoundBatch> batch_;
  DirectoryRef last_parent_;
  std::size_t directories_ = 0;
  std::size_t path_bytes_ = 0;
  std::int64_t expected_bytes_ = 0;
};

Result<std::unique_ptr<TreeReader>> TreeReader::start(int root, WalkOptions options, WorkPool& pool) {
  std::unique_ptr<TreeReader> reader(new TreeReader(std::move(options), pool));
  ROOST_CHECK(reader->thread_.start([self = reader.get(), root] { self->run(root); }));
  return reader;
}

TreeReader::~TreeReader() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
  for (const auto& batch : batches_) pool_.wait(*batch);
}

void TreeReader::run(int root) {
  Visitor visitor(*this);
  Status walked = walk(root, options_, visitor);
  if (walked.ok()) walked = visitor.end();
  const std::lock_guard lock(mutex_);
  walked_ = std::move(walked);
  ended_ = true;
  changed_.notify_all();
}

std::unique_ptr<FoundBatch> TreeReader::free_batch() {
  const std::lock_guard lock(mutex_);
  if (used_.empty()) return std::make_unique<FoundBatch>(options_.live, stop_);
  std::unique_ptr<FoundBatch> batch = std::move(used_.back());
  used_.pop_back();
  return batch;
}

Status TreeReader::put(std::unique_ptr<FoundBatch> batch) {
  std::unique_lock lock(mutex_);
  const std::size_t most = 2 * pool_.threads() + 2;
  while (!stop_ && batches_.size() >= most) changed_.wait(lock);
  if (stop_) return {Code::cancelled, "the backup ended before its walk"};
  pool_.submit(*batch);
  batches_.push_back(std::move(batch));
  changed_.notify_all();
  return {};
}

Result<FoundBatch*> TreeReader::next(const std::function<Status()>& go_on) {
  FoundBatch* batch = nullptr;
  while (batch == nullptr) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, kAskAgain, [this] { return !batches_.empty() || ended_; });
      if (batches_.empty() && ended_) {
        if (!walked_.ok()) return walked_.error();
        return static_cast<FoundBatch*>(nullptr);
      }
      if (!batches_.empty()) batch = batches_.front().get();
    }
    ROOST_CHECK(go_on());
  }
  while (!pool_.wait(*batch, kAskAgain)) ROOST_CHECK(go_on());
  return batch;
}

void TreeReader::give_back(FoundBatch& batch) {
  batch.items.clear();
  batch.bytes.clear();
  {
    const std::lock_guard lock(mutex_);
    used_.push_back(std::move(batches_.front()));
    batches_.pop_front();
  }
  changed_.notify_all();
}

}  // namespace roost::agent
