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

// ---- from here on: how the tables are made ------------------------------------------------------------------------------

// Fills the caller's error and answers the code; a message that is too long is cut at a character's boundary.
inline std::int32_t fail(roost_error* error, std::int32_t code, std::string_view message,
                         std::uint64_t retry_after_ms = 0) noexcept {
  if (error == nullptr || error->size < sizeof(roost_error)) return code;
  std::size_t length = std::min<std::size_t>(message.size(), ROOST_ERROR_MESSAGE_MAX - 1);
  while (length < message.size() && length > 0 && (static_cast<unsigned char>(message[length]) & 0xC0u) == 0x80u) --length;
  error->code = code;
  error->retry_after_ms = retry_after_ms;
  if (length != 0) std::memcpy(error->message, message.data(), length);
  error->message[length] = '\0';
  return code;
}

// Runs a method; whatever it throws becomes a code. abi::__forced_unwind is how glibc ends a thread (pthread_cancel,
// pthread_exit): to swallow it would abort the process, so it passes, and these functions are not noexcept because of it. It is
// no object, so the reference that catches it binds to null, which UBSan need not report.
template <class Function>
__attribute__((no_sanitize("null"))) std::int32_t guarded(roost_error* error, const Function& function) {
  try {
    function();
    return ROOST_OK;
  } catch (const Failure& failure) {
    const std::int32_t code = failure.code() == ROOST_OK ? ROOST_INTERNAL : failure.code();
    return fail(error, code, failure.what(), failure.retry_after_ms());
#ifdef __GLIBCXX__
  } catch (const abi::__forced_unwind&) {
    throw;
#endif
  } catch (const std::exception& exception) {
    return fail(error, ROOST_INTERNAL, exception.what());
  } catch (...) {
    return fail(error, ROOST_INTERNAL, "an exception of unknown type");
  }
}

// The part that is the same for every kind: open and close. Base is StorePlugin, ComputePlugin or BackupPlugin.
template <class Base, class Class>
struct Opening {
  static std::int32_t open(const roost_call* raw_call, const roost_open_args* raw_args, roost_instance** instance,
                           roost_error* error) {
    return guarded(error, [&] {
      const roost_open_args raw = sdk::read(raw_args);
      const Call call(raw_call);
      OpenArgs args{view(raw.name), view(raw.config), {}, call.log()};
      for (const roost_secret& secret : read_array<roost_secret>(raw.secrets))
        args.secrets.push_back({view(secret.name), view(secret.value)});
      Base* made = new Class(call, args);
      *instance = reinterpret_cast<roost_instance*>(made);
    });
  }
  static void close(roost_instance* instance) {
    guarded(nullptr, [&] { delete self(instance); });
  }
  static Base* self(roost_instance* instance) { return reinterpret_cast<Base*>(instance); }
};

template <class Class>
struct StoreTable : Opening<StorePlugin, Class> {
  using Opening<StorePlugin, Class>::self;
  static std::int32_t get(roost_instance* instance, const roost_call* call, roost_bytes partition, roost_bytes key,
                          const roost_sink* raw, roost_error* error) {
    return guarded(error, [&] {
      Sink sink(raw);
      self(instance)->get(Call(call), view(partition), view(key), sink);
    });
  }
  static std::int32_t scan(roost_instance* instance, const roost_call* call, roost_bytes partition, roost_bytes prefix,
                           roost_bytes after, std::uint32_t limit, const roost_sink* raw, roost_error* error) {
    return guarded(error, [&] {
      Sink sink(raw);
      self(instance)->scan(Call(call), view(partition), view(prefix), view(after), limit, sink);
    });
  }
  static std::int32_t commit(roost_instance* instance, const roost_call* call, roost_bytes partition, roost_array raw_conditions,
                             roost_array raw_operations, const roost_sink* raw, roost_error* error) {
    return guarded(error, [&] {
      Sink sink(raw);
      std::vector<Condition> conditions;
      for (const roost_condition& c : read_array<roost_condition>(raw_conditions)) {
        conditions.push_back({c.kind, view(c.key), c.revision});
      }
      std::vector<Operation> operations;
      for (const roost_operation& o : read_array<roost_operation>(raw_operations)) {
        operations.push_back({o.kind, view(o.key), view(o.value), o.ttl_ms});
      }
      self(instance)->commit(Call(call), view(partition), conditions, operations, sink);
    });
  }
  static std::int32_t count(roost_instance* instance, const roost_call* call, roost_bytes partition, roost_bytes prefix,
                            std::uint64_t* answer, roost_error* error) {
    return guarded(error, [&] { *answer = self(instance)->count(Call(call), view(partition), view(prefix)); });
  }
  static std::int32_t lease(roost_instance* instance, const roost_call* call, roost_bytes name, roost_bytes holder,
                            std::int32_t action, std::uint64_t ttl_ms, const roost_sink* raw, roost_error* error) {
    return guarded(error, [&] {
      Sink sink(raw);
      self(instance)->lease(Call(call), view(name), view(holder), action, ttl_ms, sink);
    });
  }
  static std::int32_t watch(roost_instance* instance, const roost_call* call, roost_bytes resume, const roost_sink* raw,
                            roost_error* error) {
    return guarded(error, [&] {
      Sink sink(raw);
      self(instance)->watch(Call(call), view(resume), sink);
    });
  }
  static const roost_store* table() {
    static const roost_store made{sizeof(roost_store), Class::max_concurrency, get, scan, commit, count, lease, watch};
    return &made;
  }
};

