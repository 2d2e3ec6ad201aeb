// How long the host gives a plugin's calls. Thread safety: a plain value.
#pragma once

#include <cstdint>

namespace roost {

struct CallTimeouts {
  std::int64_t open_ms = 30'000;
  std::int64_t brief_ms = 10'000;    // store; observe, list, task_observe; stat, describe
  std::int64_t change_ms = 60'000;   // apply, task_start, task_remove, remove of a workload
  std::int64_t volume_ms = 300'000;  // remove of a volume, which may hold millions of files
  std::int64_t bulk_ms = 60'000;     // one chunk of an archive
  std::int64_t watch_ms = 25'000;
  std::int64_t store_watch_ms = 100;  // each that ends well says that nothing was missed until it began
};

}  // namespace roost
