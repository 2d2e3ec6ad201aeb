#include "host/host_api.hpp"

#include <poll.h>

#include <algorithm>

#include "base/clock.hpp"

namespace roost {
namespace {

constexpr std::size_t kLogMessageMax = 4096;
constexpr std::size_t kLogFieldsMax = 16 * 1024;

std::string_view view(roost_bytes bytes, std::size_t limit) {
  return bytes.data == nullptr ? std::string_view() : std::string_view(bytes.data, std::min(bytes.size, limit));
}

}  // namespace

HostApi::HostApi(LogFunction log, MisbehavingFunction misbehaving) : log_(std::move(log)), misbehaving_(std::move(misbehaving)) {
  host_.size = sizeof host_;
  host_.abi_minor = ROOST_ABI_MINOR;
  host_.context = this;
  host_.log = &HostApi::log_entry;
  host_.cancelled = &HostApi::cancelled_entry;
}

void HostApi::misbehaving(std::string_view plugin, std::string_view what) const {
  if (misbehaving_) misbehaving_(plugin, what);
}

void HostApi::log_entry(const roost_host* host, std::int32_t level, roost_bytes message, roost_bytes fields) {
  const auto* self = static_cast<const HostApi*>(host->context);
  if (!self->log_) return;
  std::string line(view(message, kLogMessageMax));
  std::replace_if(
      line.begin(), line.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  const int known = std::clamp<int>(level, ROOST_LOG_DEBUG, ROOST_LOG_ERROR);
  // A cut JSON object is none, so fields that are too long are left out.
  self->log_(known, line, fields.size <= kLogFieldsMax ? view(fields, kLogFieldsMax) : std::string_view());
}

// Decided from the call alone, so that a plugin's copy of the structure serves as well as the original.
std::int32_t HostApi::cancelled_entry(const roost_host*, const roost_call* call) {
  if (call == nullptr) return 1;
  if (static_cast<std::uint64_t>(system_clock().monotonic_ns()) >= call->deadline_ns) return 1;
  pollfd cancel{call->cancel_fd, POLLIN, 0};
  return call->cancel_fd >= 0 && ::poll(&cancel, 1, 0) > 0 ? 1 : 0;
}

}  // namespace roost
