// The JSON bodies of the API, members in the order in which the guide shows them. The ones of the guide are built as text,
// because status is asked far more often than anything else; the others are Json.
// Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/json.hpp"
#include "engine/read_model.hpp"
#include "model/message.hpp"
#include "model/session.hpp"

namespace roost::api {

// {"uuid","user_id","status":"created","created_at","workspace_url"}
[[nodiscard]] std::string created_body(const Session&, std::string_view workspace_url, bool dry_run);
// {"uuid","session":{"user_id","status","created_at","last_activity"},"replicas","queue_length"}
[[nodiscard]] std::string status_body(const Session&);
// {"uuid","action","status"[,"message"]}; message empty: left out, as in the guide's answer to wake
[[nodiscard]] std::string action_body(std::string_view id, std::string_view action, std::string_view status,
                                      std::string_view message, bool dry_run);
// {"uuid","status":"queued","message_id","queue_length"}
[[nodiscard]] std::string queued_body(std::string_view id, const Message&, std::int64_t queue_length, bool dry_run);
// {"uuid","status":"terminated","message",...}: the guide's members, then the operation and its receipt
[[nodiscard]] Json terminated_body(const Tombstone&);
// {"uuid","status":"terminating","message","operation",...}
[[nodiscard]] Json terminating_body(const Session&, const Operation&);

// One entry of GET /sessions.
[[nodiscard]] Json summary(const SessionSnapshot&, std::string_view workspace_url);
// GET /session/{uuid}: everything about it but its secrets.
[[nodiscard]] Json whole(const SessionSnapshot&, std::string_view workspace_url);
[[nodiscard]] Json operation_json(std::string_view session_id, const Operation&);
[[nodiscard]] Json receipt_json(const Receipt&);
// `place`: the plugin that keeps the archives.
[[nodiscard]] Json backup_json(const BackupRecord&, std::string_view place);

[[nodiscard]] Json claimed_json(const Message&);  // for the consumer: {"id","message","created_at","attempt","claim"}
[[nodiscard]] Json history_json(
    const Message&);  // for people: {"id","message","status","created_at","attempt","answered_at","reply"}

// As format_time(), appended, and without the C library's time zone lock: status shows two of them.
void append_time(std::string& out, std::int64_t wall_us);
[[nodiscard]] std::string etag(std::uint64_t revision);  // "\"17\""

}  // namespace roost::api
