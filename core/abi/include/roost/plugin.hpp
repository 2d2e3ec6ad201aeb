// roost/plugin.hpp: the C++ SDK of the plugin ABI (roost/plugin.h, which is the contract; read it first). Header only; C++17.
//
// Derive from StorePlugin, ComputePlugin or BackupPlugin and write, once, in one source file:
//
//   class MyStore : public roost::sdk::StorePlugin {
//    public:
//     MyStore(const roost::sdk::Call& call, const roost::sdk::OpenArgs& args);   // open(); the destructor is close()
//     static constexpr std::uint32_t max_concurrency = 8;                        // 0, the default: as the host likes
//     ...
//   };
//   ROOST_STORE_PLUGIN(MyStore, "store-mine", "1.0.0")
//
// Errors are thrown: `throw Failure(ROOST_NOT_FOUND, "what, where, what to do")`; anything else that is thrown becomes
// ROOST_INTERNAL. Views that a method receives are valid until it returns.
// Thread safety: the host calls one instance from several threads at once, up to max_concurrency a lane.
#pragma once

#include <cxxabi.h>
#include <poll.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "roost/plugin.h"

namespace roost::sdk {

// ---- what a plugin author uses ------------------------------------------------------------------------------------------

// An error on its way to the host. See enum roost_code for what each code makes the host do.
class Failure : public std::runtime_error {
 public:
  Failure(roost_code code, const std::string& message, std::uint64_t retry_after_ms = 0)
      : std::runtime_error(message), code_(code), retry_after_ms_(retry_after_ms) {}
  roost_code code() const { return code_; }
  std::uint64_t retry_after_ms() const { return retry_after_ms_; }

 private:
  roost_code code_;
  std::uint64_t retry_after_ms_;
};

inline std::string_view view(roost_bytes bytes) {
  return bytes.data == nullptr ? std::string_view() : std::string_view(bytes.data, bytes.size);
}
inline roost_bytes bytes(std::string_view text) { return roost_bytes{text.data(), text.size()}; }

// A copy of a structure of the other side: what lies beyond its `size` is zero, as a writer that does not know it means it.
template <class T>
T read(const T* raw) {
  T copy{};
  if (raw != nullptr) std::memcpy(&copy, raw, std::min<std::size_t>(raw->size, sizeof(T)));
  return copy;
}

// Copies of an array's items, by its stride. Throws INVALID for an array that cannot be one.
template <class T>
std::vector<T> read_array(roost_array array) {
  if (array.count != 0 && (array.items == nullptr || array.stride < sizeof(std::uint32_t))) {
    throw Failure(ROOST_INVALID, "an array without items or with too small a stride");
  }
  std::vector<T> copies;
  copies.reserve(array.count);
  for (std::size_t i = 0; i < array.count; ++i) {
    const char* item = static_cast<const char*>(array.items) + i * array.stride;
    std::uint32_t size = 0;
    std::memcpy(&size, item, sizeof size);
    T copy{};
    std::memcpy(&copy, item, std::min<std::size_t>({size, array.stride, sizeof(T)}));
    copies.push_back(copy);
  }
  return copies;
}

// The host's log. Lives as long as the process; may be copied and used from any thread.
class Log {
 public:
  Log() = default;
  explicit Log(const roost_host* host) : host_(host) {}
  // message: one line, no secret. fields: a JSON object, or empty.
  void operator()(roost_log_level level, std::string_view message, std::string_view fields = {}) const {
    const roost_host host = read(host_);
    if (host.log != nullptr) host.log(host_, level, bytes(message), bytes(fields));
  }
  void debug(std::string_view message, std::string_view fields = {}) const { (*this)(ROOST_LOG_DEBUG, message, fields); }
  void info(std::string_view message, std::string_view fields = {}) const { (*this)(ROOST_LOG_INFO, message, fields); }
  void warn(std::string_view message, std::string_view fields = {}) const { (*this)(ROOST_LOG_WARN, message, fields); }
  void error(std::string_view message, std::string_view fields = {}) const { (*this)(ROOST_LOG_ERROR, message, fields); }

 private:
  const roost_host* host_ = nullptr;
};

// The circumstances of the present call: when it must return. Use it on the calling thread, before the method returns.
class Call {
 public:
  explicit Call(const roost_call* raw) : raw_(raw), call_(sdk::read(raw)) {
    if (call_.size < offsetof(roost_call, cancel_fd) + sizeof(call_.cancel_fd)) call_.cancel_fd = -1;
  }

