#include "engine/schedule.hpp"

#include <algorithm>

#include "engine/operations.hpp"

namespace roost {

namespace {

constexpr std::size_t kSeenMax = 1'000;
constexpr std::int64_t kSecondUs = 1'000'000;
constexpr std::int64_t kLookMaxMs = 60'000, kLookMinMs = 500;
constexpr std::int64_t kLooks = 20;                    // at least so many in one interval
constexpr std::int64_t kSpread = 10;                   // a session's turn comes up to a tenth of the interval early
constexpr std::int64_t kTurns = 10'000;                // of the spread
constexpr std::int64_t kRetryMaxUs = 900 * kSecondUs;  // before the first repetition; each later one waits twice as long
constexpr std::int64_t kRetryParts = 96;               // ... and never more than such a part of the interval
constexpr int kDoublings = 12;

// The same for a session on every replica and after every restart; sessions that were made together differ.
std::int64_t spread_us(const std::string& id, std::int64_t every_us) {
  std::uint32_t hash = 0x811C9DC5U;  // FNV-1a
  for (const char c : id) hash = (hash ^ static_cast<unsigned char>(c)) * 0x01000193U;
  return every_us / kSpread * static_cast<std::int64_t>(hash % kTurns) / kTurns;
}

std::int64_t retry_us(std::int64_t failures, std::int64_t every_us) {
  const std::int64_t first = std::clamp(every_us / kRetryParts, kSecondUs, kRetryMaxUs);
  const auto doublings = std::clamp<std::int64_t>(failures - 1, 0, kDoublings);
  return std::min({first << doublings, std::max(every_us, first), kDayUs});
}

bool is_own(const LastBackup& last, const std::string& session_id) { return last.id.rfind(session_id + "-", 0) == 0; }

bool is_under_way(const SessionView& view) {
  return view && is_operating(view->session) && is_scheduled(*view->session.operation);
}

}  // namespace

std::optional<std::int64_t> unsaved_since_us(const Session& session) {
  if (session.wanted == Wanted::deleted || session.volume.uid.empty() || session.phase == Phase::volume_lost) return std::nullopt;
  const LastBackup& last = session.last_backup;
  if (last.id.empty()) return session.created_at_us;
  const bool slept_on = session.wanted == Wanted::asleep && last.wake_count == session.wake_count;
  const bool saved = slept_on && !last.live && is_own(last, session.id);
  return saved ? std::nullopt : std::optional(last.at_us);
}

std::optional<std::int64_t> backup_due_us(const Session& session, std::int64_t now_us, std::int64_t every_us) {
  const bool running = session.wanted == Wanted::running && session.phase == Phase::running;
  const bool asleep = session.wanted == Wanted::asleep && session.phase == Phase::asleep;
  const auto since = unsaved_since_us(session);
  if (!since || !(running || asleep) || is_operating(session)) return std::nullopt;
  const ScheduledBackups& tried = session.scheduled;
  if (running && tried.awaits_sleep) return std::nullopt;
  // What lies an interval ahead was written by a clock that was wrong.
  const auto known = [&](std::int64_t at_us) { return at_us != 0 && at_us < now_us + every_us; };
  std::int64_t due_us = known(*since) ? *since + every_us - spread_us(session.id, every_us) : now_us;
  if (known(tried.tried_at_us)) due_us = std::max(due_us, tried.tried_at_us + retry_us(tried.failures, every_us));
  return due_us;
}

Schedule::Schedule(Context& context, Writer& writer, Leader& leader) : context_(context), writer_(writer), leader_(leader) {
  context_.observers.push_back([this](const SessionView& before, const SessionView& after) { changed(before, after); });
}

void Schedule::start() {
  if (!std::exchange(waiting_, true)) wait();
}

void Schedule::wait() {
  const std::int64_t every_ms = context_.options.backup_every_ms;
  waiting_ = every_ms > 0;
  if (!waiting_) {
    due_.clear();
    unsaved_since_us_ = 0;
    return;
  }
  context_.after_ms(context_.jitter(std::clamp(every_ms / kLooks, kLookMinMs, kLookMaxMs)), [this] {
    if (context_.stopping) return;
    if (leader_.valid() && context_.is_current()) return look("");
    due_.clear();
    unsaved_since_us_ = 0;  // whoever leads says it
    wait();
  });
}

// A page of the sessions at a time, so that others get the thread.
void Schedule::look(const std::string& after) {
  if (context_.stopping) return;
  const std::int64_t now_us = context_.wall_us(), every_us = context_.options.backup_every_ms * 1000;
  if (after.empty()) {
    seen_.clear();
    oldest_us_ = 0;
  }
  const auto page = context_.reads.list(after, kListed);
  for (const SessionView& view : page) {
    if (const auto since = unsaved_since_us(view->session); since && (oldest_us_ == 0 || *since < oldest_us_))
      oldest_us_ = *since;
    const auto due_us = every_us > 0 ? backup_due_us(view->session, now_us, every_us) : std::nullopt;
    if (!due_us || *due_us > now_us) continue;
    seen_.emplace(*due_us, view->session.id);
    if (seen_.size() > kSeenMax) seen_.erase(std::prev(seen_.end()));
  }
  if (page.size() < kListed) return looked();
  context_.post([this, next = page.back()->session.id] { look(next); });
}

void Schedule::looked() {
  due_ = std::exchange(seen_, {});
  unsaved_since_us_ = oldest_us_;
  start_next();
  wait();
}

void Schedule::start_next() {
  const std::int64_t now_us = context_.wall_us(), every_us = context_.options.backup_every_ms * 1000;
  if (every_us <= 0 || context_.stopping || !leader_.valid() || !context_.is_current()) return;
  const auto places = static_cast<std::size_t>(operations::scheduled_places(context_.options.concurrent_tasks));
  while (!due_.empty() && operating_.size() + beginning_.size() < places) {
    const std::string id = due_.begin()->second;
    due_.erase(due_.begin());
    const SessionView view = context_.reads.find(id);
    const auto due_us = view ? backup_due_us(view->session, now_us, every_us) : std::nullopt;
    if (due_us && *due_us <= now_us && beginning_.insert(id).second) begin(id);
  }
}

// Decided anew on the document as it is when it is written: another leader, or somebody's wish, may have come first.
void Schedule::begin(const std::string& id) {
  auto prepare = [this](const SessionView& latest, const Writer::Decide& decide) {
    const std::int64_t now_us = context_.wall_us(), every_us = context_.options.backup_every_ms * 1000;
    const auto due_us = every_us > 0 ? backup_due_us(latest->session, now_us, every_us) : std::nullopt;
    if (!due_us || *due_us > now_us) return decide(Edit::none());
    Session next = latest->session;
    const std::string operation = next.id.substr(0, 2) + context_.ports.random->hex(3);
    if (const Status begun = operations::begin_backup(next, operation, "schedule", now_us); !begun) return decide(Edit::none());
    decide(Edit::write(std::move(next)));
  };
  writer_.mutate(id, std::move(prepare), [this, id](const Result<Written>& written) {
    beginning_.erase(id);
    if (written && written->committed) ++started_;
    context_.post([this] { start_next(); });
  });
}

void Schedule::changed(const SessionView& before, const SessionView& after) {
  const bool was = is_under_way(before), is = is_under_way(after);
  if (is) operating_.insert(after->session.id);
  if (was && !is) operating_.erase(before->session.id);
  const bool same = was && is && before->session.operation->id == after->session.operation->id;
  if (was && after && !same && leader_.valid()) ended(after->session, *before->session.operation);
  if (was && !same && !due_.empty()) context_.post([this] { start_next(); });
}

void Schedule::ended(const Session& session, const Operation& operation) {
  const bool replaced = session.operation->id != operation.id;
  const OperationOutcome outcome = replaced ? OperationOutcome::cancelled : session.operation->outcome;
  if (outcome == OperationOutcome::succeeded) ++succeeded_;
  if (outcome == OperationOutcome::cancelled) ++cancelled_;
  if (outcome != OperationOutcome::failed) return;
  if (session.phase == Phase::running && session.scheduled.awaits_sleep) {
    ++postponed_;
    return;
  }
  ++failed_;
  const Json data = Json::object({{"uuid", session.id},
                                  {"operation", operation.id},
                                  {"reason", session.operation->reason},
                                  {"message", session.operation->message},
                                  {"failures", session.scheduled.failures}});
  context_.log(2, "a backup of the schedule failed; it is tried again later", data);
  context_.emit({session.id, session.user_id, "backup.failed", context_.wall_us(), data});
}

void Schedule::forget_backup(const BackupRecord& record) {
  const auto counts_on_it = [id = record.id](const SessionView& view) { return view && view->session.last_backup.id == id; };
  if (!counts_on_it(context_.reads.find(record.session_id))) return;
  auto prepare = [counts_on_it](const SessionView& latest, const Writer::Decide& decide) {
    if (!counts_on_it(latest)) return decide(Edit::none());
    Session next = latest->session;
    next.last_backup = {};
    decide(Edit::write(std::move(next)));
  };
  writer_.mutate(record.session_id, std::move(prepare), [](const Result<Written>&) {});  // refused: the next walk tells again
}

Engine::ScheduleStatistics Schedule::statistics() const {
  return {started_, succeeded_, failed_, postponed_, cancelled_, unsaved_since_us_};
}

}  // namespace roost
