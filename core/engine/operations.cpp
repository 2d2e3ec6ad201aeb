#include "engine/operations.hpp"

#include <algorithm>
#include <cstdio>
#include <ctime>

#include "base/clock.hpp"

namespace roost::operations {

namespace {

constexpr std::int64_t kSecondUs = 1'000'000;
constexpr std::size_t kRemembered = 4;  // operations whose tasks are removed

// The time in a backup's id, "{session}-{time}"; 0 where there is none.
std::int64_t time_of(const std::string& backup_id) {
  const std::string text = backup_id.substr(backup_id.rfind('-') + 1);
  std::tm tm{};
  if (std::sscanf(text.c_str(), "%4d%2d%2dT%2d%2d%2dZ", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min,
                  &tm.tm_sec) != 6)
    return 0;
  tm.tm_year -= 1900;
  tm.tm_mon -= 1;
  return static_cast<std::int64_t>(timegm(&tm)) * kSecondUs;
}

// A session as it must be for its files to be copied: at rest, or up.
Status refuse_phase(const Session& session, const std::string& what) {
  if (session.phase == Phase::running || session.phase == Phase::asleep) return {};
  return Error{Code::conflict,
               "session " + session.id + " is " + std::string(to_string(session.phase)) + "; " + what +
                   " when it is running or asleep",
               0};
}

}  // namespace

Status refuse_another(const Session& session) {
  if (session.wanted == Wanted::deleted) return Error{Code::conflict, "session " + session.id + " is being deleted", 0};
  if (!is_operating(session)) return {};
  return Error{Code::conflict,
               "a " + std::string(to_string(session.operation->kind)) + " of session " + session.id + " is under way: operation " +
                   session.operation->id,
               0};
}

Status begin_backup(Session& session, const std::string& id, const std::string& trigger, std::int64_t now_us) {
  ROOST_CHECK(refuse_another(session));
  ROOST_CHECK(refuse_phase(session, "it can be backed up"));
  if (session.volume.uid.empty())
    return Error{Code::conflict, "session " + session.id + " never had a volume: there is nothing to back up", 0};
  Operation operation;
  operation.id = id;
  operation.kind = OperationKind::backup;
  operation.step = OperationStep::backup;
  operation.trigger = trigger;
  operation.live = session.phase == Phase::running;
  operation.started_at_us = now_us;
  name_archive(session, operation, now_us);
  session.operation = std::move(operation);
  return {};
}

void name_archive(const Session& session, Operation& operation, std::int64_t now_us) {
  std::int64_t time_us = now_us;
  const std::string* earlier[] = {&operation.backup_id, &session.last_backup.id,
                                  session.operation ? &session.operation->backup_id : &session.last_backup.id};
  for (const std::string* id : earlier) {
    if (!id->empty()) time_us = std::max(time_us, time_of(*id) + kSecondUs);
  }
  const std::string time = format_compact_time(time_us);
  operation.archive = "workspace-" + session.id + "-" + time + ".zip";
  operation.backup_id = session.id + "-" + time;
}

const RetiredTasks* to_remove(const Session& session) {
  const auto found =
      std::find_if(session.retired.begin(), session.retired.end(), [](const RetiredTasks& tasks) { return !tasks.removed; });
  return found == session.retired.end() ? nullptr : &*found;
}

void removed(Session& session, const RetiredTasks& tasks) {
  for (RetiredTasks& entry : session.retired) {
    if (entry == tasks) entry.removed = true;
  }
  while (session.retired.size() > kRemembered && session.retired.front().removed) session.retired.erase(session.retired.begin());
}

void finish(Session& session, OperationOutcome outcome, std::string reason, std::string message) {
  Operation& operation = *session.operation;
  session.retired.push_back({operation.id, operation.attempt});
  operation.step = OperationStep::done;
  operation.outcome = outcome;
  operation.failures = 0;
  operation.reason = std::move(reason);
  operation.message = std::move(message);
}

void cancel(Session& session, std::string message) {
  if (is_operating(session)) finish(session, OperationOutcome::cancelled, "Cancelled", std::move(message));
}

}  // namespace roost::operations
