#include "compute/kubernetes/reflector.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <random>

namespace roost::kubernetes {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kPage = 500;
constexpr std::chrono::seconds kListLimit{120};
constexpr std::chrono::milliseconds kBackoffFirst{800};
constexpr std::chrono::milliseconds kBackoffMax{30'000};
constexpr std::chrono::milliseconds kShortWatch{1000};
constexpr std::chrono::seconds kHealthy{120};

std::minstd_rand& randomness() {
  thread_local std::minstd_rand random(std::random_device{}());
  return random;
}

// A version or a token as part of a query.
std::string escape(const std::string& text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const unsigned char byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || c == '-' || c == '_' || c == '.') {
      out += c;
    } else {
      out += '%';
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
  return out;
}

// The circumstances of a request of ours: until a time, or until stop_fd turns readable.
roost_call circumstances(int stop_fd, std::chrono::nanoseconds limit) {
  roost_call call{};
  call.size = sizeof call;
  call.cancel_fd = stop_fd;
  call.deadline_ns = static_cast<std::uint64_t>((Clock::now().time_since_epoch() + limit).count());
  return call;
}

bool is_expired(const ApiError& error) {
  return error.status() == 410 || error.reason() == "Expired" || error.reason() == "Gone" ||
         std::string(error.what()).find("Too large resource version") != std::string::npos;
}

}  // namespace

Reflector::Reflector(Kind kind, std::string path, std::string selector, bool optional, Client& client, View& view, sdk::Log log)
    : kind_(kind),
      path_(std::move(path)),
      selector_(std::move(selector)),
      optional_(optional),
      client_(client),
      view_(view),
      log_(log),
      stop_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (stop_fd_ < 0) throw sdk::Failure(ROOST_UNAVAILABLE, "no descriptor is left for a watch");
  thread_ = std::thread([this] { run(); });
}

Reflector::~Reflector() {
  const std::uint64_t one = 1;
  while (::write(stop_fd_, &one, sizeof one) < 0 && errno == EINTR) {
  }
  thread_.join();
  ::close(stop_fd_);
}

bool Reflector::stopping() const {
  pollfd stop{stop_fd_, POLLIN, 0};
  return ::poll(&stop, 1, 0) > 0;
}

void Reflector::run() {
  while (!stopping()) {
    const Clock::time_point began = Clock::now();
    bool failed = false;
    try {
      next_ = follow();
    } catch (const ApiError& error) {
      if (stopping()) return;
      failed = true;
      next_ = after_failure(error);
    } catch (const std::exception& error) {  // not JSON, no memory, no credentials
      failed = true;
      next_ = Next::list;
      view_.failed(kind_, error.what());
      if (complaint_ != error.what()) log_.warn(std::string("watch of ") + name_of(kind_) + ": " + error.what());
      complaint_ = error.what();
    }
    if (!failed || Clock::now() - began >= kHealthy) failures_ = 0;
    if (failed && next_ != Next::list_newest && !pause()) return;
  }
}

Reflector::Next Reflector::follow() {
  if (next_ == Next::list_newest) version_.clear();
  if (next_ != Next::watch) list_all();
  if (!complaint_.empty()) log_.info(std::string("watch of ") + name_of(kind_) + ": works again");
  complaint_.clear();
  return watch_once();
}

// What the failure says about how to go on.
Reflector::Next Reflector::after_failure(const ApiError& error) {
  if (is_expired(error)) return version_.empty() ? Next::list : Next::list_newest;  // at once, from the newest state
  view_.failed(kind_, error.what());
  if (complaint_ != error.what()) {
    log_(optional_ ? ROOST_LOG_INFO : ROOST_LOG_WARN, std::string("watch of ") + name_of(kind_) + ": " + error.what());
    complaint_ = error.what();
  }
  const bool away = error.status() == 0 || error.status() == 429;
  return away && next_ == Next::watch ? Next::watch : Next::list;
}

bool Reflector::pause() {
  const auto base = std::min(kBackoffMax, kBackoffFirst * (1 << std::min(failures_, 6)));
  failures_ += 1;
  const auto jitter = std::chrono::milliseconds(randomness()() % static_cast<unsigned long>(base.count() + 1));
  const roost_call raw = circumstances(stop_fd_, std::chrono::hours(1));
  return sdk::Call(&raw).sleep_for(base + jitter);
}

std::string Reflector::query(const std::string& rest) const {
  return path_ + "?" + rest + (selector_.empty() ? "" : "&labelSelector=" + escape(selector_));
}

void Reflector::list_all() {
  std::unordered_set<std::string> seen;
  const std::function<void(Json)> item = [&](Json object) {
    seen.insert(object["metadata"]["uid"].str());
    view_.put(kind_, object);
  };
  std::string page;
  bool whole = false;  // a continue token expired: once more without pages
  while (true) {
    std::string rest = whole ? "limit=0" : "limit=" + std::to_string(kPage);
    rest += page.empty() ? "&resourceVersion=" + escape(version_) : "&continue=" + escape(page);
    const roost_call raw = circumstances(stop_fd_, kListLimit);
    try {
      const Json list = client_.list(sdk::Call(&raw), query(rest), item);
      page = list["metadata"]["continue"].str();
      if (!page.empty()) continue;
      version_ = list["metadata"]["resourceVersion"].str();
      view_.listed(kind_, seen, version_);
      next_ = Next::watch;
      return;
    } catch (const ApiError& error) {
      if (page.empty() || !is_expired(error)) throw;
      page.clear();
      seen.clear();
      whole = true;
    }
  }
}

void Reflector::event(std::string_view line) {
  const Json event = Json::parse(line, "event");
  const std::string& type = event["type"].str();
  const Json& object = event["object"];
  if (type == "ERROR") {  // inside a 200: the watch has ended
    const int code = static_cast<int>(object["code"].integer());
    throw ApiError(ROOST_UNAVAILABLE, "the watch ended: " + object["message"].str(), code, object["reason"].str());
  }
  if (type == "ADDED" || type == "MODIFIED") view_.put(kind_, object);
  if (type == "DELETED") view_.remove(kind_, object);
  const std::string& version = object["metadata"]["resourceVersion"].str();
  if (!version.empty()) version_ = version;
}

Reflector::Next Reflector::watch_once() {
  next_ = Next::watch;
  const int seconds = 300 + static_cast<int>(randomness()() % 300);
  const std::string rest =
      "watch=1&allowWatchBookmarks=true&timeoutSeconds=" + std::to_string(seconds) + "&resourceVersion=" + escape(version_);
  const roost_call raw = circumstances(stop_fd_, std::chrono::seconds(seconds + 60));
  const Clock::time_point began = Clock::now();
  bool any = false;
  client_.stream(sdk::Call(&raw), query(rest), std::chrono::seconds(seconds + 30), [&](std::string_view line) {
    event(line);
    return any = true;
  });
  if (!any && Clock::now() - began < kShortWatch)
    throw ApiError(ROOST_UNAVAILABLE, "the watch ended at once, without an event", 0, "");
  return Next::watch;
}

}  // namespace roost::kubernetes
