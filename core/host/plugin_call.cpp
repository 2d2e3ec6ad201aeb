#include "host/plugin_call.hpp"

#include <cxxabi.h>

#include <cstring>
#include <utility>

#include "base/crypto.hpp"

namespace roost {
namespace {

constexpr std::size_t kRecordSize =
    offsetof(roost_record, revision) + sizeof(roost_record::revision);  // as released with ABI 1.0

// Differs for every thread that lives, and costs no look-up.
std::uintptr_t thread_mark() {
  thread_local char mark;
  return reinterpret_cast<std::uintptr_t>(&mark);
}

bool known_code(std::int32_t code) { return code >= ROOST_INVALID && code <= ROOST_INTERNAL; }
bool terminated(const roost_error& error) { return std::memchr(error.message, 0, sizeof error.message) != nullptr; }

}  // namespace

Status status_of(std::int32_t code, const roost_error& error) {
  if (code == ROOST_OK) return {};
  if (!known_code(code)) return Error{Code::internal, "answered the code " + std::to_string(code) + ", which is none", 0};
  if (!terminated(error)) return Error{Code::internal, "answered a message without an end", 0};
  std::string message = error.message;
  if (message.empty()) message = to_string(static_cast<Code>(code));
  if (!valid_utf8(message)) message = std::string(to_string(static_cast<Code>(code))) + " (its message is not UTF-8)";
  const auto wait_ms = static_cast<std::int64_t>(std::min<std::uint64_t>(error.retry_after_ms, 24ull * 3600 * 1000));
  return Error{static_cast<Code>(code), std::move(message), wait_ms};
}

void Collector::begin(const CollectorLimits& limits) {
  limits_ = limits;
  records_.clear();
  total_ = 0;
  violation_.clear();
  owner_.store(thread_mark(), std::memory_order_release);
}

std::int32_t Collector::emit_entry(const roost_sink* sink, const roost_record* record) {
  return static_cast<Collector*>(sink->context)->emit(record);
}

std::int32_t Collector::emit(const roost_record* record) {
  const std::uintptr_t owner = owner_.load(std::memory_order_acquire);
  if (owner != thread_mark()) {  // nothing of the call may be touched: it is another thread's, or over
    plugin_->host->misbehaving(plugin_->manifest.name, owner == 0 ? "called a sink after its call had returned"
                                                                  : "called a sink on another thread than the call's");
    return 1;
  }
  if (!violation_.empty()) return 1;
  if (record == nullptr || record->size < kRecordSize) return refuse("emitted a record of a wrong size");
  const auto& [key, value] = std::pair(record->key, record->value);
  if ((key.data == nullptr && key.size != 0) || (value.data == nullptr && value.size != 0))
    return refuse("emitted bytes at no address");
  if (key.size > limits_.key_bytes || value.size > limits_.value_bytes) {
    return refuse("emitted a record of " + std::to_string(key.size) + " + " + std::to_string(value.size) +
                  " bytes, which is too large");
  }
  if (records_.size() >= limits_.records)
    return refuse("emitted more than the " + std::to_string(limits_.records) + " records asked for");
  total_ += key.size + value.size;
  if (total_ > limits_.total_bytes) return refuse("emitted more than " + std::to_string(limits_.total_bytes) + " bytes");
  const auto text = [](roost_bytes bytes) { return bytes.size == 0 ? std::string() : std::string(bytes.data, bytes.size); };
  records_.push_back({record->flags, text(key), text(value), record->revision});
  return 0;
}

std::int32_t Collector::refuse(std::string what) {
  violation_ = std::move(what);
  return 1;
}

PluginCall::PluginCall(const LoadedPlugin& plugin, std::int64_t deadline_ns, std::string_view trace_id, int cancel_fd)
    : plugin_(plugin) {
  call_.size = sizeof call_;
  call_.cancel_fd = cancel_fd;
  call_.deadline_ns = deadline_ns < 0 ? 0 : static_cast<std::uint64_t>(deadline_ns);
  call_.trace_id = to_bytes(trace_id);
  call_.host = plugin.host->get();
}

Error PluginCall::misbehaved(const std::string& what) const {
  plugin_.host->misbehaving(plugin_.manifest.name, what);
  return Error{Code::internal, "plugin \"" + plugin_.manifest.name + "\" misbehaves: it " + what, 0};
}

// See guarded() of the SDK about forced unwinding and UBSan.
__attribute__((no_sanitize("null"))) Status PluginCall::run(const std::function<std::int32_t()>& function) {
  error_ = roost_error{};
  error_.size = sizeof error_;
  std::int32_t code = ROOST_OK;
  try {
    code = function();
  } catch (const abi::__forced_unwind&) {
    throw;
  } catch (const std::exception& exception) {
    return misbehaved(std::string("threw an exception: ") + exception.what());
  } catch (...) {
    return misbehaved("threw an exception");
  }
  if (code != ROOST_OK && (!known_code(code) || !terminated(error_))) return misbehaved(status_of(code, error_).error().message);
  return status_of(code, error_);
}

Status PluginCall::run(Collector& collector, const CollectorLimits& limits, const std::function<std::int32_t()>& function) {
  collector.begin(limits);
  const Status status = run(function);
  collector.end();
  if (!collector.violation().empty()) return misbehaved(collector.violation());
  return status;
}

}  // namespace roost
