// Files out of a backup: a list, one file, the whole archive. Only ranges of the archive are read.
#include <charconv>

#include "api/download.hpp"
#include "api/impl.hpp"
#include "archive/lookup.hpp"
#include "base/clock.hpp"
#include "base/crypto.hpp"

namespace roost::api {
namespace {

constexpr std::int64_t kFilesPage = 1000, kFilesMost = 10'000;
constexpr int kReadingsMost = 16;  // of archives, at once

// A path that cannot stand in a URL's path: the listing shows these bytes in base64url, and the request gives them so.
bool needs_encoding(std::string_view path) {
  for (const char c : path) {
    if (c == '\\' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return true;
  }
  return !valid_utf8(path);
}

Json file_json(const ManifestEntry& entry) {
  static constexpr const char* kTypes[] = {"file", "directory", "symlink"};
  Json json = Json::object({{"path", valid_utf8(entry.path) ? Json(entry.path) : Json()}});
  if (needs_encoding(entry.path)) json.set("path_base64url", base64url(entry.path));
  char mode[8];
  std::snprintf(mode, sizeof mode, "%04o", entry.mode & 07777u);
  json.set("type", kTypes[static_cast<std::size_t>(entry.type)]);
  json.set("size", entry.size);
  json.set("mode", mode);
  json.set("modified_at", format_time(entry.mtime_ns / 1000));
  json.set("sha256", entry.sha256.empty() ? Json() : Json(entry.sha256));
  if (entry.torn) json.set("torn", true);
  return json;
}

// Why there is nothing to read; empty: there may be.
std::string unreadable(const BackupRecord& record) {
  if (record.state == "missing") return "the archive of this backup is missing in the storage";
  if (record.state == "deleting") return "this backup is being removed";
  if (record.receipt.archive_bytes <= 0) return "this backup is not finished";
  return {};
}

http::Response read_failure(const Error& error, const BackupRecord& record) {
  if (error.code == Code::not_found) return http::problem(404, "the archive " + record.archive + " is not in the storage");
  if (error.code == Code::invalid) return http::problem(500, error.message);  // of the storage; the request was right
  return http::problem(error);
}

struct Span {
  std::uint64_t begin = 0, end = 0;
};
enum class RangeKind { whole, part, unsatisfiable };

// A Range of one part (RFC 9110, 14.2). What is not one, several parts included, is answered with the whole, as the RFC permits.
RangeKind parse_range(std::string_view text, std::uint64_t size, Span& span) {
  constexpr std::string_view kUnit = "bytes=";
  const auto dash = text.find('-');
  if (!text.starts_with(kUnit) || dash == std::string_view::npos) return RangeKind::whole;
  const std::string_view first = text.substr(kUnit.size(), dash - kUnit.size()), last = text.substr(dash + 1);
  std::uint64_t a = 0, b = 0;
  const auto number = [](std::string_view digits, std::uint64_t& value) {
    const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return error == std::errc{} && stop == digits.data() + digits.size();
  };
  if (first.empty()) {
    if (!number(last, b)) return RangeKind::whole;
    span = {size - std::min(size, b), size};
    return b == 0 || size == 0 ? RangeKind::unsatisfiable : RangeKind::part;
  }
  if (!number(first, a) || (!last.empty() && (!number(last, b) || b < a))) return RangeKind::whole;
  if (a >= size) return RangeKind::unsatisfiable;
  span = {a, last.empty() || b >= size ? size : b + 1};
  return RangeKind::part;
}

http::Response attachment(std::string_view type, std::string_view hash) {
  http::Response head;
  head.headers.emplace_back("content-type", type);
  head.headers.emplace_back("content-disposition", "attachment");
  if (!hash.empty()) head.headers.emplace_back("etag", "\"" + std::string(hash) + "\"");
  return head;
}

}  // namespace

// The place of one reading among all; null: it is answered that there are too many.
std::shared_ptr<const void> Api::Impl::take_reading(const Responder& respond) {
  if (readings_->fetch_add(1) < kReadingsMost)
    return std::shared_ptr<const void>(readings_.get(), [kept = readings_](const void*) { kept->fetch_sub(1); });
  readings_->fetch_sub(1);
  respond(failure({Code::exhausted, "too many archives are being read at once; try again shortly", 2'000}));
  return nullptr;
}

// Once the record is known to be the caller's, and something can be read.
void Api::Impl::with_archive(const Request& request, const Responder& respond, const PrincipalView& who,
                             std::function<void(BackupRecord, std::shared_ptr<const void>)> then) {
  if (!hooks_.read_archive) return respond(http::problem(501, "this server does not read archives"));
  with_backup(request.parameters[0], respond, who, [this, respond, then = std::move(then)](BackupRecord record) {
    if (const std::string why = unreadable(record); !why.empty()) return respond(http::problem(409, why));
    if (auto place = take_reading(respond)) then(std::move(record), std::move(place));
  });
}

void Api::Impl::list_files(const Request& request, const Responder& respond, const PrincipalView& who) {
  const auto limit = query_number(request, "limit", kFilesPage, 1, kFilesMost);
  if (!limit.ok()) return respond(http::problem(limit.error()));
  const auto skip = query_number(request, "cursor", 0, 0, INT64_MAX);
  if (!skip.ok()) return respond(http::problem(400, "the query parameter cursor must be the next_cursor of an earlier answer"));
  FileListing::Query query;
  query.prefix = request.query_parameter("prefix");
  query.skip = static_cast<std::uint64_t>(*skip);
  query.limit = static_cast<std::size_t>(*limit);
  with_archive(request, respond, who, [this, respond, query](const BackupRecord& record, std::shared_ptr<const void> place) {
    auto listing = std::make_shared<FileListing>(static_cast<std::uint64_t>(record.receipt.archive_bytes), query);
    read_ranges(hooks_.read_archive, record.archive, listing, respond, [respond, record, listing, place](const Status& read) {
      if (!read.ok()) return respond(read_failure(read.error(), record));
      Json files = Json::array();
      for (const ManifestEntry& entry : listing->files()) files.push(file_json(entry));
      const auto next = listing->next_skip();
      respond(http::Response::json(200, Json::object({{"files", std::move(files)},
                                                      {"count", listing->files().size()},
                                                      {"next_cursor", next ? Json(std::to_string(*next)) : Json()}})));
    });
  });
}

void Api::Impl::get_file(const Request& request, const Responder& respond, const PrincipalView& who) {
  std::string path = request.parameters[1];
  if (request.has_query_parameter("path_base64url")) {
    const auto decoded = from_base64url(request.query_parameter("path_base64url"));
    if (!path.empty() || !decoded)
      return respond(http::problem(
          400, "path_base64url must be the path in base64url without padding, and the URL's path then ends in /files/"));
    path = *decoded;
  }
  if (path.empty()) return respond(http::problem(404, "name a file: /backups/{id}/files/{path}"));
  with_archive(request, respond, who, [this, respond, path](const BackupRecord& record, std::shared_ptr<const void> place) {
    auto lookup = std::make_shared<EntryLookup>(static_cast<std::uint64_t>(record.receipt.archive_bytes), path);
    read_ranges(hooks_.read_archive, record.archive, lookup, respond, [this, respond, record, lookup, place](const Status& read) {
      if (!read.ok()) return respond(read_failure(read.error(), record));
      send_file(record, *lookup, place, respond);
    });
  });
}

// Wrong bytes are not for this client alone to know: the backup is read again.
Done<void> Api::Impl::watch_reading(const std::string& id, std::shared_ptr<const void> place) {
  return [this, id, place = std::move(place)](const Status& ended) {
    if (!ended.ok() && ended.error().code == Code::data_loss) engine_.verify_backup(id, [](const Result<BackupRecord>&) {});
  };
}

void Api::Impl::send_file(const BackupRecord& record, const EntryLookup& lookup, std::shared_ptr<const void> place,
                          const Responder& respond) {
  if (!lookup.found())
    return respond(
        http::problem(404, "the backup " + record.id + " holds no such file; /backups/" + record.id + "/files lists them"));
  const ManifestEntry& line = *lookup.found();
  if (line.type == EntryType::directory)
    return respond(http::problem(422, "that is a directory; list what is in it with /backups/" + record.id + "/files?prefix="));
  Download::What what{record.archive, lookup.contents(), static_cast<std::uint64_t>(line.size), line.sha256};
  auto download = std::make_shared<Download>(hooks_.read_archive, std::move(what), watch_reading(record.id, place));
  download->start(respond,
                  attachment(line.type == EntryType::symlink ? "inode/symlink" : "application/octet-stream", line.sha256));
}

void Api::Impl::get_archive(const Request& request, const Responder& respond, const PrincipalView& who) {
  const std::string range(request.header("range")), if_range(request.header("if-range"));
  with_archive(
      request, respond, who, [this, respond, range, if_range](const BackupRecord& record, std::shared_ptr<const void> place) {
        const auto size = static_cast<std::uint64_t>(record.receipt.archive_bytes);
        // What is known to be damaged goes out as it is: most files may still come out of it.
        const std::string hash = record.state == "damaged" ? "" : record.receipt.archive_sha256;
        http::Response head = attachment("application/zip", hash);
        head.headers[1].second = "attachment; filename=\"" + record.archive + "\"";  // its characters are plain ones
        head.headers.emplace_back("accept-ranges", "bytes");
        Span span{0, size};
        const bool valid = if_range.empty() || (!hash.empty() && if_range == "\"" + hash + "\"");
        const RangeKind kind = range.empty() || !valid ? RangeKind::whole : parse_range(range, size, span);
        if (kind == RangeKind::unsatisfiable) {
          http::Response refused = http::problem(416, "the archive has " + std::to_string(size) + " bytes");
          refused.headers.emplace_back("content-range", "bytes */" + std::to_string(size));
          return respond(std::move(refused));
        }
        if (kind == RangeKind::part) {
          head.status = 206;
          head.headers.emplace_back("content-range", "bytes " + std::to_string(span.begin) + "-" + std::to_string(span.end - 1) +
                                                         "/" + std::to_string(size));
        }
        Download::What what{record.archive, std::make_shared<RawReading>(span.begin, span.end), span.end - span.begin,
                            kind == RangeKind::whole ? hash : ""};
        auto download = std::make_shared<Download>(hooks_.read_archive, std::move(what), watch_reading(record.id, place));
        download->start(respond, std::move(head));
      });
}

}  // namespace roost::api
