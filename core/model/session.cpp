#include "model/session.hpp"

#include <algorithm>

#include "base/crypto.hpp"
#include "model/fields.hpp"

namespace roost {
namespace {

constexpr std::array kWanted{Wanted::running, Wanted::asleep, Wanted::deleted};
constexpr std::array kPhases{Phase::pending,  Phase::starting,       Phase::running,     Phase::stopping, Phase::asleep,
                             Phase::deleting, Phase::delete_blocked, Phase::volume_lost, Phase::failed};
constexpr std::array kKinds{OperationKind::remove, OperationKind::backup, OperationKind::restore};
constexpr std::array kSteps{OperationStep::stop,           OperationStep::backup, OperationStep::verify,
                            OperationStep::fill,           OperationStep::swap,   OperationStep::release_workload,
                            OperationStep::release_volume, OperationStep::done};
constexpr std::array kOutcomes{OperationOutcome::none, OperationOutcome::succeeded, OperationOutcome::failed,
                               OperationOutcome::cancelled};

Size size_from_json(const Json* document) {
  Size size;
  if (document) {
    size.cpu_millis = (*document)["cpu_millis"].as_int(size.cpu_millis);
    size.memory_bytes = (*document)["memory_bytes"].as_int(size.memory_bytes);
  }
  return size;
}

Json to_json(const Volume& volume) {
  return Json::object({{"name", volume.name},
                       {"token", volume.token},
                       {"uid", volume.uid},
                       {"generation", volume.generation},
                       {"size_bytes", volume.size_bytes}});
}

Result<Volume> volume_from_json(const Json& document) {
  Fields fields(document, "volume");
  Volume volume;
  volume.name = fields.required("name");
  volume.token = fields.required("token");
  volume.uid = fields.text("uid");
  volume.generation = fields.number("generation");
  volume.size_bytes = fields.number("size_bytes", volume.size_bytes);
  ROOST_CHECK(fields.status());
  return volume;
}

Json to_json(const KeptVolume& kept) {
  return Json::object({{"volume", to_json(kept.volume)}, {"receipt", to_json(kept.receipt)}, {"until_us", kept.until_us}});
}

Result<KeptVolume> kept_volume_from_json(const Json& document) {
  Fields fields(document, "kept_volume");
  KeptVolume kept;
  kept.until_us = fields.number("until_us");
  ROOST_CHECK(fields.status());
  ROOST_TRY(kept.volume, volume_from_json(document["volume"]));
  ROOST_TRY(kept.receipt, receipt_from_json(document["receipt"]));
  return kept;
}

Json to_json(const Observed& observed) {
  return Json::object({{"replicas", observed.replicas},
                       {"ready", observed.ready},
                       {"incarnation", observed.incarnation},
                       {"size", to_json(observed.size)},
                       {"endpoint", observed.endpoint},
                       {"reason", observed.reason},
                       {"message", observed.message},
                       {"isolation", observed.isolation}});
}

Result<Observed> observed_from_json(const Json& document) {
  Fields fields(document, "observed");
  Observed observed;
  observed.replicas = static_cast<int>(fields.number("replicas"));
  observed.ready = fields.flag("ready");
  observed.incarnation = fields.text("incarnation");
  observed.size = size_from_json(fields.find("size"));
  observed.endpoint = fields.text("endpoint");
  observed.reason = fields.text("reason");
  observed.message = fields.text("message");
  observed.isolation = document["isolation"];
  ROOST_CHECK(fields.status());
  return observed;
}

Json to_json(const LastBackup& backup) {
  return Json::object({{"id", backup.id}, {"at_us", backup.at_us}, {"live", backup.live}, {"wake_count", backup.wake_count}});
}

Result<LastBackup> last_backup_from_json(const Json& document) {
  Fields fields(document, "last_backup");
  const LastBackup backup{fields.text("id"), fields.number("at_us"), fields.flag("live"), fields.number("wake_count", -1)};
  ROOST_CHECK(fields.status());
  return backup;
}

Json to_json(const ScheduledBackups& scheduled) {
  return Json::object(
      {{"tried_at_us", scheduled.tried_at_us}, {"failures", scheduled.failures}, {"awaits_sleep", scheduled.awaits_sleep}});
}

Result<ScheduledBackups> scheduled_from_json(const Json& document) {
  Fields fields(document, "scheduled");
  const ScheduledBackups scheduled{fields.number("tried_at_us"), fields.number("failures"), fields.flag("awaits_sleep")};
  ROOST_CHECK(fields.status());
  return scheduled;
}

Result<RetiredTasks> retired_from_json(const Json& document) {
  Fields fields(document, "retired");
  const RetiredTasks tasks{fields.required("operation"), fields.number("attempt", 1), fields.flag("removed")};
  ROOST_CHECK(fields.status());
  return tasks;
}

}  // namespace

std::string_view to_string(Wanted wanted) {
  switch (wanted) {
    case Wanted::running: return "running";
    case Wanted::asleep: return "asleep";
    case Wanted::deleted: return "deleted";
  }
  return "";
}

std::string_view to_string(Phase phase) {
  switch (phase) {
    case Phase::pending: return "pending";
    case Phase::starting: return "starting";
    case Phase::running: return "running";
    case Phase::stopping: return "stopping";
    case Phase::asleep: return "asleep";
    case Phase::deleting: return "deleting";
    case Phase::delete_blocked: return "delete_blocked";
    case Phase::volume_lost: return "volume_lost";
    case Phase::failed: return "failed";
  }
  return "";
}

std::string_view to_string(OperationKind kind) {
  switch (kind) {
    case OperationKind::remove: return "delete";
    case OperationKind::backup: return "backup";
    case OperationKind::restore: return "restore";
  }
  return "";
}

std::string_view to_string(OperationStep step) {
  switch (step) {
    case OperationStep::stop: return "stop";
    case OperationStep::backup: return "backup";
    case OperationStep::verify: return "verify";
    case OperationStep::fill: return "fill";
    case OperationStep::swap: return "swap";
    case OperationStep::release_workload: return "release_workload";
    case OperationStep::release_volume: return "release_volume";
    case OperationStep::done: return "done";
  }
  return "";
}

std::string_view to_string(OperationOutcome outcome) {
  switch (outcome) {
    case OperationOutcome::none: return "none";
    case OperationOutcome::succeeded: return "succeeded";
    case OperationOutcome::failed: return "failed";
    case OperationOutcome::cancelled: return "cancelled";
  }
  return "";
}

std::string_view to_string(ContractStatus status) {
  switch (status) {
    case ContractStatus::created: return "created";
    case ContractStatus::sleeping: return "sleeping";
    case ContractStatus::waking: return "waking";
    case ContractStatus::terminating: return "terminating";
  }
  return "";
}

ContractStatus contract_status(const Session& session) {
  if (session.wanted == Wanted::deleted) return ContractStatus::terminating;
  if (session.wanted == Wanted::asleep) return ContractStatus::sleeping;
  // Between a wake and the first ready moment after it; a session that never slept is "created" from the start.
  if (session.wake_count > 0 && !session.observed.ready) return ContractStatus::waking;
  return ContractStatus::created;
}

bool is_operating(const Session& session) { return session.operation && session.operation->step != OperationStep::done; }

bool is_scheduled(const Operation& operation) {
  return operation.kind == OperationKind::backup && operation.trigger == "schedule";
}

bool awaits_restore(const Session& session) {
  return session.volume.uid.empty() && session.operation && session.operation->kind == OperationKind::restore &&
         session.operation->outcome != OperationOutcome::succeeded;
}

Json to_json(const Size& size) { return Json::object({{"cpu_millis", size.cpu_millis}, {"memory_bytes", size.memory_bytes}}); }

Json to_json(const Operation& operation) {
  Json json = Json::object({{"id", operation.id},
                            {"kind", to_string(operation.kind)},
                            {"step", to_string(operation.step)},
                            {"outcome", to_string(operation.outcome)},
                            {"trigger", operation.trigger},
                            {"attempt", operation.attempt},
                            {"failures", operation.failures},
                            {"live", operation.live},
                            {"skip_backup", operation.skip_backup},
                            {"override_losses", operation.override_losses},
                            {"archive", operation.archive},
                            {"backup_id", operation.backup_id},
                            {"started_at_us", operation.started_at_us},
                            {"reason", operation.reason},
                            {"message", operation.message}});
  if (operation.receipt) json.set("receipt", to_json(*operation.receipt));
  if (operation.source) json.set("source", to_json(*operation.source));
  if (operation.target) json.set("target", to_json(*operation.target));
  return json;
}

Result<Operation> operation_from_json(const Json& document) {
  Fields fields(document, "operation");
  Operation operation;
  operation.id = fields.required("id");
  operation.kind = fields.one_of("kind", kKinds, operation.kind);
  operation.step = fields.one_of("step", kSteps, operation.step);
  operation.outcome = fields.one_of("outcome", kOutcomes, operation.outcome);
  if (fields.find("trigger")) operation.trigger = fields.text("trigger");
  operation.attempt = fields.number("attempt", 1);
  operation.failures = fields.number("failures");
  operation.live = fields.flag("live");
  operation.skip_backup = fields.flag("skip_backup");
  operation.override_losses = fields.flag("override_losses");
  operation.archive = fields.text("archive");
  operation.backup_id = fields.text("backup_id");
  operation.started_at_us = fields.number("started_at_us");
  operation.reason = fields.text("reason");
  operation.message = fields.text("message");
  ROOST_CHECK(fields.status());
  if (const Json* receipt = fields.find("receipt")) {
    ROOST_TRY(operation.receipt, receipt_from_json(*receipt));
  }
  if (const Json* source = fields.find("source")) {
    ROOST_TRY(operation.source, receipt_from_json(*source));
  }
  if (const Json* target = fields.find("target")) {
    ROOST_TRY(operation.target, volume_from_json(*target));
  }
  return operation;
}

Json to_json(const Session& session) {
  Json json = Json::object({{"id", session.id},
                            {"user_id", session.user_id},
                            {"created_at_us", session.created_at_us},
                            {"last_activity_us", session.last_activity_us},
                            {"wanted", to_string(session.wanted)},
                            {"wanted_size", to_json(session.wanted_size)},
                            {"spec_generation", session.spec_generation},
                            {"secret_nonce", session.secret_nonce},
                            {"wake_count", session.wake_count},
                            {"volume", to_json(session.volume)},
                            {"phase", to_string(session.phase)},
                            {"reason", session.reason},
                            {"message", session.message},
                            {"observed", to_json(session.observed)},
                            {"queue_length", session.queue_length},
                            {"failures", session.failures},
                            {"next_attempt_at_us", session.next_attempt_at_us}});
  if (session.operation) json.set("operation", to_json(*session.operation));
  if (!session.last_backup.id.empty()) json.set("last_backup", to_json(session.last_backup));
  if (session.scheduled != ScheduledBackups{}) json.set("scheduled", to_json(session.scheduled));
  if (session.volume_generation != 0) json.set("volume_generation", session.volume_generation);
  Json kept = Json::array();
  for (const KeptVolume& volume : session.kept_volumes) kept.push(to_json(volume));
  if (!session.kept_volumes.empty()) json.set("kept_volumes", std::move(kept));
  Json discarded = Json::array();
  for (const Volume& volume : session.discarded_volumes) discarded.push(to_json(volume));
  if (!session.discarded_volumes.empty()) json.set("discarded_volumes", std::move(discarded));
  if (session.retired.empty()) return json;
  Json retired = Json::array();
  for (const RetiredTasks& tasks : session.retired)
    retired.push(Json::object({{"operation", tasks.operation}, {"attempt", tasks.attempt}, {"removed", tasks.removed}}));
  return json.set("retired", std::move(retired));
}

Result<Session> session_from_json(const Json& document) {
  Fields fields(document, "session");
  Session session;
  session.id = fields.required("id");
  if (!valid_session_id(session.id)) fields.fail("id", "8 lower-case hex digits");
  session.user_id = fields.required("user_id");
  session.created_at_us = fields.number("created_at_us");
  session.last_activity_us = fields.number("last_activity_us");
  session.wanted = fields.one_of("wanted", kWanted, session.wanted);
  session.wanted_size = size_from_json(fields.find("wanted_size"));
  session.spec_generation = fields.number("spec_generation", 1);
  session.secret_nonce = fields.text("secret_nonce");
  session.wake_count = fields.number("wake_count");
  session.phase = fields.one_of("phase", kPhases, session.phase);
  session.reason = fields.text("reason");
  session.message = fields.text("message");
  session.queue_length = fields.number("queue_length");
  session.failures = fields.number("failures");
  session.next_attempt_at_us = fields.number("next_attempt_at_us");
  if (!fields.find("volume")) fields.fail("volume", "present");
  ROOST_CHECK(fields.status());
  ROOST_TRY(session.volume, volume_from_json(document["volume"]));
  if (const Json* observed = fields.find("observed")) {
    ROOST_TRY(session.observed, observed_from_json(*observed));
  }
  if (const Json* operation = fields.find("operation")) {
    ROOST_TRY(session.operation, operation_from_json(*operation));
  }
  if (const Json* backup = fields.find("last_backup")) {
    ROOST_TRY(session.last_backup, last_backup_from_json(*backup));
  }
  if (const Json* scheduled = fields.find("scheduled")) {
    ROOST_TRY(session.scheduled, scheduled_from_json(*scheduled));
  }
  session.volume_generation = fields.number("volume_generation");
  ROOST_CHECK(fields.status());
  for (const Json& item : document["kept_volumes"].items()) {
    ROOST_TRY(KeptVolume kept, kept_volume_from_json(item));
    session.kept_volumes.push_back(std::move(kept));
  }
  for (const Json& item : document["discarded_volumes"].items()) {
    ROOST_TRY(Volume volume, volume_from_json(item));
    session.discarded_volumes.push_back(std::move(volume));
  }
  for (const Json& item : document["retired"].items()) {
    ROOST_TRY(RetiredTasks tasks, retired_from_json(item));
    session.retired.push_back(std::move(tasks));
  }
  return session;
}

Json to_json(const Tombstone& tombstone) {
  return Json::object({{"id", tombstone.id},
                       {"user_id", tombstone.user_id},
                       {"deleted_at_us", tombstone.deleted_at_us},
                       {"operation", to_json(tombstone.operation)}});
}

Result<Tombstone> tombstone_from_json(const Json& document) {
  Fields fields(document, "tombstone");
  Tombstone tombstone;
  tombstone.id = fields.required("id");
  tombstone.user_id = fields.text("user_id");
  tombstone.deleted_at_us = fields.number("deleted_at_us");
  ROOST_CHECK(fields.status());
  ROOST_TRY(tombstone.operation, operation_from_json(document["operation"]));
  return tombstone;
}

bool valid_session_id(std::string_view id) {
  return id.size() == 8 &&
         std::all_of(id.begin(), id.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

Status validate_user_id(std::string_view user_id) {
  if (user_id.empty()) return Error{Code::invalid, "user_id must not be empty", 0};
  if (user_id.size() > 254) return Error{Code::invalid, "user_id must be at most 254 bytes", 0};
  if (!valid_utf8(user_id)) return Error{Code::invalid, "user_id must be valid UTF-8", 0};
  for (const char c : user_id) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F)
      return Error{Code::invalid, "user_id must not hold control characters", 0};
  }
  if (user_id.front() == ' ' || user_id.back() == ' ')
    return Error{Code::invalid, "user_id must not begin or end with a space", 0};
  return {};
}

}  // namespace roost
