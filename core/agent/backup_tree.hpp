// TreeReader: what a backup finds in the tree, in the tree's order. One thread walks, those of the pool read and encode the
// small files, and the owner takes batches of both and puts them into the archive: the same bytes however many threads there
// are. Only so many batches exist at once, so that memory and open directories do not grow with the tree.
// Thread safety: one owner.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "agent/archive_encode.hpp"
#include "agent/backup_file.hpp"
#include "agent/task_pool.hpp"
#include "agent/walk.hpp"
#include "archive/manifest.hpp"

namespace roost::agent {

struct FoundItem {
  // alone: a file that the owner must read itself, because it is large, or grew.
  enum class State { found, encoded, skipped, alone };
  State state = State::found;
  EntryType type = EntryType::file;
  EntryAttributes attributes;  // of a file only its path is known while it is found
  std::string target;          // of a link
  DirectoryRef parent;         // of a file
  OpenedFile opened;           // of a file that was opened ahead
  EncodedEntry entry;          // where encoded
  std::size_t bytes = 0;       // of the batch's, likewise
  ManifestSkip skip;           // where skipped

  void skip_as(const char* kind, const char* reason);
};

class FoundBatch final : public WorkPool::Job {
 public:
  std::vector<FoundItem> items;
  std::string bytes;  // of the encoded items, one after another

  FoundBatch(bool live, const std::atomic<bool>& stop) : live_(live), stop_(stop) {}
  void run(Workbench& bench) override;

 private:
  void open_ahead(FoundItem& item) const;

  const bool live_;
  const std::atomic<bool>& stop_;
};

// Reads a file that is small, in up to kReadings attempts, the first of what was opened ahead, and encodes it, or notes why it is
// skipped; or that it is too large.
void read_small(FoundItem& item, bool live, Workbench& bench, std::string& bytes);

class TreeReader {
 public:
  // REQUIRES: root and pool outlive it.
  static Result<std::unique_ptr<TreeReader>> start(int root, WalkOptions options, WorkPool& pool);
  ~TreeReader();
  TreeReader(const TreeReader&) = delete;
  TreeReader& operator=(const TreeReader&) = delete;

  // The next batch, to be given back before the next call; null after the last. While it waits it asks `go_on` several times a
  // second, whose error ends it.
  Result<FoundBatch*> next(const std::function<Status()>& go_on);
  void give_back(FoundBatch& batch);

 private:
  class Visitor;
  TreeReader(WalkOptions options, WorkPool& pool) : options_(std::move(options)), pool_(pool) {}
  std::unique_ptr<FoundBatch> free_batch();
  Status put(std::unique_ptr<FoundBatch> batch);
  void run(int root);

  const WalkOptions options_;
  WorkPool& pool_;
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::unique_ptr<FoundBatch>> batches_;
  std::vector<std::unique_ptr<FoundBatch>> used_;  // to be filled again
  bool ended_ = false;
  Status walked_;
  TaskThread thread_;
};

}  // namespace roost::agent
