// The documents that cross to and from compute plugins, by core/abi/schemas/{workspace-spec,workspace,task-spec,task}.json.
// Readers are strict about what they need and ignore members that they do not know. Thread safety: pure functions.
#pragma once

#include <string>

#include "base/json.hpp"
#include "base/result.hpp"
#include "engine/ports.hpp"
#include "host/loader.hpp"

namespace roost {

[[nodiscard]] Json to_json(const WorkspaceSpec& spec);
[[nodiscard]] const char* to_string(TaskKind kind);
// INVALID, naming the member, for a document that the schema does not allow.
[[nodiscard]] Result<Workspace> workspace_from_json(const Json& document);

// `backup`: what the task needs to load the backup plugin; see backup_for_task.
[[nodiscard]] Json to_json(const TaskSpec& spec, Json backup);
[[nodiscard]] Result<Task> task_from_json(const Json& document);

// The task's "backup" member: the description that the plugin gave of itself, its manifest, and the values of the secrets that
// the description names. INVALID where it names one that is not configured.
[[nodiscard]] Result<Json> backup_for_task(const Json& description, const Manifest& manifest, const Secrets& secrets);

}  // namespace roost
