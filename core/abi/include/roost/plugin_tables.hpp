// roost/plugin_tables.hpp: how roost/plugin.hpp makes the ABI's tables of functions out of a plugin's class. Not to be included
// by itself, and nothing that a plugin's author has to read. Thread safety: pure functions and tables that are constant once they
// are made.
#pragma once

#include "roost/plugin.hpp"

namespace roost::sdk {

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
