// Notify: tells the service manager how the daemon is (sd_notify(3)). Without one it does nothing.
// Thread safety: every function may be called from any thread.
#pragma once

#include <cstdint>
#include <string>

namespace roost::daemon {

class Notify {
 public:
  Notify();
  void ready(const std::string& status) const;
  void reloading() const;  // followed by ready()
  void stopping(const std::string& status) const;
  void status(const std::string& text) const;
  void watchdog() const;
  // How often watchdog() is to be called, in milliseconds; 0: never.
  [[nodiscard]] std::int64_t watchdog_ms() const { return watchdog_ms_; }

 private:
  std::int64_t watchdog_ms_ = 0;
};

}  // namespace roost::daemon
