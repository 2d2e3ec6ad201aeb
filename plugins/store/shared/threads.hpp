// start_thread: a thread of a plugin's own. The host's signals are the host's: it begins with all of them blocked.
// Thread safety: any thread.
#pragma once

#include <functional>
#include <string>
#include <thread>

namespace roost::store {

// `plugin`: whose it is, for the message. Throws EXHAUSTED where the system gives no more threads.
[[nodiscard]] std::thread start_thread(const std::string& plugin, std::function<void()> run);

}  // namespace roost::store