template <class Class>
struct ComputeTable : Opening<ComputePlugin, Class> {
  using Opening<ComputePlugin, Class>::self;
  static std::int32_t apply(roost_instance* instance, const roost_call* call, roost_bytes spec, const roost_sink* sink,
                            roost_error* error) {
    return guarded(error, [&] { Sink(sink).emit({}, self(instance)->apply(Call(call), view(spec))); });
  }
  static std::int32_t observe(roost_instance* instance, const roost_call* call, roost_bytes id, std::uint32_t flags,
                              const roost_sink* sink, roost_error* error) {
    return guarded(error, [&] { Sink(sink).emit({}, self(instance)->observe(Call(call), view(id), flags)); });
  }
  static std::int32_t list(roost_instance* instance, const roost_call* call, roost_bytes after, std::uint32_t limit,
                           const roost_sink* raw, roost_error* error) {
    return guarded(error, [&] {
      Sink sink(raw);
      self(instance)->list(Call(call), view(after), limit, sink);
    });
  }
  static std::int32_t watch(roost_instance* instance, const roost_call* call, roost_bytes resume, const roost_sink* raw,
                            roost_error* error) {
    return guarded(error, [&] {
      Sink sink(raw);
      self(instance)->watch(Call(call), view(resume), sink);
    });
  }
  // The answer of a removal is its code; there is nothing to emit.
  static std::int32_t remove(roost_instance* instance, const roost_call* call, roost_bytes request, const roost_sink*,
                             roost_error* error) {
    return guarded(error, [&] { self(instance)->remove(Call(call), view(request)); });
  }
  static std::int32_t task_start(roost_instance* instance, const roost_call* call, roost_bytes spec, const roost_sink* sink,
                                 roost_error* error) {
    return guarded(error, [&] { Sink(sink).emit({}, self(instance)->task_start(Call(call), view(spec))); });
  }
  static std::int32_t task_observe(roost_instance* instance, const roost_call* call, roost_bytes request, const roost_sink* sink,
                                   roost_error* error) {
    return guarded(error, [&] { Sink(sink).emit({}, self(instance)->task_observe(Call(call), view(request))); });
  }
  static std::int32_t task_remove(roost_instance* instance, const roost_call* call, roost_bytes request, const roost_sink*,
                                  roost_error* error) {
    return guarded(error, [&] { self(instance)->task_remove(Call(call), view(request)); });
  }
  static std::int32_t activity(roost_instance* instance, const roost_call* call, roost_bytes id, const roost_sink* sink,
                               roost_error* error) {
    return guarded(error, [&] { Sink(sink).emit({}, self(instance)->activity(Call(call), view(id))); });
  }
  static const roost_compute* table() {
    static const roost_compute made{sizeof(roost_compute),
                                    Class::max_concurrency,
                                    apply,
                                    observe,
                                    list,
                                    watch,
                                    remove,
                                    task_start,
                                    task_observe,
                                    task_remove,
                                    activity};
    return &made;
  }
};

template <class Class>
struct BackupTable : Opening<BackupPlugin, Class> {
  using Opening<BackupPlugin, Class>::self;
  struct Begun {
    std::string name;
    std::unique_ptr<Put> put;
  };
  static Begun* begun(roost_put* put) { return reinterpret_cast<Begun*>(put); }

