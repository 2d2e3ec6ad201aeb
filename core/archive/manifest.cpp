#include "archive/manifest.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>

#include "base/crypto.hpp"

namespace roost {

namespace {

constexpr std::array<std::string_view, 3> kTypes{"file", "directory", "symlink"};
constexpr std::array<std::string_view, 7> kSkippedKinds{"file", "directory", "symlink", "socket", "fifo", "device", "hardlink"};
constexpr std::array<std::string_view, 5> kSkippedReasons{"unreadable", "changed", "vanished", "unsupported", "excluded"};
constexpr std::int64_t kFormat = 1;

template <std::size_t n>
bool is_one_of(const std::array<std::string_view, n>& all, std::string_view word) {
  return std::find(all.begin(), all.end(), word) != all.end();
}

// JSON is UTF-8; a path that is not goes as base64url, so that it comes back byte for byte.
void set_path(Json& line, const std::string& path) {
  if (valid_utf8(path)) {
    line.set("path", path);
  } else {
    line.set("path_base64url", base64url(path));
  }
}

Result<std::string> get_path(const Json& line) {
  if (const Json* encoded = line.find("path_base64url")) {
    if (const auto path = from_base64url(encoded->as_string())) return *path;
    return {Code::invalid, "path_base64url is not base64url"};
  }
  return line.get_string("path");
}

std::string octal(std::uint32_t mode) {
  char text[16];
  std::snprintf(text, sizeof text, "%04o", mode);
  return text;
}

Json to_json_line(const ManifestHeader& header) {
  Json line = Json::object({{"roost_backup", kFormat},
                            {"session_id", header.session_id},
                            {"user_id", header.user_id},
                            {"operation_id", header.operation_id},
                            {"attempt", header.attempt},
                            {"backup_id", header.backup_id},
                            {"archive", header.archive},
                            {"volume_uid", header.volume_uid},
                            {"live", header.live},
                            {"made_at_us", header.made_at_us}});
  if (header.exclusions) line.set("exclusions", true);
  return line;
}

Json to_json_line(const ManifestEntry& entry) {
  Json line = Json::object();
  set_path(line, entry.path);
  line.set("type", kTypes[static_cast<std::size_t>(entry.type)]);
  line.set("mode", octal(entry.mode));
  line.set("mtime_ns", entry.mtime_ns);
  if (entry.type != EntryType::directory) line.set("size", entry.size).set("sha256", entry.sha256);
  if (entry.torn) line.set("torn", true);
  if (entry.abandoned > 0) line.set("abandoned", entry.abandoned);
  return line;
}

Json to_json_line(const ManifestSkip& skip) {
  Json line = Json::object({{"skipped", skip.reason}, {"kind", skip.kind}});
  set_path(line, skip.path);
  return line;
}

Json to_json_line(const ManifestEnd& end) {
  return Json::object({{"end", true}, {"files", end.files}, {"bytes", end.bytes}, {"skipped_count", end.skipped}});
}

Result<ManifestLine> header_from(const Json& line) {
  ManifestHeader header;
  ROOST_TRY(const std::int64_t format, line.get_int("roost_backup"));
  if (format != kFormat)
    return {Code::unsupported, "the archive has format " + std::to_string(format) + ", this program knows 1"};
  ROOST_TRY(header.session_id, line.get_string("session_id"));
  ROOST_TRY(header.user_id, line.get_string("user_id"));
  ROOST_TRY(header.operation_id, line.get_string("operation_id"));
  ROOST_TRY(header.attempt, line.get_int("attempt"));
  ROOST_TRY(header.backup_id, line.get_string("backup_id"));
  ROOST_TRY(header.archive, line.get_string("archive"));
  ROOST_TRY(header.volume_uid, line.get_string("volume_uid"));
  ROOST_TRY(header.live, line.get_bool("live"));
  ROOST_TRY(header.made_at_us, line.get_int("made_at_us"));
  header.exclusions = line["exclusions"].as_bool();
  return ManifestLine(std::move(header));
}

Result<ManifestLine> entry_from(const Json& line) {
  ManifestEntry entry;
  ROOST_TRY(entry.path, get_path(line));
  if (!safe_path(entry.path)) return {Code::invalid, "the path \"" + escape_path(entry.path) + "\" leaves the tree"};
  ROOST_TRY(const std::string type, line.get_string("type"));
  std::size_t index = 0;
  while (index < kTypes.size() && kTypes[index] != type) ++index;
  if (index == kTypes.size()) return {Code::invalid, "no such type of entry"};
  entry.type = static_cast<EntryType>(index);
  ROOST_TRY(const std::string mode, line.get_string("mode"));
  entry.mode = static_cast<std::uint32_t>(std::strtoul(mode.c_str(), nullptr, 8));
  if (entry.mode > 07777 || octal(entry.mode) != mode) return {Code::invalid, "the mode is not four octal digits"};
  ROOST_TRY(entry.mtime_ns, line.get_int("mtime_ns"));
  entry.torn = line["torn"].as_bool();
  const std::int64_t abandoned = line["abandoned"].as_int();
  entry.abandoned = abandoned > 0 ? static_cast<std::uint64_t>(abandoned) : 0;
  if (entry.type == EntryType::directory) return ManifestLine(std::move(entry));
  ROOST_TRY(entry.size, line.get_int("size"));
  ROOST_TRY(entry.sha256, line.get_string("sha256"));
  if (entry.size < 0 || entry.sha256.size() != 64) return {Code::invalid, "size or sha256 is none"};
  return ManifestLine(std::move(entry));
}

Result<ManifestLine> skip_from(const Json& line) {
  ManifestSkip skip;
  ROOST_TRY(skip.path, get_path(line));
  ROOST_TRY(skip.reason, line.get_string("skipped"));
  ROOST_TRY(skip.kind, line.get_string("kind"));
  if (!is_one_of(kSkippedKinds, skip.kind) || !is_one_of(kSkippedReasons, skip.reason))
    return {Code::invalid, "no such kind or reason"};
  return ManifestLine(std::move(skip));
}

Result<ManifestLine> end_from(const Json& line) {
  ManifestEnd end;
  ROOST_TRY(end.files, line.get_int("files"));
  ROOST_TRY(end.bytes, line.get_int("bytes"));
  ROOST_TRY(end.skipped, line.get_int("skipped_count"));
  return ManifestLine(end);
}

Result<ManifestLine> line_from(std::string_view text) {
  ROOST_TRY(const Json line, Json::parse(text));
  if (line.find("roost_backup") != nullptr) return header_from(line);
  if (line.find("end") != nullptr) return end_from(line);
  if (line.find("skipped") != nullptr) return skip_from(line);
  return entry_from(line);
}

}  // namespace

std::string to_line(const ManifestLine& line) {
  return std::visit([](const auto& part) { return to_json_line(part).dump(); }, line) + "\n";
}

Result<ManifestLine> parse_line(std::string_view line) {
  auto parsed = line_from(line);
  if (parsed.ok()) return parsed;
  const Code code = parsed.error().code == Code::unsupported ? Code::unsupported : Code::data_loss;
  return {code, "the archive's manifest: " + parsed.error().message};
}

bool safe_path(std::string_view path) {
  if (path.empty() || path.find('\0') != std::string_view::npos) return false;
  for (;;) {
    const std::size_t end = path.find('/');
    const std::string_view part = path.substr(0, end);
    if (part.empty() || part == "." || part == ".." || part.size() > 255) return false;
    if (end == std::string_view::npos) return true;
    path.remove_prefix(end + 1);
  }
}

std::string escape_path(std::string_view path, std::size_t most) {
  std::string out;
  for (const char c : path) {
    char piece[8];
    const bool plain = c >= 0x20 && c < 0x7f && c != '\\' && c != '"';
    const int length = plain ? std::snprintf(piece, sizeof piece, "%c", c)
                             : std::snprintf(piece, sizeof piece, "\\x%02x", static_cast<unsigned char>(c));
    if (out.size() + static_cast<std::size_t>(length) + 3 > most) return out + "...";
    out += piece;
  }
  return out;
}

void count_skip(std::vector<Skipped>& sums, const ManifestSkip& skip) {
  for (Skipped& sum : sums) {
    if (sum.kind != skip.kind || sum.reason != skip.reason) continue;
    ++sum.count;
    return;
  }
  sums.push_back(Skipped{skip.kind, skip.reason, 1, escape_path(skip.path)});
}

namespace {

bool holds_no_data(const Skipped& sum) { return sum.kind == "socket" || sum.kind == "fifo" || sum.kind == "device"; }

}  // namespace

bool lost_something(const std::vector<Skipped>& sums) {
  return std::any_of(sums.begin(), sums.end(),
                     [](const Skipped& sum) { return sum.reason != "excluded" && !holds_no_data(sum); });
}

bool nothing_to_save(std::int64_t files, const std::vector<Skipped>& sums) {
  return files == 0 && std::all_of(sums.begin(), sums.end(), holds_no_data);
}

}  // namespace roost
