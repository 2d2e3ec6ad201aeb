// What several commands are made of: lists in pages, waiting for an operation or a phase, streams of events, downloads.
// Thread safety: one thread.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/run.hpp"
#include "cli/sse.hpp"

namespace roost::cli {

// How a list of the API is paged: the member that holds it, the query parameter that goes on, and the member that says from
// where.
struct Paging {
  const char* list;
  const char* parameter = "cursor";
  const char* next = "next_cursor";
  std::int64_t size = 1000;  // of a page, at most
};

// All of a list, or its first `limit` (0: all). One page is the answer as it came; several become one document of the same form.
[[nodiscard]] Result<Document> all_pages(Run& run, const std::string& target, const Paging& paging, std::int64_t limit);

// "/session/ID", encoded.
[[nodiscard]] std::string session_path(const std::string& id, std::string_view rest = "");
[[nodiscard]] std::string backup_path(const std::string& id, std::string_view rest = "");

// Until the operation is done, with its progress on stderr. CONFLICT where a delete is blocked, INTERNAL where it failed.
// `operation` is an id, or "/operations/ID".
[[nodiscard]] Result<Document> wait_operation(Run& run, const std::string& operation);
[[nodiscard]] std::string describe_operation(const Json& operation, const Style& style);

// Until the session is in that phase. INTERNAL where it became one that does not lead there.
[[nodiscard]] Result<Document> wait_phase(Run& run, const std::string& id, std::string_view phase);

// Hands out what happens until `each` says stop, reconnecting with Last-Event-ID wherever the stream breaks. `opened` is called
// each time the stream is open.
enum class Go { on, stop };
using EachEvent = std::function<Result<Go>(const SseEvent& event)>;
[[nodiscard]] Status follow_events(Run& run, const std::string& target, const std::function<Status()>& opened,
                                   const EachEvent& each);

// One backup, or a file in it.
[[nodiscard]] std::string describe_backup(const Json& backup, const Style& style);

// The answer's body to stdout. INVALID where that is a terminal and it is not plain text; DATA_LOSS where it is not what its ETag
// says.
[[nodiscard]] Status copy_to_stdout(Run& run, const std::string& target);
// To a file: first FILE.part, which a later try continues, then checked against its ETag, then renamed.
enum class Replace { no, yes };
[[nodiscard]] Status download(Run& run, const std::string& target, const std::string& to, Replace replace);

}  // namespace roost::cli
