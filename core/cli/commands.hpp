// The commands: each does what its words on the command line say. What it needs is in run.options(). Thread safety: one thread.
#pragma once

#include "cli/run.hpp"

namespace roost::cli {

[[nodiscard]] Status session_create(Run& run);
[[nodiscard]] Status session_list(Run& run);
[[nodiscard]] Status session_get(Run& run);
[[nodiscard]] Status session_status(Run& run);
[[nodiscard]] Status session_sleep(Run& run);
[[nodiscard]] Status session_wake(Run& run);
[[nodiscard]] Status session_scale(Run& run);
[[nodiscard]] Status session_delete(Run& run);
[[nodiscard]] Status session_access(Run& run);
[[nodiscard]] Status session_events(Run& run);

[[nodiscard]] Status chat_send(Run& run);
[[nodiscard]] Status chat_history(Run& run);
[[nodiscard]] Status chat_follow(Run& run);

[[nodiscard]] Status backup_list(Run& run);
[[nodiscard]] Status backup_get(Run& run);
[[nodiscard]] Status backup_create(Run& run);
[[nodiscard]] Status backup_files(Run& run);
[[nodiscard]] Status backup_download(Run& run);
[[nodiscard]] Status backup_cat(Run& run);
[[nodiscard]] Status backup_restore(Run& run);
[[nodiscard]] Status backup_hold(Run& run);
[[nodiscard]] Status backup_unhold(Run& run);
[[nodiscard]] Status backup_verify(Run& run);
[[nodiscard]] Status backup_delete(Run& run);
[[nodiscard]] Status backup_strangers(Run& run);

[[nodiscard]] Status operation_get(Run& run);
[[nodiscard]] Status operation_wait(Run& run);
[[nodiscard]] Status events(Run& run);

[[nodiscard]] Status config_list(Run& run);
[[nodiscard]] Status config_set(Run& run);
[[nodiscard]] Status config_use(Run& run);
[[nodiscard]] Status config_delete(Run& run);

[[nodiscard]] Status version(Run& run);
[[nodiscard]] Status doctor(Run& run);
[[nodiscard]] Status completion_bash(Run& run);
[[nodiscard]] Status completion_zsh(Run& run);
[[nodiscard]] Status completion_fish(Run& run);

}  // namespace roost::cli
