// ReadAheadSource: a stored archive whose bytes are fetched by a thread of its own before they are asked for, as long as they are
// asked for from the first to the last; what is asked for elsewhere meanwhile is read at once. At most kAhead pieces wait.
// Thread safety: one reader. The source behind it must allow two reads at once.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>

#include "agent/task_thread.hpp"
#include "archive/source.hpp"
#include "base/result.hpp"

namespace roost::agent {

class ReadAheadSource final : public ArchiveSource {
 public:
  static constexpr std::size_t kPiece = 4u << 20;  // far storage answers each request late, and a large one hardly later
  static constexpr std::size_t kAhead = 2;

  // REQUIRES: `source` outlives it.
  static Result<std::unique_ptr<ReadAheadSource>> start(ArchiveSource& source);
  ~ReadAheadSource() override;
  ReadAheadSource(const ReadAheadSource&) = delete;
  ReadAheadSource& operator=(const ReadAheadSource&) = delete;

  [[nodiscard]] std::uint64_t size() const override { return source_.size(); }
  Result<std::string> read(std::uint64_t offset, std::size_t length) override;

 private:
  explicit ReadAheadSource(ArchiveSource& source) : source_(source) {}
  void run();

  ArchiveSource& source_;
  std::uint64_t asked_ = 0;  // what a reader in order asks for next
  std::string piece_;        // the one it is in
  std::size_t used_ = 0;     // of it
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> pieces_;
  Status failed_;
  bool ended_ = false;
  TaskThread thread_;
};

}  // namespace roost::agent
