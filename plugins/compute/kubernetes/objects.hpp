// Objects: what Roost writes for a session, as pure functions of the settings and of the request. Names and labels are those of
// the client guide: pvc-{id}, user-{id}, labels app=user-{id} and uuid={id}; Jobs with session-uuid and job-type=backup.
// Thread safety: pure functions.
#pragma once

#include <string>

#include "compute/kubernetes/json.hpp"
#include "compute/kubernetes/settings.hpp"

namespace roost::kubernetes {

inline constexpr const char* kManagedBy = "app.kubernetes.io/managed-by";
inline constexpr const char* kManager = "roost";  // its value, and our name as a field manager
inline constexpr const char* kSelector = "app.kubernetes.io/managed-by=roost";
inline constexpr const char* kRole = "roost.dev/role";              // label: workspace or task
inline constexpr const char* kSession = "roost.dev/session";        // label: the id, of everything of a session
inline constexpr const char* kGeneration = "roost.dev/generation";  // annotation: of the spec last applied
inline constexpr const char* kToken = "roost.dev/token";            // annotation of a volume: its owner's mark
inline constexpr const char* kUser = "roost.dev/user";              // annotation, for people
inline constexpr const char* kDigest = "roost.dev/digest";          // annotation of the Secret: of its data
inline constexpr const char* kOperation = "roost.dev/operation";    // label of a task
inline constexpr const char* kAttempt = "roost.dev/attempt";        // label of a task
inline constexpr const char* kTask = "roost.dev/task";              // label of a task: backup, verify, restore
inline constexpr const char* kArchive = "roost.dev/archive";        // annotation of a task's pod, for people
inline constexpr const char* kVolumeUid = "roost.dev/volume-uid";   // annotation of a task's pod, for people
inline constexpr const char* kContainer = "workspace";

[[nodiscard]] std::string workload_name(std::string_view id);  // user-{id}
[[nodiscard]] std::string host_of(std::string_view url);       // "" where there is none
// backup-{id} for a verify, whose Job the guide's commands look for; else {kind}-{id}-{operation}, from the second attempt on
// with -{attempt}.
[[nodiscard]] std::string job_name(const std::string& id, const std::string& kind, const std::string& operation,
                                   std::int64_t attempt);

[[nodiscard]] Json volume_claim(const Settings&, const Spec&);
[[nodiscard]] Json resources(const Settings&, const Size&);
[[nodiscard]] Json pod_template(const Settings&, const Spec&);
[[nodiscard]] Json deployment(const Settings&, const Spec&);
[[nodiscard]] Json service(const Settings&, const std::string& id);
// An Ingress or an HTTPRoute, as settings.exposure says.
[[nodiscard]] Json route(const Settings&, const std::string& id, const std::string& host);
[[nodiscard]] Json secret(const Settings&, const Spec&);
[[nodiscard]] std::string secret_digest(const Json& string_data);

[[nodiscard]] Json job(const Settings&, const Task&);
// What the task reads, owned by its Job so that it goes with it.
[[nodiscard]] Json task_secret(const Settings&, const Task&, const std::string& job_uid);

}  // namespace roost::kubernetes
