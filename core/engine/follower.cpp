#include "engine/follower.hpp"

#include <algorithm>

#include "engine/documents.hpp"

namespace roost {

namespace {
constexpr int kParallel = 8;
constexpr std::int64_t kLoadPauseMs = 2000;  // the longest pause before a part of the sessions is asked for again
constexpr std::int64_t kLateMs = 250;
constexpr std::int64_t kNewsMs = 2000;
constexpr std::int64_t kPauseMs = 200;  // the longest pause after a watch that failed

}  // namespace

// ---- loading ------------------------------------------------------------------------------------------------------------

struct Follower::Loading {
  std::function<void()> loaded;
  bool again = false;  // the read model has sessions: they are read again in turn with their commits
  int next = 0;
  std::size_t open = 0;  // partitions and sessions that are being read
  std::int64_t failures = 0;
  std::map<std::string, std::unordered_set<std::string>> seen;  // by partition
};

void Follower::load(std::function<void()> loaded) {
  auto loading = std::make_shared<Loading>();
  loading->loaded = std::move(loaded);
  begin(loading);
}

void Follower::reload(std::function<void()> done) {
  auto loading = std::make_shared<Loading>();
  loading->loaded = std::move(done);
  loading->again = true;
  begin(loading);
}

void Follower::begin(const std::shared_ptr<Loading>& loading) {
  loading->open = kParallel;
  for (int i = 0; i < kParallel; ++i) load_next(loading);
}

void Follower::part_done(const std::shared_ptr<Loading>& loading) {
  if (--loading->open == 0) loading->loaded();
}

void Follower::load_next(const std::shared_ptr<Loading>& loading) {
  if (loading->next < documents::kPartitions) return load_partition(loading, loading->next++, "");
  part_done(loading);
}

void Follower::take(const std::shared_ptr<Loading>& loading, const std::string& partition, const std::vector<Document>& page) {
  for (const Document& document : page) {
    auto view = documents::decode_session(document);
    if (!view) {
      context_.log(3, "a session cannot be read and is left alone", Json::object({{"detail", view.error().message}}));
      continue;
    }
    const std::string& id = (*view)->session.id;
    if (!loading->again) {
      context_.load(*view);
      continue;
    }
    loading->seen[partition].insert(id);
    SessionView present = context_.reads.find(id);
    if (!present || present->revision != document.revision) read_again(id, context_.mono_ms(), loading);
  }
}

void Follower::reread_missing(const std::shared_ptr<Loading>& loading, const std::string& partition) {
  const std::unordered_set<std::string>& seen = loading->seen[partition];
  std::string after = partition + "000000";
  if (context_.reads.find(after) && !seen.count(after)) read_again(after, context_.mono_ms(), loading);
  while (true) {
    auto page = context_.reads.list(after, kListed);
    for (const SessionView& view : page) {
      const std::string& id = view->session.id;
      if (id.compare(0, partition.size(), partition) != 0) return;
      if (!seen.count(id)) read_again(id, context_.mono_ms(), loading);
    }
    if (page.size() < kListed) return;
    after = page.back()->session.id;
  }
}

void Follower::load_partition(const std::shared_ptr<Loading>& loading, int number, const std::string& after) {
  if (context_.stopping) return;
  const std::string partition = documents::digits(number);
  context_.scan(partition, "session/", after, documents::kPage, [=, this](Result<std::vector<Document>> page) {
    if (!page) {
      const std::int64_t wait = std::min(kLoadPauseMs, context_.backoff_ms(++loading->failures));
      context_.log(2, "the sessions cannot be loaded yet", Json::object({{"detail", page.error().message}, {"retry_ms", wait}}));
      context_.after_ms(wait, [=, this] { load_partition(loading, number, after); });
      return;
    }
    take(loading, partition, *page);
    if (page->size() >= documents::kPage) return load_partition(loading, number, page->back().key);
    if (loading->again) reread_missing(loading, partition);
    loading->seen.erase(partition);
    load_next(loading);
  });
}

// ---- following ----------------------------------------------------------------------------------------------------------

void Follower::follow(Hooks hooks) {
  hooks_ = std::move(hooks);
  watch("");
}

void Follower::watch(const std::string& resume) {
  if (context_.stopping) return;
  const std::int64_t began = context_.mono_ms();
  context_.ports.store->watch(resume, context_.guard([this, resume, began](Result<Watched> answer) {
    if (!answer) return watch_failed(resume, answer.error());
    watched(resume, began, *answer);
  }));
}

void Follower::watch_failed(const std::string& resume, const Error& error) {
  const bool expired = error.code == Code::expired;
  // A machine under load misses one now and then; that is no news.
  if (heard_ms_ != 0 && context_.mono_ms() - heard_ms_ > kNewsMs && !std::exchange(failing_, true))
    context_.log(2, "the store's changes are not followed now", Json::object({{"detail", error.message}}));
  if (expired) {
    synced_ = 0;
    tell();
    hooks_.expired();
  }
  const std::int64_t wait = expired ? 1 : std::min(kPauseMs, context_.backoff_ms(++failures_));
  context_.after_ms(wait, [this, next = expired ? "" : resume] { watch(next); });
}

void Follower::watched(const std::string& resume, std::int64_t began_ms, const Watched& watched) {
  failures_ = 0;
  if (std::exchange(failing_, false)) context_.log(1, "the store's changes are followed again");
  take_hints(watched.changes, heard_ms_);
  if (!watched.behind) heard_ms_ = began_ms;
  // A watch from nowhere began at an unknown moment: what was written before it and after the last load was seen by neither.
  if (resume.empty()) {
    synced_ = 0;
    reload([this, number = ++reloads_] {
      if (number == reloads_) synced_ = number;
      caught_up_ = caught_up_ || synced_ != 0;
      tell();
      hooks_.reloaded();
    });
  }
  tell();
  const std::int64_t spent = context_.mono_ms() - began_ms;
  const std::int64_t rest = watched.changes.empty() ? std::max<std::int64_t>(0, kQuietMs - spent) : 0;
  context_.after_ms(rest, [this, next = watched.resume] { watch(next); });
}

void Follower::take_hints(const std::vector<Change>& changes, std::int64_t since_ms) {
  std::set<std::string> sessions, queues;
  for (const Change& change : changes) {
    if (change.key.rfind("session/", 0) == 0) sessions.insert(change.key.substr(8));
    if (change.key.rfind("message/", 0) == 0) queues.insert(change.key.substr(8, 8));
    if (change.key.rfind("backup/", 0) == 0 && hooks_.backup_changed) hooks_.backup_changed(change.key.substr(7));
    if (change.partition == documents::kLeaderPartition && change.key == documents::kHandOverKey) hooks_.handed_over();
  }
  for (const std::string& id : sessions) read_again(id, since_ms, nullptr);
  for (const std::string& id : queues) chat_.notice(id);
  relay_.take(changes);
}

void Follower::read_again(const std::string& id, std::int64_t since_ms, const std::shared_ptr<Loading>& loading) {
  Pending& pending = pending_[id];
  if (loading) {
    ++loading->open;
    pending.of.push_back(loading);
  }
  if (pending.since_ms != 0) {
    const std::int64_t again_ms = std::max<std::int64_t>(1, since_ms);
    const bool first = pending.again_since_ms == 0;
    pending.again_since_ms = first ? again_ms : std::min(pending.again_since_ms, again_ms);
    if (again_ms >= pending.since_ms) return;
    // A reload came upon it before this hint did: what is shown is older than the reload.
    ages_.erase({pending.since_ms, id});
    pending.since_ms = again_ms;
    ages_.insert({pending.since_ms, id});
    return;
  }
  pending.since_ms = std::max<std::int64_t>(1, since_ms);
  ages_.insert({pending.since_ms, id});
  read(id);
}

void Follower::read(const std::string& id) {
  writer_.refresh(id, [this, id](Result<SessionView> view) { was_read(id, view); });
}

// A hint is not given again: what could not be read is tried until it can.
void Follower::was_read(const std::string& id, const Result<SessionView>& view) {
  auto it = pending_.find(id);
  if (it == pending_.end() || context_.stopping) return;
  Pending& pending = it->second;
  const bool unreadable = !view && view.error().code == Code::data_loss;
  if (!view && !unreadable) {
    context_.after_ms(std::min(kPauseMs, context_.backoff_ms(++pending.failures)), [this, id] { read(id); });
    return;
  }
  if (unreadable) context_.log(3, "a session cannot be read and is left alone", Json::object({{"detail", view.error().message}}));
  ages_.erase({pending.since_ms, id});
  pending.since_ms = std::exchange(pending.again_since_ms, 0);
  if (pending.since_ms != 0) {
    ages_.insert({pending.since_ms, id});
    read(id);
    return tell();
  }
  auto of = std::move(pending.of);
  pending_.erase(it);
  tell();
  for (const auto& loading : of) part_done(loading);
}

void Follower::tell() {
  std::int64_t known_ms = heard_ms_;  // what changed before is shown
  if (!ages_.empty()) known_ms = std::min(known_ms, ages_.begin()->first);
  context_.follows_until_ms = synced_ == 0 ? 0 : known_ms + kLateMs;
}

}  // namespace roost