  static std::int32_t describe(roost_instance* instance, const roost_call* call, roost_bytes request, const roost_sink* sink,
                               roost_error* error) {
    return guarded(error, [&] { Sink(sink).emit({}, self(instance)->describe(Call(call), view(request))); });
  }
  static std::int32_t put_begin(roost_instance* instance, const roost_call* call, roost_bytes name, roost_put** put,
                                roost_error* error) {
    return guarded(error, [&] {
      auto made = std::make_unique<Begun>();
      made->name = std::string(view(name));
      made->put = self(instance)->put_begin(Call(call), view(name));
      if (made->put == nullptr) throw Failure(ROOST_INTERNAL, "put_begin answered nothing");
      *put = reinterpret_cast<roost_put*>(made.release());
    });
  }
  static std::int32_t put_part(roost_instance*, const roost_call* call, roost_put* put, roost_bytes data, roost_error* error) {
    return guarded(error, [&] { begun(put)->put->part(Call(call), view(data)); });
  }
  static std::int32_t put_commit(roost_instance*, const roost_call* call, roost_put* put, const roost_sink* sink,
                                 roost_error* error) {
    return guarded(error, [&] {
      const std::unique_ptr<Begun> owned(begun(put));
      Sink(sink).emit(owned->name, owned->put->commit(Call(call)));
    });
  }
  static void put_abort(roost_instance*, roost_put* put) {
    guarded(nullptr, [&] { delete begun(put); });
  }
  static std::int32_t list(roost_instance* instance, const roost_call* call, roost_bytes prefix, roost_bytes after,
                           std::uint32_t limit, const roost_sink* raw, roost_error* error) {
    return guarded(error, [&] {
      Sink sink(raw);
      self(instance)->list(Call(call), view(prefix), view(after), limit, sink);
    });
  }
  static std::int32_t stat(roost_instance* instance, const roost_call* call, roost_bytes name, const roost_sink* sink,
                           roost_error* error) {
    return guarded(error, [&] { Sink(sink).emit(view(name), self(instance)->stat(Call(call), view(name))); });
  }
  static std::int32_t read(roost_instance* instance, const roost_call* call, roost_bytes name, std::uint64_t offset,
                           std::uint64_t length, const roost_sink* raw, roost_error* error) {
    return guarded(error, [&] {
      Sink sink(raw);
      self(instance)->read(Call(call), view(name), offset, length, sink);
    });
  }
  static std::int32_t remove(roost_instance* instance, const roost_call* call, roost_bytes name, roost_error* error) {
    return guarded(error, [&] { self(instance)->remove(Call(call), view(name)); });
  }
  static const roost_backup* table() {
    static const roost_backup made{sizeof(roost_backup),
                                   Class::max_concurrency,
                                   describe,
                                   put_begin,
                                   put_part,
                                   put_commit,
                                   put_abort,
                                   list,
                                   stat,
                                   read,
                                   remove};
    return &made;
  }
};

// Picks the highest minor version that both sides know. What a lower one lacks is cut off by the structures' sizes, so a plugin
// that was built with a newer header serves an older host.
inline const roost_plugin* negotiate(roost_plugin& plugin, const roost_negotiation* raw, roost_error* error) {
  const roost_negotiation offer = sdk::read(raw);
  const std::uint32_t chosen = std::min<std::uint32_t>(ROOST_ABI_MINOR, offer.max_minor);
  if (raw == nullptr || chosen < offer.min_minor) {
    fail(error, ROOST_UNSUPPORTED,
         "the host wants at least ABI 1." + std::to_string(offer.min_minor) + ", the plugin has 1." +
             std::to_string(ROOST_ABI_MINOR));
    return nullptr;
  }
  plugin.abi_minor = chosen;
  return &plugin;
}

template <class Table>
roost_plugin describe_plugin(roost_kind kind, const char* name, const char* version) {
  roost_plugin plugin{};
  plugin.size = sizeof(roost_plugin);
  plugin.kind = kind;
  plugin.name = name;
  plugin.version = version;
  plugin.open = Table::open;
  plugin.close = Table::close;
  return plugin;
}

}  // namespace roost::sdk

#define ROOST_PLUGIN_ENTRY_(Kind, kind_constant, member, Class, plugin_name, plugin_version)                              \
  extern "C" ROOST_EXPORT const roost_plugin* roost_plugin_v1(const roost_negotiation* negotiation, roost_error* error) { \
    using Table = ::roost::sdk::Kind##Table<Class>;                                                                       \
    static roost_plugin plugin = [] {                                                                                     \
      roost_plugin made = ::roost::sdk::describe_plugin<Table>(kind_constant, plugin_name, plugin_version);               \
      made.member = Table::table();                                                                                       \
      return made;                                                                                                        \
    }();                                                                                                                  \
    return ::roost::sdk::negotiate(plugin, negotiation, error);                                                           \
  }

// The entry of a plugin: its class, its name as in the manifest, its version. Once in a plugin.
#define ROOST_STORE_PLUGIN(Class, name, version) ROOST_PLUGIN_ENTRY_(Store, ROOST_KIND_STORE, store, Class, name, version)
#define ROOST_COMPUTE_PLUGIN(Class, name, version) ROOST_PLUGIN_ENTRY_(Compute, ROOST_KIND_COMPUTE, compute, Class, name, version)
#define ROOST_BACKUP_PLUGIN(Class, name, version) ROOST_PLUGIN_ENTRY_(Backup, ROOST_KIND_BACKUP, backup, Class, name, version)
