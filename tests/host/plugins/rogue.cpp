// A store plugin that breaks the rules on demand, written against the C header so that nothing protects the host from it.
// ROGUE_TABLE (environment) breaks the answer of the entry; the key of a get breaks that call.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>

#include "roost/plugin.h"

namespace {

const roost_sink* saved_sink = nullptr;

roost_record record(std::string_view key, std::string_view value) {
  return {sizeof(roost_record), 0, {key.data(), key.size()}, {value.data(), value.size()}, 7};
}

std::int32_t emit(const roost_sink* sink, roost_record made) { return sink->emit(sink, &made); }

std::int32_t get(roost_instance*, const roost_call*, roost_bytes, roost_bytes raw_key, const roost_sink* sink,
                 roost_error* error) {
  const std::string key(raw_key.data, raw_key.size);
  if (key == "good") emit(sink, record(key, "value"));
  if (key == "throw") throw 42;
  if (key == "negative") return -5;
  if (key == "unknown-code") return 99;
  if (key == "unterminated") {
    std::memset(error->message, 'x', sizeof error->message);
    return ROOST_INVALID;
  }
  if (key == "record-size") {
    roost_record small = record(key, "value");
    small.size = 4;
    emit(sink, small);
  }
  if (key == "no-address") {
    roost_record none = record(key, "value");
    none.value = {nullptr, 100};
    emit(sink, none);
  }
  if (key == "two-records") {
    emit(sink, record(key, "1"));
    emit(sink, record(key, "2"));
  }
  if (key == "after-stop") {
    const std::string large(2 << 20, 'x');
    for (int i = 0; i < 3; ++i) emit(sink, record(key, large));
  }
  if (key == "other-thread") std::thread([&] { emit(sink, record(key, "value")); }).join();
  if (key == "save-sink") {
    saved_sink = sink;
    emit(sink, record(key, "value"));
  }
  if (key == "use-saved-sink") {
    std::thread([&] { emit(saved_sink, record(key, "late")); }).join();
    emit(sink, record(key, "value"));
  }
  if (key == "wrong-key") emit(sink, record("another", "value"));
  return ROOST_OK;  // and of an unknown key: OK without a record
}

std::int32_t scan(roost_instance*, const roost_call*, roost_bytes, roost_bytes, roost_bytes, std::uint32_t,
                  const roost_sink* sink, roost_error*) {
  emit(sink, record("b", "1"));
  emit(sink, record("a", "2"));
  return ROOST_OK;
}

std::int32_t commit(roost_instance*, const roost_call*, roost_bytes, roost_array, roost_array, const roost_sink*, roost_error*) {
  return ROOST_OK;  // without the records that belong to it
}

std::int32_t count(roost_instance*, const roost_call*, roost_bytes, roost_bytes, std::uint64_t*, roost_error*) {
  return ROOST_OK;
}

std::int32_t lease(roost_instance*, const roost_call*, roost_bytes, roost_bytes, std::int32_t, std::uint64_t,
                   const roost_sink* sink, roost_error*) {
  emit(sink, record("holder", "not JSON"));
  return ROOST_OK;
}

std::int32_t watch(roost_instance*, const roost_call*, roost_bytes, const roost_sink*, roost_error*) { return ROOST_OK; }

std::int32_t open(const roost_call*, const roost_open_args* args, roost_instance** instance, roost_error* error) {
  const std::string_view config(args->config.data, args->config.size);
  if (config.find("refuse") != std::string_view::npos) {
    std::strcpy(error->message, "no server answers; check config.address");
    return ROOST_UNAVAILABLE;
  }
  if (config.find("nothing") != std::string_view::npos) return ROOST_OK;
  static int somewhere;
  *instance = reinterpret_cast<roost_instance*>(&somewhere);
  return ROOST_OK;
}

void close(roost_instance*) {}

}  // namespace

extern "C" ROOST_EXPORT const roost_plugin* roost_plugin_v1(const roost_negotiation* negotiation, roost_error* error) {
  const char* how = std::getenv("ROGUE_TABLE");
  const std::string_view breaks = how ? how : "";
  static roost_store store;
  static roost_plugin plugin;
  store = {sizeof(roost_store), 0, get, scan, commit, count, lease, watch};
  plugin = {sizeof(roost_plugin), 0, ROOST_KIND_STORE, 0, "store-rogue", "1.0.0", open, close, nullptr, &store, nullptr};
  if (breaks == "plugin-size") plugin.size = 16;
  if (breaks == "store-size") store.size = 16;
  if (breaks == "no-table") plugin.store = nullptr;
  if (breaks == "no-function") store.scan = nullptr;
  if (breaks == "no-close") plugin.close = nullptr;
  if (breaks == "name") plugin.name = "store-other";
  if (breaks == "kind") plugin.kind = ROOST_KIND_BACKUP;
  if (breaks == "minor") plugin.abi_minor = negotiation->max_minor + 1;
  if (breaks == "throw") throw 42;
  if (breaks == "refuse") {
    error->code = ROOST_UNSUPPORTED;
    std::strcpy(error->message, "this plugin wants ABI 1.9");
    return nullptr;
  }
  return &plugin;
}
