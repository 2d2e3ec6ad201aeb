#include "api/bodies.hpp"

#include <chrono>

#include "base/clock.hpp"

namespace roost::api {
namespace {

void append_dry_run(std::string& body, bool dry_run) {
  if (dry_run) body += ",\"dry_run\":true";
}

Json time_or_null(std::int64_t wall_us) { return wall_us > 0 ? Json(format_time(wall_us)) : Json(); }

Json skipped_json(const std::vector<Skipped>& skipped) {
  Json list = Json::array();
  for (const Skipped& entry : skipped) {
    list.push(Json::object({{"kind", entry.kind}, {"reason", entry.reason}, {"count", entry.count}, {"example", entry.example}}));
  }
  return list;
}

Json condition(std::string_view type, bool status, std::string_view reason, std::string_view message) {
  return Json::object({{"type", type}, {"status", status}, {"reason", reason}, {"message", message}});
}

Json conditions(const Session& session) {
  const bool lost = session.phase == Phase::volume_lost;
  const bool blocked = session.phase == Phase::delete_blocked;
  const std::string_view why = session.observed.reason.empty() ? session.reason : session.observed.reason;
  const std::string_view says = session.observed.message.empty() ? session.message : session.observed.message;
  Json list = Json::array();
  list.push(condition("Ready", session.observed.ready, session.observed.ready ? "" : why, session.observed.ready ? "" : says));
  list.push(condition("VolumeIntact", !lost, lost ? session.reason : "", lost ? session.message : ""));
  list.push(condition("Converged", session.next_attempt_at_us == 0 && session.failures == 0,
                      session.failures > 0 ? session.reason : "", session.failures > 0 ? session.message : ""));
  if (session.wanted == Wanted::deleted) {
    const std::string_view reason = session.operation ? session.operation->reason : session.reason;
    const std::string_view message = session.operation ? session.operation->message : session.message;
    list.push(condition("DeleteBlocked", blocked, blocked ? reason : "", blocked ? message : ""));
  }
  return list;
}

// What stands between the user's data and its loss: whether the volume may be released, and the backup that would allow it.
Json protection(const Session& session) {
  Json json = Json::object({{"volume", session.phase == Phase::volume_lost ? "lost" : "kept"}, {"backup", nullptr}});
  if (!session.operation || !session.operation->receipt || session.operation->kind != OperationKind::remove) {
    return json.set("release_blocked_by", "there is no verified backup of this volume for a delete");
  }
  const Operation& operation = *session.operation;
  const std::string blocker = release_blocker(*operation.receipt, operation.id, session.volume.uid, operation.override_losses);
  json.set("backup", receipt_json(*operation.receipt));
  return json.set("release_blocked_by", blocker.empty() ? Json() : Json(blocker));
}

}  // namespace

void append_time(std::string& out, std::int64_t wall_us) {
  using namespace std::chrono;
  const sys_time<microseconds> at{microseconds{wall_us}};
  const auto day = floor<days>(at);
  const year_month_day date{day};
  const auto within = (at - day).count();
  const auto put = [&out](std::int64_t value, int digits) {
    char text[8];
    for (int i = digits; i-- > 0; value /= 10) text[i] = static_cast<char>('0' + value % 10);
    out.append(text, static_cast<std::size_t>(digits));
  };
  put(static_cast<int>(date.year()), 4);
  out += '-';
  put(static_cast<unsigned>(date.month()), 2);
  out += '-';
  put(static_cast<unsigned>(date.day()), 2);
  out += 'T';
  put(within / 3'600'000'000, 2);
  out += ':';
  put(within / 60'000'000 % 60, 2);
  out += ':';
  put(within / 1'000'000 % 60, 2);
  out += '.';
  put(within % 1'000'000, 6);
}

std::string etag(std::uint64_t revision) { return "\"" + std::to_string(revision) + "\""; }

std::string created_body(const Session& session, std::string_view workspace_url, bool dry_run) {
  std::string body;
  body.reserve(192 + session.user_id.size() + workspace_url.size());
  body.append("{\"uuid\":\"").append(session.id).append("\",\"user_id\":");
  append_json_string(body, session.user_id);
  body.append(",\"status\":\"created\",\"created_at\":\"")
      .append(format_time(session.created_at_us))
      .append("\",\"workspace_url\":");
  append_json_string(body, workspace_url);
  append_dry_run(body, dry_run);
  return body += "}\n";
}

std::string status_body(const Session& session) {
  std::string body;
  body.reserve(224 + session.user_id.size());
  body.append("{\"uuid\":\"").append(session.id).append("\",\"session\":{\"user_id\":");
  append_json_string(body, session.user_id);
  body.append(",\"status\":\"").append(to_string(contract_status(session)));
  body.append("\",\"created_at\":\"");
  append_time(body, session.created_at_us);
  body.append("\",\"last_activity\":\"");
  append_time(body, session.last_activity_us);
  body.append("\"},\"replicas\":").append(session.observed.replicas > 0 ? "1" : "0");
  body.append(",\"queue_length\":").append(std::to_string(session.queue_length));
  return body += "}\n";
}

std::string action_body(std::string_view id, std::string_view action, std::string_view status, std::string_view message,
                        bool dry_run) {
  std::string body;
  body.reserve(160);
  body.append("{\"uuid\":\"")
      .append(id)
      .append("\",\"action\":\"")
      .append(action)
      .append("\",\"status\":\"")
      .append(status)
      .append("\"");
  if (!message.empty()) body.append(",\"message\":\"").append(message).append("\"");
  append_dry_run(body, dry_run);
  return body += "}\n";
}

std::string queued_body(std::string_view id, const Message& message, std::int64_t queue_length, bool dry_run) {
  std::string body;
  body.reserve(128);
  body.append("{\"uuid\":\"").append(id).append("\",\"status\":\"queued\",\"message_id\":\"").append(message.id);
  body.append("\",\"queue_length\":").append(std::to_string(queue_length));
  append_dry_run(body, dry_run);
  return body += "}\n";
}

Json receipt_json(const Receipt& receipt) {
  return Json::object({{"id", receipt.backup_id},
                       {"archive", receipt.archive},
                       {"files", receipt.files},
                       {"bytes", receipt.bytes},
                       {"archive_bytes", receipt.archive_bytes},
                       {"archive_sha256", receipt.archive_sha256},
                       {"tree_hash", receipt.tree_hash},
                       {"live", receipt.live},
                       {"exclusions", receipt.exclusions},
                       {"made_at", time_or_null(receipt.made_at_us)},
                       {"verified_at", time_or_null(receipt.verified_at_us)},
                       {"empty_volume", receipt.empty_volume},
                       {"skipped", skipped_json(receipt.skipped)}});
}

Json backup_json(const BackupRecord& record, std::string_view place) {
  const Receipt& receipt = record.receipt;
  Json hold;
  if (record.hold) {
    hold =
        Json::object({{"until", time_or_null(record.hold->until_us)}, {"reason", record.hold->reason}, {"by", record.hold->by}});
  }
  Json note;
  if (record.note) {
    note = Json::object({{"reason", record.note->reason}, {"by", record.note->by}, {"at", time_or_null(record.note->at_us)}});
  }
  return Json::object({{"id", record.id},
                       {"session_id", record.session_id},
                       {"user_id", record.user_id},
                       {"created_at", format_time(record.created_at_us)},
                       {"trigger", record.trigger},
                       {"state", record.state},
                       {"archive", record.archive},
                       {"archive_bytes", receipt.archive_bytes},
                       {"files", receipt.files},
                       {"bytes", receipt.bytes},
                       {"tree_hash", receipt.tree_hash},
                       {"live", receipt.live},
                       {"exclusions", receipt.exclusions},
                       {"consistency", receipt.live ? "live" : "at rest"},
                       {"verified_at", time_or_null(receipt.verified_at_us)},
                       {"last_proven_restorable_at", time_or_null(last_proven_us(record))},
                       {"verify_asked_at", time_or_null(record.verify_asked_at_us)},
                       {"protected_until", time_or_null(record.protected_until_us)},
                       {"hold", std::move(hold)},
                       {"note", std::move(note)},
                       {"skipped", skipped_json(receipt.skipped)},
                       {"place", place}});
}

Json operation_json(std::string_view session_id, const Operation& operation) {
  return Json::object({{"id", operation.id},
                       {"uuid", session_id},
                       {"kind", to_string(operation.kind)},
                       {"step", to_string(operation.step)},
                       {"done", operation.step == OperationStep::done},
                       {"outcome", operation.step == OperationStep::done ? Json(to_string(operation.outcome)) : Json()},
                       {"trigger", operation.trigger},
                       {"live", operation.live},
                       {"backup_id", operation.backup_id.empty() ? Json() : Json(operation.backup_id)},
                       {"restores", operation.source ? Json(operation.source->backup_id) : Json()},
                       {"not_restored", skipped_json(operation.source ? operation.source->not_restored : std::vector<Skipped>())},
                       {"attempt", operation.attempt},
                       {"started_at", time_or_null(operation.started_at_us)},
                       {"reason", operation.reason},
                       {"message", operation.message},
                       {"skip_backup", operation.skip_backup},
                       {"accept_losses", operation.override_losses},
                       {"backup", operation.receipt ? receipt_json(*operation.receipt) : Json()}});
}

Json terminated_body(const Tombstone& tombstone) {
  Json body = Json::object({{"uuid", tombstone.id},
                            {"status", "terminated"},
                            {"message", "Session and all resources deleted"},
                            {"operation", "/operations/" + tombstone.operation.id},
                            {"deleted_at", time_or_null(tombstone.deleted_at_us)}});
  const Operation& operation = tombstone.operation;
  return body.set("backup", operation.receipt ? receipt_json(*operation.receipt) : Json());
}

Json terminating_body(const Session& session, const Operation& operation) {
  Json body = Json::object({{"uuid", session.id},
                            {"status", "terminating"},
                            {"message", "The delete goes on; ask its operation, or DELETE again to wait"},
                            {"operation", "/operations/" + operation.id},
                            {"phase", to_string(session.phase)},
                            {"step", to_string(operation.step)}});
  if (!operation.reason.empty()) body.set("reason", operation.reason).set("detail", operation.message);
  return body;
}

Json summary(const SessionSnapshot& snapshot, std::string_view workspace_url) {
  const Session& session = snapshot.session;
  return Json::object({{"uuid", session.id},
                       {"user_id", session.user_id},
                       {"status", to_string(contract_status(session))},
                       {"created_at", format_time(session.created_at_us)},
                       {"last_activity", format_time(session.last_activity_us)},
                       {"workspace_url", workspace_url},
                       {"phase", to_string(session.phase)},
                       {"replicas", session.observed.replicas > 0 ? 1 : 0},
                       {"queue_length", session.queue_length}});
}

Json whole(const SessionSnapshot& snapshot, std::string_view workspace_url) {
  const Session& session = snapshot.session;
  const Observed& observed = session.observed;
  Json body = summary(snapshot, workspace_url);
  const bool deleting =
      session.wanted == Wanted::deleted && session.operation;  // then it is the operation that has something to say
  body.set("reason", deleting ? session.operation->reason : session.reason);
  body.set("message", deleting ? session.operation->message : session.message);
  body.set("conditions", conditions(session));
  body.set("wanted", Json::object({{"state", to_string(session.wanted)}, {"size", to_json(session.wanted_size)}}));
  body.set("observed", Json::object({{"replicas", observed.replicas},
                                     {"ready", observed.ready},
                                     {"incarnation", observed.incarnation},
                                     {"size", observed.replicas > 0 ? to_json(observed.size) : Json()},
                                     {"reason", observed.reason},
                                     {"message", observed.message},
                                     {"isolation", observed.isolation}}));
  body.set("volume", Json::object({{"name", session.volume.name},
                                   {"uid", session.volume.uid},
                                   {"generation", session.volume.generation},
                                   {"size_bytes", session.volume.size_bytes}}));
  Json kept = Json::array();
  for (const KeptVolume& volume : session.kept_volumes) {
    kept.push(Json::object({{"name", volume.volume.name},
                            {"uid", volume.volume.uid},
                            {"backup_id", volume.receipt.backup_id},
                            {"until", time_or_null(volume.until_us)}}));
  }
  body.set("kept_volumes", std::move(kept));
  body.set("protection", protection(session));
  body.set("operation", session.operation ? operation_json(session.id, *session.operation) : Json());
  body.set("last_backup_at", time_or_null(session.last_backup.at_us));
  body.set("failures", session.failures);
  body.set("next_attempt_at", time_or_null(session.next_attempt_at_us));
  body.set("revision", std::to_string(snapshot.revision));
  return body;
}

Json claimed_json(const Message& message) {
  return Json::object({{"id", message.id},
                       {"message", message.text},
                       {"created_at", format_time(message.created_at_us)},
                       {"attempt", message.attempt},
                       {"claim", message.claim}});
}

Json history_json(const Message& message) {
  return Json::object({{"id", message.id},
                       {"message", message.text},
                       {"status", to_string(message.state)},
                       {"created_at", format_time(message.created_at_us)},
                       {"attempt", message.attempt},
                       {"answered_at", time_or_null(message.answered_at_us)},
                       {"reply", message.reply}});
}

}  // namespace roost::api
