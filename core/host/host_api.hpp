// HostApi: what the host offers to plugins (roost_host). Plugins keep the pointer, so it must live as long as the process.
// Thread safety: plugins call it from any thread; so do not change anything after construction, and the functions must bear it.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "roost/plugin.h"

namespace roost {

class HostApi {
 public:
  // level: enum roost_log_level. message: one line. fields: a JSON object or empty, as the plugin gave it, at most 16 KiB.
  using LogFunction = std::function<void(int level, std::string_view message, std::string_view fields)>;
  // A plugin broke a rule of the ABI: which one, and what it did. Logged as plugin_misbehaving.
  using MisbehavingFunction = std::function<void(std::string_view plugin, std::string_view what)>;

  HostApi(LogFunction log, MisbehavingFunction misbehaving);
  HostApi(const HostApi&) = delete;
  HostApi& operator=(const HostApi&) = delete;

  [[nodiscard]] const roost_host* get() const { return &host_; }
  void misbehaving(std::string_view plugin, std::string_view what) const;

 private:
  static void log_entry(const roost_host* host, std::int32_t level, roost_bytes message, roost_bytes fields);
  static std::int32_t cancelled_entry(const roost_host* host, const roost_call* call);

  roost_host host_{};
  LogFunction log_;
  MisbehavingFunction misbehaving_;
};

}  // namespace roost
