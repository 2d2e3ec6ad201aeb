#include "compute/process/volumes.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "compute/process/files.hpp"

namespace roost::compute_process {
namespace {

constexpr const char* kPrefix = "pvc-";

Volume from_json(const Object& json, const std::string& path) {
  Volume volume{text_of(json, "name"), text_of(json, "token"), text_of(json, "uid"), number_of(json, "host_uid", -1), path};
  return volume;
}

}  // namespace

bool valid_id(const std::string& id) {
  return id.size() == 8 &&
         std::all_of(id.begin(), id.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool valid_volume_name(const std::string& name) {
  if (!name.starts_with(kPrefix) || name.size() < 12 || name.size() > 32 || !valid_id(name.substr(4, 8))) return false;
  if (name.size() == 12) return true;
  return name.compare(12, 2, "-g") == 0 && name.size() > 14 &&
         std::all_of(name.begin() + 14, name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::optional<Volume> Volumes::find(const std::string& name) const {
  const std::string path = settings_.data + "/volumes/" + name;
  if (!valid_volume_name(name) || !exists(path)) return std::nullopt;
  const Object::Ptr json = read_object(path + "/volume.json");
  if (json.isNull() || text_of(*json, "name") != name) return Volume{name, "", "", -1, path};
  return from_json(*json, path);
}

std::vector<Volume> Volumes::of_session(const std::string& id) const {
  std::vector<Volume> volumes;
  const std::string first = kPrefix + id;
  for (const std::string& name : names_in(settings_.data + "/volumes")) {
    if (!name.starts_with(first)) continue;
    if (auto volume = find(name)) volumes.push_back(std::move(*volume));
  }
  return volumes;
}

std::vector<std::string> Volumes::sessions() const {
  std::vector<std::string> ids;
  for (const std::string& name : names_in(settings_.data + "/volumes")) {
    if (valid_volume_name(name)) ids.push_back(name.substr(4, 8));
  }
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

std::vector<std::int64_t> Volumes::users_in_use() const {
  std::vector<std::int64_t> users;
  for (const char* place : {"/volumes/", "/trash/"}) {
    for (const std::string& name : names_in(settings_.data + place)) {
      const Object::Ptr json = read_object(settings_.data + place + name + "/volume.json");
      if (!json.isNull()) users.push_back(number_of(*json, "host_uid", -1));
    }
  }
  std::sort(users.begin(), users.end());
  return users;
}

// The next user after the last one given, so that one is not used again soon; what others still use is passed over once round.
std::int64_t Volumes::allocate_user() {
  if (settings_.uid_first <= 0) return -1;
  const std::string path = settings_.data + "/users.next";
  std::int64_t next = std::strtoll(read_file(path, 64).value_or("0").c_str(), nullptr, 10);
  if (next >= settings_.uid_count) {
    const auto used = users_in_use();
    for (next = 0; next < settings_.uid_count; ++next) {
      if (!std::binary_search(used.begin(), used.end(), settings_.uid_first + next)) break;
    }
    if (next == settings_.uid_count) {
      throw sdk::Failure(ROOST_EXHAUSTED, "every user of compute.config.uid_range has a volume: make the range larger");
    }
    return settings_.uid_first + next;  // the counter stays at its end: from now on gaps are looked for
  }
  replace_file(path, std::to_string(next + 1));
  return settings_.uid_first + next;
}

Volume Volumes::create(const sdk::Call& call, const std::string& name, const std::string& token) {
  const std::string path = settings_.data + "/volumes/" + name;
  const std::string making = settings_.data + "/volumes/.new-" + name;  // names with a dot are never listed
  remove_tree(making, &call);
  const Lock users(call, settings_.data + "/users.lock");
  Volume volume{name, token, random_hex(16), allocate_user(), path};
  make_directory(making, 0700);
  for (const char* part : {"/data", "/home", "/run"}) {
    make_directory(making + part, 0700);
    own(making + part, volume.host_uid);
  }
  Object json;
  json.set("name", volume.name);
  json.set("token", volume.token);
  json.set("uid", volume.uid);
  json.set("host_uid", volume.host_uid);
  replace_file(making + "/volume.json", dump(json));
  if (::rename(making.c_str(), path.c_str()) != 0) throw failure(path);
  sync_directory(settings_.data + "/volumes");
  return volume;
}

bool Volumes::in_trash(const std::string& uid) const { return !uid.empty() && exists(settings_.data + "/trash/" + uid); }

void Volumes::remove(const sdk::Call& call, const Volume& volume) {
  call.check();
  const std::string trash = settings_.data + "/trash/" + volume.uid;
  if (::rename(volume.path.c_str(), trash.c_str()) != 0) throw failure(volume.path);
  sync_directory(settings_.data + "/trash");
  sync_directory(settings_.data + "/volumes");
  empty_trash(call, volume.uid);
}

void Volumes::empty_trash(const sdk::Call& call, const std::string& uid) { remove_tree(settings_.data + "/trash/" + uid, &call); }

}  // namespace roost::compute_process