  std::string_view trace_id() const { return view(call_.trace_id); }
  int cancel_fd() const { return call_.cancel_fd; }                // for poll(POLLIN) only
  std::uint64_t deadline_ns() const { return call_.deadline_ns; }  // absolute, CLOCK_MONOTONIC
  Log log() const { return Log(call_.host); }
  const roost_host* host() const { return call_.host; }

  // Until the deadline; zero once it has passed.
  std::chrono::nanoseconds remaining() const {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    const std::uint64_t now_ns =
        static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec);
    if (now_ns >= call_.deadline_ns) return std::chrono::nanoseconds(0);
    return std::chrono::nanoseconds(std::min<std::uint64_t>(call_.deadline_ns - now_ns, INT64_MAX));
  }

  // Whether to give up: cancelled, or past the deadline.
  bool cancelled() const { return remaining().count() == 0 || asked_to_stop(); }

  // Throws DEADLINE or CANCELLED where the call should end. Both say that NOTHING WAS DONE: throw them before the effect only.
  void check() const {
    if (remaining().count() == 0) throw Failure(ROOST_DEADLINE, "the deadline passed");
    if (asked_to_stop()) throw Failure(ROOST_CANCELLED, "the call was cancelled");
  }

  // Waits until `fd` has one of `events` (poll(2)) and returns what it has; 0 where the call should end instead.
  short wait(int fd, short events) const { return wait_until(fd, events, std::chrono::nanoseconds::max()); }

  // Sleeps; false as soon as the call should end.
  bool sleep_for(std::chrono::nanoseconds duration) const {
    wait_until(-1, 0, duration);
    return !cancelled();
  }

 private:
  bool asked_to_stop() const {
    const roost_host host = sdk::read(call_.host);
    if (host.cancelled != nullptr) return host.cancelled(call_.host, raw_) != 0;
    pollfd cancel{call_.cancel_fd, POLLIN, 0};
    return call_.cancel_fd >= 0 && ::poll(&cancel, 1, 0) > 0;
  }

