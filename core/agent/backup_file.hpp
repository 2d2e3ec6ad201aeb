// How one file of the tree is read: opened beneath its directory, given time to show a change, read, and looked at again.
// Thread safety: pure functions; each thread its own buffer.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <span>
#include <string_view>

#include "agent/archive_encode.hpp"
#include "agent/walk_beneath.hpp"

namespace roost::agent {

inline constexpr int kReadings = 3;  // of a file that changes while it is read

struct OpenedFile {
  FdOwner fd;
  struct stat status {};
  const char* refused = nullptr;  // why it cannot be read: a reason of receipt.json; null: it can
};

// `settle`: where it was written to in the last 20 ms, first waits until it is that old. Two writes within one tick of the
// kernel's clock leave the same times behind, so that the second one would not show.
enum class Settle { wait, no };
[[nodiscard]] OpenedFile open_file(const FdOwner& parent, const char* name, Settle settle);

// Asks the kernel to fetch all of it meanwhile; returns at once. What is in memory already costs next to nothing.
void read_ahead(const OpenedFile& file);

// Bytes from `offset` on, into the buffer: asks for as many as the buffer holds and is content with `enough`; fewer at the file's
// end. Where it cannot be read, none, and `error` is set.
[[nodiscard]] std::string_view read_piece(const OpenedFile& file, std::int64_t offset, std::size_t enough, std::span<char> buffer,
                                          bool& error);

// Whether nothing was written since it was opened.
[[nodiscard]] bool still_unchanged(const OpenedFile& file);

// What one reading of a file came to. torn: it was written to meanwhile, and is taken all the same.
enum class Reading { whole, torn, changed, unreadable };

// Reads all of a file. REQUIRES: the buffer is larger than the file was when it was opened.
enum class OnChange { refuse, take };
[[nodiscard]] Reading read_whole_file(const OpenedFile& file, OnChange on_change, std::span<char> buffer,
                                      std::string_view& contents);

[[nodiscard]] inline EntryAttributes attributes_of(const std::string& path, const struct stat& status) {
  return EntryAttributes{path, status.st_mode & 07777u, mtime_ns_of(status)};
}

}  // namespace roost::agent
