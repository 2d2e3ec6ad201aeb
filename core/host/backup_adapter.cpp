#include "host/backup_adapter.hpp"

#include <algorithm>
#include <future>
#include <memory>
#include <optional>

#include "base/json.hpp"

namespace roost {
namespace {

constexpr std::size_t kNameMax = 255;
constexpr std::size_t kRecordsMax = 65'536;
constexpr std::size_t kAboutMax = 64 * 1024;  // of what a plugin says about one object

Status check_name(const std::string& name) {
  const bool allowed = std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  });
  if (allowed && !name.empty() && name.size() <= kNameMax) return {};
  return Error{Code::invalid, "an archive's name has 1 to 255 characters out of A-Z a-z 0-9 . _ -", 0};
}

std::optional<BackupStorage::Object> object_of(const Record& record) {
  const auto document = Json::parse(record.value);
  if (!document.ok() || !(*document)["size"].is_int()) return std::nullopt;
  return BackupStorage::Object{record.key, (*document)["size"].as_int(), (*document)["modified"].as_int()};
}

}  // namespace

void BackupAdapter::stat(std::string name, Done<Object> done) {
  auto answer = posted(scheduler_, std::move(done));
  if (const Status checked = check_name(name); !checked.ok()) return answer(checked.error());
  submit_call<Object>(
      slot_, LaneKind::brief, timeouts_.brief_ms, "stat",
      [name = std::move(name)](WorkerCall& call) -> Result<Object> {
        ROOST_CHECK(
            call.invoke({1, kNameMax, kAboutMax, kNameMax + kAboutMax}, [&](auto* instance, auto* raw, auto* sink, auto* error) {
              return call.plugin().backup.stat(instance, raw, to_bytes(name), sink, error);
            }));
        if (call.records().size() != 1 || call.records().front().key != name)
          return call.misbehaved("answered stat without its record");
        auto object = object_of(call.records().front());
        return object ? *std::move(object)
                      : Result<Object>(call.misbehaved("answered stat with something else than {\"size\":n}"));
      },
      std::move(answer));
}

void BackupAdapter::list(std::string after, std::uint32_t limit, Done<std::vector<Object>> done) {
  submit_call<std::vector<Object>>(
      slot_, LaneKind::brief, timeouts_.brief_ms, "list",
      [after = std::move(after), limit](WorkerCall& call) -> Result<std::vector<Object>> {
        ROOST_CHECK(call.invoke({limit, kNameMax, kAboutMax, limit * (kNameMax + kAboutMax)}, [&](auto* instance, auto* raw,
                                                                                                  auto* sink, auto* error) {
          return call.plugin().backup.list(instance, raw, to_bytes(""), to_bytes(after), limit, sink, error);
        }));
        std::vector<Object> objects;
        for (const Record& record : call.records()) {
          auto object = object_of(record);
          const std::string& before = objects.empty() ? after : objects.back().name;
          if (!object || record.key <= before)
            return call.misbehaved("answered list with something that is no object, or out of order");
          objects.push_back(*std::move(object));
        }
        return objects;
      },
      posted(scheduler_, std::move(done)));
}

void BackupAdapter::remove(std::string name, Done<void> done) {
  auto answer = posted(scheduler_, std::move(done));
  if (const Status checked = check_name(name); !checked.ok()) return answer(checked.error());
  submit_call<void>(
      slot_, LaneKind::brief, timeouts_.change_ms, "remove",
      [name = std::move(name)](WorkerCall& call) -> Status {
        return call.invoke({0, 0, 0, 0}, [&](auto* instance, auto* raw, auto*, auto* error) {
          return call.plugin().backup.remove(instance, raw, to_bytes(name), error);
        });
      },
      std::move(answer));
}

void BackupAdapter::read(const std::string& name, std::int64_t offset, std::int64_t length, Done<std::string> done) const {
  if (const Status checked = check_name(name); !checked.ok()) return done(checked.error());
  if (offset < 0 || length < 1 || length > kChunkMax)
    return done(Error{Code::invalid, "an archive is read in chunks of 1 byte to 8 MiB", 0});
  submit_call<std::string>(
      slot_, LaneKind::bulk, timeouts_.bulk_ms, "read",
      [name, offset, length](WorkerCall& call) -> Result<std::string> {
        const auto most = static_cast<std::size_t>(length);
        ROOST_CHECK(call.invoke({kRecordsMax, kNameMax, most, most + kNameMax * kRecordsMax}, [&](auto* instance, auto* raw,
                                                                                                  auto* sink, auto* error) {
          return call.plugin().backup.read(instance, raw, to_bytes(name), static_cast<std::uint64_t>(offset), most, sink, error);
        }));
        std::string bytes;
        for (const Record& record : call.records()) bytes += record.value;
        if (bytes.size() > most) return call.misbehaved("answered a read with more bytes than were asked for");
        return bytes;
      },
      std::move(done));
}

Result<std::string> BackupAdapter::read(const std::string& name, std::int64_t offset, std::int64_t length) const {
  auto promise = std::make_shared<std::promise<Result<std::string>>>();
  std::future<Result<std::string>> answer = promise->get_future();
  read(name, offset, length, [promise](Result<std::string> result) { promise->set_value(std::move(result)); });
  return answer.get();
}

}  // namespace roost
