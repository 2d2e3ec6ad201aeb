// PartSink: gathers an archive into parts and gives them to the storage from a thread of its own, so that compression goes on
// while a part is on its way. At most kWaiting parts wait. Thread safety: one thread writes; meanwhile nobody else uses the
// storage.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "agent/archive_writer.hpp"
#include "agent/task_thread.hpp"
#include "base/result.hpp"

namespace roost::agent {

class PartSink final : public ByteSink {
 public:
  static constexpr std::size_t kPart = 2u << 20;
  static constexpr std::size_t kWaiting = 3;
  using Put = std::function<Status(std::string_view)>;

  static Result<std::unique_ptr<PartSink>> start(Put put);
  ~PartSink() override;  // what waits still is not put

  // An error of an earlier part is answered by a later call, and by every one after it.
  Status write(std::string_view data) override;
  Status flush();  // when it answers, everything was put

 private:
  explicit PartSink(Put put) : put_(std::move(put)) {}
  Status hand_over();
  void run();

  Put put_;
  std::string part_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> waiting_;
  std::vector<std::string> used_;  // to be filled again
  bool putting_ = false;
  bool ended_ = false;
  Status failed_;
  TaskThread thread_;
};

}  // namespace roost::agent
