// TaskStorage: the backup plugin as a task uses it, through the C ABI: one archive being written at a time, archives read back in
// pieces. Calls that answer "nothing was done, retry" are repeated a few times. Thread safety: sources may be read
// by several threads at once, beside one that writes; everything else is one thread's at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "agent/task.hpp"
#include "archive/source.hpp"
#include "base/result.hpp"
#include "host/loader.hpp"

namespace roost::agent {

class TaskStorage {
 public:
  // Loads the plugin that the specification names and opens it. `cancel_fd`: readable once calls should return.
  static Result<std::unique_ptr<TaskStorage>> open(const TaskSpec& spec, int cancel_fd);
  ~TaskStorage();
  TaskStorage(const TaskStorage&) = delete;
  TaskStorage& operator=(const TaskStorage&) = delete;

  Status put_begin(const std::string& name);
  Status put_part(std::string_view data);  // REQUIRES: begun; at most 8 MiB
  Status put_commit();                     // ends what was begun, whatever it answers
  void put_abort();                        // nothing where nothing is begun

  Result<std::uint64_t> size_of(const std::string& name);  // NOT_FOUND
  Result<std::unique_ptr<ArchiveSource>> source(const std::string& name);
  Status remove(const std::string& name);

 private:
  class Source;
  TaskStorage(std::shared_ptr<Instance> instance, int cancel_fd);
  template <class Function>
  Status call(Function function);
  Result<std::string> read(const std::string& name, std::uint64_t offset, std::size_t length);

  std::shared_ptr<Instance> instance_;
  const roost_backup& table_;
  int cancel_fd_;
  roost_put* put_ = nullptr;
  std::mutex one_read_;  // where the plugin takes one call at a time
};

}  // namespace roost::agent
