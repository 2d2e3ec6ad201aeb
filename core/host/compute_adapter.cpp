#include "host/compute_adapter.hpp"

#include "host/compute_documents.hpp"
#include "host/store_adapter.hpp"

namespace roost {
namespace {

constexpr std::size_t kDocumentMax = 256 * 1024;
constexpr std::size_t kIdMax = 64;
constexpr CollectorLimits kOneDocument{1, 1024, kDocumentMax, kDocumentMax + 1024};

// The one document that a call answered.
Result<Json> only_document(WorkerCall& call, const char* what) {
  if (call.records().size() != 1) return call.misbehaved(std::string("answered ") + what + " without its one record");
  auto document = Json::parse(call.records().front().value, {kDocumentMax, 32});
  if (!document.ok())
    return call.misbehaved(std::string("answered ") + what + " with a document that is no JSON: " + document.error().message);
  if (!document->is_object()) return call.misbehaved(std::string("answered ") + what + " with JSON that is no object");
  return document;
}

Result<Workspace> to_workspace(WorkerCall& call, const Json& document, const std::string& id, const char* what) {
  auto workspace = workspace_from_json(document);
  if (!workspace.ok())
    return call.misbehaved(std::string("answered ") + what + " with a wrong workspace: " + workspace.error().message);
  if (workspace->id != id)
    return call.misbehaved(std::string("answered ") + what + " with another workspace than the one asked for");
  return workspace;
}

Result<Task> only_task(WorkerCall& call, const char* what) {
  ROOST_TRY(const Json document, only_document(call, what));
  auto task = task_from_json(document);
  if (!task.ok()) return call.misbehaved(std::string("answered ") + what + " with a wrong task: " + task.error().message);
  return task;
}

Json task_name(const std::string& id, const std::string& operation, std::int64_t attempt) {
  return Json::object({{"id", id}, {"operation", operation}, {"attempt", attempt}});
}

}  // namespace

void ComputeAdapter::apply(WorkspaceSpec spec, Done<Workspace> done) {
  submit_call<Workspace>(
      compute_, LaneKind::bulk, timeouts_.change_ms, "apply",
      [id = spec.id, text = to_json(spec).dump()](WorkerCall& call) -> Result<Workspace> {
        ROOST_CHECK(call.invoke(kOneDocument, [&](auto* instance, auto* raw, auto* sink, auto* error) {
          return call.plugin().compute.apply(instance, raw, to_bytes(text), sink, error);
        }));
        ROOST_TRY(const Json document, only_document(call, "apply"));
        return to_workspace(call, document, id, "apply");
      },
      posted(scheduler_, std::move(done)));
}

void ComputeAdapter::observe(std::string id, bool live, Done<Workspace> done) {
  submit_call<Workspace>(
      compute_, LaneKind::brief, timeouts_.brief_ms, "observe",
      [id = std::move(id), live](WorkerCall& call) -> Result<Workspace> {
        const std::uint32_t flags = live ? ROOST_OBSERVE_LIVE : 0;
        ROOST_CHECK(call.invoke(kOneDocument, [&](auto* instance, auto* raw, auto* sink, auto* error) {
          return call.plugin().compute.observe(instance, raw, to_bytes(id), flags, sink, error);
        }));
        ROOST_TRY(const Json document, only_document(call, "observe"));
        return to_workspace(call, document, id, "observe");
      },
      posted(scheduler_, std::move(done)));
}

void ComputeAdapter::list(std::string after, std::uint32_t limit, Done<std::vector<Workspace>> done) {
  submit_call<std::vector<Workspace>>(
      compute_, LaneKind::brief, timeouts_.brief_ms, "list",
      [after = std::move(after), limit](WorkerCall& call) -> Result<std::vector<Workspace>> {
        ROOST_CHECK(call.invoke({limit, kIdMax, kDocumentMax, std::size_t{256} << 20},
                                [&](auto* instance, auto* raw, auto* sink, auto* error) {
                                  return call.plugin().compute.list(instance, raw, to_bytes(after), limit, sink, error);
                                }));
        std::vector<Workspace> workspaces;
        const std::string* last = &after;
        for (const Record& record : call.records()) {
          const auto document = Json::parse(record.value, {kDocumentMax, 32});
          if (!document.ok())
            return call.misbehaved("answered list with a document that is no JSON: " + document.error().message);
          if (record.key <= *last) return call.misbehaved("answered list out of order or twice");
          ROOST_TRY(Workspace workspace, to_workspace(call, *document, record.key, "list"));
          workspaces.push_back(std::move(workspace));
          last = &record.key;
        }
        return workspaces;
      },
      posted(scheduler_, std::move(done)));
}

void ComputeAdapter::watch(std::string resume, Done<Watched> done) {
  submit_call<Watched>(
      compute_, LaneKind::watch, timeouts_.watch_ms, "watch",
      [resume = std::move(resume)](WorkerCall& call) -> Result<Watched> {
        ROOST_CHECK(call.invoke({kHintsMax, kIdMax, 4096, 64 << 20}, [&](auto* instance, auto* raw, auto* sink, auto* error) {
          return call.plugin().compute.watch(instance, raw, to_bytes(resume), sink, error);
        }));
        return watched_from_records(call, resume, false);
      },
      posted(scheduler_, std::move(done)));
}

void ComputeAdapter::remove(Json request, std::int64_t timeout_ms, Done<void> done) {
  submit_call<void>(
      compute_, LaneKind::bulk, timeout_ms, "remove",
      [text = request.dump()](WorkerCall& call) -> Status {
        return call.invoke(kOneDocument, [&](auto* instance, auto* raw, auto* sink, auto* error) {
          return call.plugin().compute.remove(instance, raw, to_bytes(text), sink, error);
        });
      },
      posted(scheduler_, std::move(done)));
}

void ComputeAdapter::remove_workload(std::string id, std::string incarnation, Done<void> done) {
  remove(Json::object({{"id", id}, {"part", "workload"}, {"incarnation", incarnation}}), timeouts_.change_ms, std::move(done));
}

void ComputeAdapter::remove_volume(std::string id, Volume volume, Done<void> done) {
  Json request =
      Json::object({{"id", id}, {"part", "volume"}, {"uid", volume.uid}, {"name", volume.name}, {"token", volume.token}});
  remove(std::move(request), timeouts_.volume_ms, std::move(done));
}

// Two calls, one after the other: what does a task need, says the backup plugin; start it so, compute is told.
void ComputeAdapter::task_start(TaskSpec spec, Done<Task> done) {
  auto answer = posted(scheduler_, std::move(done));
  const std::shared_ptr<OpenPlugin> backup = backup_.current();
  auto describe = [manifest = backup->manifest, secrets = backup->secrets,
                   request = Json::object({{"kind", to_string(spec.kind)}, {"archive", spec.archive}}).dump()](
                      WorkerCall& call) -> Result<Json> {
    ROOST_CHECK(call.invoke(kOneDocument, [&](auto* instance, auto* raw, auto* sink, auto* error) {
      return call.plugin().backup.describe(instance, raw, to_bytes(request), sink, error);
    }));
    ROOST_TRY(const Json description, only_document(call, "describe"));
    return backup_for_task(description, manifest, secrets);
  };
  auto start = [this, spec = std::move(spec), answer](Result<Json> needed) {
    if (!needed.ok()) return answer(needed.error().context("backup"));
    submit_call<Task>(
        compute_, LaneKind::bulk, timeouts_.change_ms, "task_start",
        [text = to_json(spec, std::move(*needed)).dump()](WorkerCall& call) -> Result<Task> {
          ROOST_CHECK(call.invoke(kOneDocument, [&](auto* instance, auto* raw, auto* sink, auto* error) {
            return call.plugin().compute.task_start(instance, raw, to_bytes(text), sink, error);
          }));
          return only_task(call, "task_start");
        },
        answer);
  };
  submit_call<Json>(backup_, LaneKind::brief, timeouts_.brief_ms, "describe", std::move(describe), std::move(start));
}

void ComputeAdapter::task_observe(std::string id, std::string operation, std::int64_t attempt, Done<Task> done) {
  submit_call<Task>(
      compute_, LaneKind::brief, timeouts_.brief_ms, "task_observe",
      [text = task_name(id, operation, attempt).dump()](WorkerCall& call) -> Result<Task> {
        ROOST_CHECK(call.invoke(kOneDocument, [&](auto* instance, auto* raw, auto* sink, auto* error) {
          return call.plugin().compute.task_observe(instance, raw, to_bytes(text), sink, error);
        }));
        return only_task(call, "task_observe");
      },
      posted(scheduler_, std::move(done)));
}

void ComputeAdapter::task_remove(std::string id, std::string operation, std::int64_t attempt, Done<void> done) {
  submit_call<void>(
      compute_, LaneKind::bulk, timeouts_.change_ms, "task_remove",
      [text = task_name(id, operation, attempt).dump()](WorkerCall& call) -> Status {
        return call.invoke(kOneDocument, [&](auto* instance, auto* raw, auto* sink, auto* error) {
          return call.plugin().compute.task_remove(instance, raw, to_bytes(text), sink, error);
        });
      },
      posted(scheduler_, std::move(done)));
}

}  // namespace roost
