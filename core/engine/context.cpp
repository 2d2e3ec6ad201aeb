#include "engine/context.hpp"

#include <algorithm>

namespace roost {

std::int64_t Context::backoff_ms(std::int64_t failures) {
  const std::int64_t shift = std::clamp<std::int64_t>(failures - 1, 0, 30);
  const std::int64_t base = std::min(options.backoff_max_ms, options.backoff_first_ms << shift);
  return std::min(options.backoff_max_ms, std::max<std::int64_t>(1, jitter(base)));
}

void Context::get(std::string partition, std::string key, Done<Document> done) {
  ports.store->get(std::move(partition), std::move(key), counted<Document>(store_ok, std::move(done)));
}

void Context::scan(std::string partition, std::string prefix, std::string after, std::uint32_t limit,
                   Done<std::vector<Document>> done) {
  ports.store->scan(std::move(partition), std::move(prefix), std::move(after), limit,
                    counted<std::vector<Document>>(store_ok, std::move(done)));
}

void Context::commit(Commit commit, Done<CommitResult> done) {
  ports.store->commit(std::move(commit), counted<CommitResult>(store_ok, std::move(done)));
}

void Context::note(std::atomic<bool>& health, const Error* error) {
  const bool lost = error && error->code == Code::outcome_unknown && !is_under_way(*error);
  if (lost) ++counters.overdue;
  if (error && error->code == Code::conflict) ++counters.conflicts;
  const bool away = lost || (error && (error->code == Code::unavailable || error->code == Code::deadline));
  health.store(!away);
  if (away && &health == &store_ok) {
    const std::scoped_lock lock(store_problem_mutex_);
    store_problem_ = error->message;
  }
}

std::string Context::store_problem() const {
  const std::scoped_lock lock(store_problem_mutex_);
  return store_problem_;
}

namespace {

Json phase_data(const SessionView& before, const Session& now) {
  Json data = Json::object({{"uuid", now.id},
                            {"phase", to_string(now.phase)},
                            {"status", to_string(contract_status(now))},
                            {"replicas", now.observed.replicas}});
  if (before) data.set("from", to_string(before->session.phase));
  if (!now.reason.empty()) data.set("reason", now.reason);
  if (!now.message.empty()) data.set("message", now.message);
  return data;
}

bool same_step(const std::optional<Operation>& a, const Operation& b) {
  return a && a->id == b.id && a->step == b.step && a->attempt == b.attempt && a->reason == b.reason;
}

Json operation_data(const Session& now) {
  const Operation& operation = *now.operation;
  Json data = Json::object({{"uuid", now.id},
                            {"operation", operation.id},
                            {"kind", to_string(operation.kind)},
                            {"step", to_string(operation.step)},
                            {"attempt", operation.attempt}});
  if (!operation.reason.empty()) data.set("reason", operation.reason).set("message", operation.message);
  return data;
}

}  // namespace

void Context::publish(const std::string& id, SessionView after, const std::string& actor) {
  const SessionView before = reads.find(id);
  if (!after && !before) return;
  if (before && after && before->revision == after->revision) return;
  if (after) reads.put(after);
  if (!after) reads.erase(id);
  for (auto& observer : observers) observer(before, after);
  if (!after) {
    return emit({id, before->session.user_id, "session.deleted", wall_us(), Json::object({{"uuid", id}})});
  }
  const Session& now = after->session;
  if (!before) {
    Json data = Json::object({{"uuid", id}, {"user_id", now.user_id}});
    if (!actor.empty()) data.set("actor", actor);
    emit({id, now.user_id, "session.created", wall_us(), std::move(data)});
  }
  if (before && (before->session.phase != now.phase || before->session.reason != now.reason ||
                 before->session.observed.replicas != now.observed.replicas)) {
    emit({id, now.user_id, "session.phase", wall_us(), phase_data(before, now)});
  }
  if (before && now.operation && !same_step(before->session.operation, *now.operation)) {
    emit({id, now.user_id, "operation.step", wall_us(), operation_data(now)});
  }
}

void Context::load(const SessionView& view) {
  const SessionView before = reads.find(view->session.id);
  reads.put(view);
  for (auto& observer : observers) observer(before, view);
}

void Context::emit(Event event) {
  if (listener) listener(event);
}

void Context::log(int level, const std::string& message, Json fields) {
  if (options.log) options.log(level, message, fields);
}

}  // namespace roost
