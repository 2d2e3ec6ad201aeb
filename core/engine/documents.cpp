#include "engine/documents.hpp"

#include "base/crypto.hpp"

namespace roost::documents {

namespace {

constexpr std::size_t kMark = 8;   // hex digits of a commit's mark
constexpr std::size_t kMarks = 8;  // how many are remembered
constexpr std::size_t kValueLimit = 1 << 20;

std::string hash(std::string_view client_key) { return to_hex(sha256(client_key)).substr(0, 32); }

Result<Json> parse(const Document& document) {
  auto json = Json::parse(document.value, {kValueLimit, 64});
  if (!json)
    return Error{Code::data_loss, "document " + document.key + " in the store cannot be read: " + json.error().message, 0};
  return json;
}

}  // namespace

std::string partition(std::string_view session_id) { return std::string(session_id.substr(0, 2)); }
std::string user_partition(std::string_view user_id) { return "user/" + to_hex(sha256(user_id)).substr(0, 16); }
std::string backup_partition(std::string_view session_id) { return "backup/" + std::string(session_id.substr(0, 2)); }
std::string digits(int number) {
  static constexpr char kDigits[] = "0123456789abcdef";
  return {kDigits[number >> 4], kDigits[number & 15]};
}
std::vector<std::string> fixed_partitions() {
  std::vector<std::string> all{std::string(kIdentityPartition)};
  for (const char* stem : {"", "backup/"}) {
    for (int i = 0; i < kPartitions; ++i) all.push_back(stem + digits(i));
  }
  return all;
}

std::string session_key(std::string_view id) { return "session/" + std::string(id); }
std::string tombstone_key(std::string_view id) { return "tombstone/" + std::string(id); }
std::string message_prefix(std::string_view id) { return "message/" + std::string(id) + "/"; }
std::string history_prefix(std::string_view id) { return "history/" + std::string(id) + "/"; }
std::string idempotency_key(std::string_view id, std::string_view client_key) {
  return "idempotency/" + std::string(id) + "/" + hash(client_key);
}
std::string user_idempotency_key(std::string_view client_key) { return "idempotency/" + hash(client_key); }
std::string reservation_key(std::string_view id) { return "reservation/" + std::string(id); }
std::string backup_key(std::string_view backup_id) { return "backup/" + std::string(backup_id); }

Error half_imported() {
  return {Code::data_loss,
          "the store holds only a part of what an import was to bring into it: run the same roostd import FILE again, which goes "
          "on where it was interrupted, or take an empty store",
          0};
}

std::string encode(const Session& session, std::string_view commits) {
  Json json = to_json(session);
  json.set("commits", commits);
  return json.dump();
}

Result<SessionView> decode_session(const Document& document) {
  ROOST_TRY(Json json, parse(document));
  auto session = session_from_json(json);
  if (!session) return session.error().context("document " + document.key);
  if (document.key != session_key(session->id))
    return Error{Code::data_loss, "document " + document.key + " in the store is of another session: " + session->id, 0};
  auto snapshot = std::make_shared<SessionSnapshot>();
  snapshot->session = *std::move(session);
  snapshot->revision = document.revision;
  snapshot->commits = json["commits"].as_string();
  return SessionView(std::move(snapshot));
}

std::string add_commit(std::string_view commits, std::string_view mark) {
  std::string all(mark.substr(0, kMark));
  all += commits.substr(0, kMark * (kMarks - 1));
  return all;
}

bool has_commit(std::string_view commits, std::string_view mark) {
  for (std::size_t i = 0; i + kMark <= commits.size(); i += kMark) {
    if (commits.substr(i, kMark) == mark.substr(0, kMark)) return true;
  }
  return false;
}

std::string encode(const StoredMessage& stored) {
  Json json = to_json(stored.message);
  json.set("nonce", stored.nonce);
  if (stored.claimed_at_us) json.set("claimed_at_us", stored.claimed_at_us);
  return json.dump();
}

Result<StoredMessage> decode_message(const Document& document) {
  ROOST_TRY(Json json, parse(document));
  json.set("id", document.key.substr(document.key.rfind('/') + 1));  // an appended document does not know its number
  auto message = message_from_json(json);
  if (!message) return message.error().context("document " + document.key);
  return StoredMessage{*std::move(message), json["nonce"].as_string(), json["claimed_at_us"].as_int(), document.revision};
}

Result<Tombstone> decode_tombstone(const Document& document) {
  ROOST_TRY(Json json, parse(document));
  auto tombstone = tombstone_from_json(json);
  if (!tombstone) return tombstone.error().context("document " + document.key);
  return tombstone;
}

Result<BackupRecord> decode_backup(const Document& document) {
  ROOST_TRY(Json json, parse(document));
  auto record = backup_record_from_json(json);
  if (!record) return record.error().context("document " + document.key);
  return record;
}

std::string encode_strangers(const std::vector<BackupStorage::Object>& objects) {
  Json list = Json::array();
  for (const auto& object : objects)
    list.push(Json::object({{"name", object.name}, {"size", object.size}, {"modified_us", object.modified_us}}));
  return Json::object({{"strangers", std::move(list)}}).dump();
}

std::vector<BackupStorage::Object> decode_strangers(const Document& document) {
  std::vector<BackupStorage::Object> objects;
  auto json = parse(document);
  if (!json) return objects;
  for (const Json& object : (*json)["strangers"].items())
    objects.push_back({object["name"].as_string(), object["size"].as_int(), object["modified_us"].as_int()});
  return objects;
}

}  // namespace roost::documents
