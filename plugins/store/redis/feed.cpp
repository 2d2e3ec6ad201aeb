#include "store/redis/feed.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include "store/shared/threads.hpp"

namespace roost::store_redis {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFeedTime{10'000};
constexpr milliseconds kAnswerTime{1'000};  // beyond what the server was told to wait
constexpr milliseconds kGather{5};          // changes that come one after the other are fetched together
constexpr milliseconds kPurgeTime{20'000};
constexpr const char* kAtOnce = "8";  // changes of a bucket in one answer
constexpr const char* kPurgedAtOnce = "200";
constexpr const char* kBegin = "0-0";

void set(int event_fd) {
  const std::uint64_t one = 1;
  (void)!::write(event_fd, &one, sizeof one);
}

}  // namespace

Feed::Feed(Server& server, store::ChangeLog& changes, const std::vector<Bucket>& buckets)
    : server_(server),
      changes_(changes),
      buckets_(buckets),
      stop_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      begun_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  changes_.suspend("store-redis: the changes are not being followed yet");
  try {
    if (stop_fd_ < 0 || begun_fd_ < 0)
      throw sdk::Failure(ROOST_EXHAUSTED, "store-redis: eventfd failed: too many open files?", 1'000);
    follower_ = store::start_thread("store-redis", [this] { follow(); });
    keeper_ = store::start_thread("store-redis", [this] { keep_house(); });
  } catch (...) {
    end();  // there may be one thread, and no second one
    throw;
  }
}

Feed::~Feed() { end(); }

void Feed::end() {
  if (stop_fd_ >= 0) set(stop_fd_);
  for (std::thread* thread : {&follower_, &keeper_}) {
    if (thread->joinable()) thread->join();
  }
  for (const int fd : {stop_fd_, begun_fd_}) {
    if (fd >= 0) ::close(fd);
  }
}

void Feed::await_begin(const Until& until) { (void)until.wait(begun_fd_, POLLIN); }

bool Feed::stopping() const {
  pollfd fd{stop_fd_, POLLIN, 0};
  return ::poll(&fd, 1, 0) > 0;
}

void Feed::follow() {
  for (int failures = 0; !stopping();) {
    std::string why;
    try {
      const auto connection = server_.connect(Until(stop_fd_, kFeedTime));
      server_.note("");
      failures = 0;
      follow_one(*connection);
    } catch (const sdk::Failure& e) {
      why = e.what();
    } catch (const ServerError& e) {
      why = failure(e, "Redis").what();
    } catch (const std::exception& e) {
      why = std::string("store-redis: the connection that follows the changes: ") + e.what();
    }
    if (stopping()) return;
    changes_.suspend(why);
    set(begun_fd_);
    server_.note(why);
    Until(stop_fd_, milliseconds(std::min(50 << std::min(failures++, 5), 1'000))).wait(-1, 0);
  }
}

void Feed::follow_one(Connection& connection) {
  if (connection.facts().run_id != run_id_) {
    find_positions(connection);
    run_id_ = connection.facts().run_id;
    changes_.restart();
  }
  changes_.resume();
  set(begun_fd_);
  const milliseconds wait(server_.settings().poll_ms);
  while (!stopping()) {
    Command request("XREAD");
    request.add("COUNT").add(kAtOnce).add("BLOCK").add(std::to_string(wait.count())).add("STREAMS");
    for (const Bucket& bucket : buckets_) request.add(bucket.changes);
    for (const std::string& position : positions_) request.add(position);
    const Reply reply = connection.ask(request, Until(stop_fd_, wait + kAnswerTime));
    if (!server_.is_fit(connection))
      throw sdk::Failure(ROOST_UNAVAILABLE, "store-redis: " + connection.address().text() + " is not the master any more", 500);
    if (take_in(reply)) Until(stop_fd_, kGather).wait(-1, 0);
  }
}

void Feed::find_positions(Connection& connection) {
  std::vector<Command> requests;
  for (const Bucket& bucket : buckets_) requests.push_back(command({"HGET", bucket.counters, "change"}));
  const std::vector<Reply> replies = connection.exchange(requests, Until(stop_fd_, kFeedTime));
  positions_.assign(buckets_.size(), kBegin);
  for (std::size_t i = 0; i < replies.size(); ++i) {
    if (!is_null(checked(replies[i]))) positions_[i] = text(replies[i]);
  }
}

// Whether there was anything. Each entry names the one before it: so a gap is noticed.
bool Feed::take_in(const Reply& reply) {
  if (is_null(reply)) return false;
  bool gap = false;
  std::vector<store::Changed> found;
  for (const Reply& stream : items(reply)) {
    const std::vector<Reply> named = items(stream);
    if (named.size() != 2) throw ProtocolError("XREAD answered something else");
    const std::string name = text(named[0]);
    const auto bucket = std::find_if(buckets_.begin(), buckets_.end(), [&](const Bucket& b) { return b.changes == name; });
    if (bucket == buckets_.end()) throw ProtocolError("XREAD answered a stream that was not asked for");
    std::string& position = positions_[static_cast<std::size_t>(bucket - buckets_.begin())];
    for (const Reply& raw : items(named[1])) {
      const std::vector<Reply> entry = items(raw);
      if (entry.size() != 2) throw ProtocolError("XREAD answered something else");
      const std::vector<std::string> fields = texts(entry[1]);
      if (fields.size() < 2 || fields[0] != "previous" || (fields[1] != position && !(fields[1].empty() && position == kBegin)))
        gap = true;
      for (std::size_t i = 2; i + 1 < fields.size(); i += 2) {
        const std::string hint = hint_of(fields[i]);
        if (!hint.empty()) found.push_back({hint, std::strtoull(fields[i + 1].c_str(), nullptr, 10)});
      }
      position = text(entry[0]);
    }
  }
  if (gap) changes_.restart();
  changes_.publish(std::move(found));
  return true;
}

void Feed::keep_house() {
  using Clock = Until::Clock;
  const milliseconds check(server_.settings().check_interval_ms), purge_every(server_.settings().purge_interval_ms);
  auto next_check = Clock::now() + check;
  auto next_purge = Clock::now() + purge_every;
  while (!stopping()) {
    const auto pause = std::min(next_check, next_purge) - Clock::now();
    Until(stop_fd_, std::max<std::chrono::nanoseconds>(pause, milliseconds(1))).wait(-1, 0);
    if (stopping()) return;
    try {
      if (Clock::now() >= next_check) {
        next_check = Clock::now() + check;
        server_.inspect(Until(stop_fd_, kFeedTime));
      }
      if (Clock::now() >= next_purge) {
        next_purge = Clock::now() + purge_every;
        purge();
      }
    } catch (const std::exception&) {  // the follower meets the same and tells
    }
  }
}

// First one look into every bucket, in one go; mostly there is nothing to do.
void Feed::purge() {
  const Until until(stop_fd_, kPurgeTime);
  const auto connection = server_.connect(until);
  const auto now = std::to_string(connection->server_ms(Until::Clock::now()));
  std::vector<Command> looks;
  for (const Bucket& bucket : buckets_) looks.push_back(command({"ZCOUNT", bucket.due, "-inf", now}));
  const std::vector<Reply> counts = connection->exchange(looks, until);
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    if (integer(checked(counts[i])) == 0) continue;
    const Bucket& bucket = buckets_[i];
    const Invoke invoke = [&](const Connection&) {
      const auto keys = bucket.keys();
      return Invocation{{keys.begin(), keys.end()}, {bucket.documents, kPurgedAtOnce}};
    };
    while (!until.over() && integer(server_.write(purge_script(), invoke, until)) > 0) {
    }
  }
}

}  // namespace roost::store_redis
