// FilePut: one archive on its way into the directory: written under a hidden name, made durable, then given its own name
// without ever replacing another. Thread safety: one thread at a time. Invariants: a part that failed as UNAVAILABLE has added
// nothing, so it can be repeated; a put that ended in any other way than a successful commit leaves no file.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "backup/directory/directory.hpp"

namespace roost::backup_directory {

class FilePut final : public sdk::Put {
 public:
  FilePut(std::shared_ptr<const Directory> directory, std::string name);
  ~FilePut() override;
  void part(const sdk::Call& call, std::string_view data) override;
  std::string commit(const sdk::Call& call) override;

 private:
  void discard();
  void publish();

  std::shared_ptr<const Directory> directory_;
  std::string name_;
  std::string temporary_;  // empty: it is gone
  Fd file_;
  std::uint64_t size_ = 0;
  std::uint64_t flushed_ = 0;
};

}  // namespace roost::backup_directory
