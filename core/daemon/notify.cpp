#include "daemon/notify.hpp"

#include <systemd/sd-daemon.h>

#include "base/clock.hpp"

namespace roost::daemon {

Notify::Notify() {
  std::uint64_t period_us = 0;
  if (sd_watchdog_enabled(0, &period_us) > 0) watchdog_ms_ = static_cast<std::int64_t>(period_us / 2000);  // twice in each period
}

void Notify::ready(const std::string& status) const { sd_notify(0, ("READY=1\nSTATUS=" + status).c_str()); }

void Notify::reloading() const {
  // MONOTONIC_USEC is what Type=notify-reload wants.
  const std::string now = std::to_string(system_clock().monotonic_ns() / 1000);
  sd_notify(0, ("RELOADING=1\nMONOTONIC_USEC=" + now + "\nSTATUS=reading the configuration").c_str());
}

void Notify::stopping(const std::string& status) const { sd_notify(0, ("STOPPING=1\nSTATUS=" + status).c_str()); }
void Notify::status(const std::string& text) const { sd_notify(0, ("STATUS=" + text).c_str()); }
void Notify::watchdog() const { sd_notify(0, "WATCHDOG=1"); }

}  // namespace roost::daemon
