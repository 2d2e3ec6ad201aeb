// PluginCall: one blocking call into a plugin, with its deadline, its cancel descriptor and its error; Collector: the sink that
// gathers what the call emits, within limits. Both check that the plugin keeps the ABI's rules: a call that breaks one fails with
// INTERNAL and is reported as plugin_misbehaving.
// Thread safety: used by the calling thread only; a plugin that calls a sink from elsewhere or too late is caught and refused.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "host/loader.hpp"
#include "roost/plugin.h"

namespace roost {

inline roost_bytes to_bytes(std::string_view text) { return roost_bytes{text.data(), text.size()}; }

// What a function answered, as a Status. A code that is none, or a message without an end, is INTERNAL.
[[nodiscard]] Status status_of(std::int32_t code, const roost_error& error);

struct Record {
  std::uint32_t flags = 0;
  std::string key;
  std::string value;
  std::uint64_t revision = 0;
};

struct CollectorLimits {
  std::size_t records = 1;            // one more breaks the rules
  std::size_t key_bytes = 1024;       // of one record
  std::size_t value_bytes = 1 << 20;  // of one record
  std::size_t total_bytes = 64 << 20;
};

class Collector {
 public:
  explicit Collector(const LoadedPlugin& plugin) : plugin_(&plugin) {
    sink_.size = sizeof sink_;
    sink_.context = this;
    sink_.emit = &Collector::emit_entry;
  }
  Collector(const Collector&) = delete;
  Collector& operator=(const Collector&) = delete;

  // A call on this thread begins; what was gathered before is forgotten.
  void begin(const CollectorLimits& limits);
  // It returned: from now on every emit is a late one.
  void end() { owner_.store(0, std::memory_order_release); }

  [[nodiscard]] const roost_sink* sink() const { return &sink_; }
  [[nodiscard]] std::vector<Record>& records() { return records_; }
  [[nodiscard]] const std::string& violation() const { return violation_; }  // empty: the plugin kept the rules

 private:
  static std::int32_t emit_entry(const roost_sink* sink, const roost_record* record);
  std::int32_t emit(const roost_record* record);
  std::int32_t refuse(std::string what);

  const LoadedPlugin* plugin_;
  roost_sink sink_{};
  std::atomic<std::uintptr_t> owner_{0};  // the calling thread's mark; 0: no call is under way
  CollectorLimits limits_;
  std::vector<Record> records_;
  std::size_t total_ = 0;
  std::string violation_;
};

class PluginCall {
 public:
  // deadline_ns: CLOCK_MONOTONIC. cancel_fd: an eventfd of the caller's, or -1.
  PluginCall(const LoadedPlugin& plugin, std::int64_t deadline_ns, std::string_view trace_id = {}, int cancel_fd = -1);
  PluginCall(const PluginCall&) = delete;
  PluginCall& operator=(const PluginCall&) = delete;

  [[nodiscard]] const roost_call* raw() const { return &call_; }
  [[nodiscard]] roost_error* error() { return &error_; }
  [[nodiscard]] std::int64_t deadline_ns() const { return static_cast<std::int64_t>(call_.deadline_ns); }

  // Calls `function`, which calls the plugin and answers its code. With a collector: its output is gathered within the limits.
  [[nodiscard]] Status run(const std::function<std::int32_t()>& function);
  [[nodiscard]] Status run(Collector& collector, const CollectorLimits& limits, const std::function<std::int32_t()>& function);

  // Reports that the plugin broke a rule, and answers the INTERNAL error that its call fails with.
  [[nodiscard]] Error misbehaved(const std::string& what) const;

 private:
  const LoadedPlugin& plugin_;
  roost_call call_{};
  roost_error error_{};
};

}  // namespace roost