  short wait_until(int fd, short events, std::chrono::nanoseconds duration) const {
    using std::chrono::steady_clock;  // CLOCK_MONOTONIC on every platform that Roost runs on
    const auto begun = steady_clock::now();
    while (!cancelled()) {
      const auto slept = steady_clock::now() - begun;
      if (slept >= duration) return 0;
      auto left = std::min<std::chrono::nanoseconds>(remaining(), duration - slept);
      // Without a descriptor to wake us, the host's flag must be looked at now and then.
      const auto most = std::chrono::milliseconds(call_.cancel_fd >= 0 ? 60'000 : 50);
      left = std::min<std::chrono::nanoseconds>(left, most);
      const int timeout_ms = static_cast<int>((left.count() + 999'999) / 1'000'000);
      pollfd fds[2] = {{fd, events, 0}, {call_.cancel_fd, POLLIN, 0}};
      const int ready = ::poll(fds, 2, timeout_ms);
      if (ready < 0 && errno != EINTR) throw Failure(ROOST_INTERNAL, "poll failed");
      if (ready > 0 && fds[0].revents != 0) return fds[0].revents;
    }
    return 0;
  }

  const roost_call* raw_;
  roost_call call_;
};

// The host's receiver of output. Use it on the calling thread, before the method returns, with no lock held.
class Sink {
 public:
  explicit Sink(const roost_sink* raw) : raw_(raw), sink_(sdk::read(raw)), stopped_(sink_.emit == nullptr) {}
  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;

  // false: the host wants no more; return then. Nothing reaches the host after that, even if you go on.
  bool emit(std::string_view key, std::string_view value, std::uint64_t revision = 0, std::uint32_t flags = 0) {
    if (stopped_) return false;
    const roost_record record{static_cast<std::uint32_t>(sizeof(roost_record)), flags, bytes(key), bytes(value), revision};
    stopped_ = sink_.emit(raw_, &record) != 0;
    return !stopped_;
  }
  // The last record of a watch: where the next one goes on.
  void resume(std::string_view token) { emit({}, token, 0, ROOST_RECORD_RESUME); }
  bool stopped() const { return stopped_; }

 private:
  const roost_sink* raw_;
  roost_sink sink_;
  bool stopped_;
};

struct Secret {
  std::string_view name;
  std::string_view value;
};

// What an instance is opened with. The views end with the constructor: copy what you keep.
struct OpenArgs {
  std::string_view name;    // the instance's name, for logs
  std::string_view config;  // a JSON object, valid by the manifest's schema
  std::vector<Secret> secrets;
  Log log;  // may be kept

  // The secret of that name; empty where none was given.
  std::string_view secret(std::string_view wanted) const {
    for (const Secret& secret : secrets) {
      if (secret.name == wanted) return secret.value;
    }
    return {};
  }
};

struct Condition {
  std::int32_t kind;  // enum roost_condition_kind; another value is INVALID
  std::string_view key;
  std::uint64_t revision;
};

struct Operation {
  std::int32_t kind;  // enum roost_operation_kind; another value is INVALID
  std::string_view key;
  std::string_view value;
  std::uint64_t ttl_ms;
};

// The methods are those of the tables in plugin.h, where each one's contract stands.
class StorePlugin {
 public:
  static constexpr std::uint32_t max_concurrency = 0;
  virtual ~StorePlugin() = default;
  virtual void get(const Call&, std::string_view partition, std::string_view key, Sink&) = 0;
  virtual void scan(const Call&, std::string_view partition, std::string_view prefix, std::string_view after, std::uint32_t limit,
                    Sink&) = 0;
  virtual void commit(const Call&, std::string_view partition, const std::vector<Condition>&, const std::vector<Operation>&,
                      Sink&) = 0;
  virtual std::uint64_t count(const Call&, std::string_view partition, std::string_view prefix) = 0;
  virtual void lease(const Call&, std::string_view name, std::string_view holder, std::int32_t action, std::uint64_t ttl_ms,
                     Sink&) = 0;
  virtual void watch(const Call&, std::string_view resume, Sink&) = 0;
};

// Documents are answered as the JSON text of the one record.
class ComputePlugin {
 public:
  static constexpr std::uint32_t max_concurrency = 0;
  virtual ~ComputePlugin() = default;
  virtual std::string apply(const Call&, std::string_view spec) = 0;
  virtual std::string observe(const Call&, std::string_view id, std::uint32_t flags) = 0;
  virtual void list(const Call&, std::string_view after, std::uint32_t limit, Sink&) = 0;
  virtual void watch(const Call&, std::string_view resume, Sink&) = 0;
  virtual void remove(const Call&, std::string_view request) = 0;
  virtual std::string task_start(const Call&, std::string_view spec) = 0;
  virtual std::string task_observe(const Call&, std::string_view request) = 0;
  virtual void task_remove(const Call&, std::string_view request) = 0;
  virtual std::string activity(const Call&, std::string_view id) = 0;
};

// An object that is being written. Its destructor throws away what was begun, unless commit() succeeded.
class Put {
 public:
  virtual ~Put() = default;
  virtual void part(const Call&, std::string_view data) = 0;
  virtual std::string commit(const Call&) = 0;  // answers the object's JSON, e.g. {"size":n}; called once, then destroyed
};

class BackupPlugin {
 public:
  static constexpr std::uint32_t max_concurrency = 0;
  virtual ~BackupPlugin() = default;
  virtual std::string describe(const Call&, std::string_view request) = 0;
  virtual std::unique_ptr<Put> put_begin(const Call&, std::string_view name) = 0;
  virtual void list(const Call&, std::string_view prefix, std::string_view after, std::uint32_t limit, Sink&) = 0;
  virtual std::string stat(const Call&, std::string_view name) = 0;
  virtual void read(const Call&, std::string_view name, std::uint64_t offset, std::uint64_t length, Sink&) = 0;
  virtual void remove(const Call&, std::string_view name) = 0;
};

}  // namespace roost::sdk

#include "roost/plugin_tables.hpp"

// The entry of a plugin: its class, its name as in the manifest, its version. Once in a plugin.
#define ROOST_STORE_PLUGIN(Class, name, version) ROOST_PLUGIN_ENTRY_(Store, ROOST_KIND_STORE, store, Class, name, version)
#define ROOST_COMPUTE_PLUGIN(Class, name, version) ROOST_PLUGIN_ENTRY_(Compute, ROOST_KIND_COMPUTE, compute, Class, name, version)
#define ROOST_BACKUP_PLUGIN(Class, name, version) ROOST_PLUGIN_ENTRY_(Backup, ROOST_KIND_BACKUP, backup, Class, name, version)
