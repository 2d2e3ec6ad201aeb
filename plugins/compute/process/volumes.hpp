// Volumes: directories with an identity. volumes/NAME/ holds volume.json (name, token, uid, the host's user), data/ (the
// workspace), home/ (the user's settings, kept over sleep, not backed up) and run/ (the workload's socket). A volume appears
// whole, by a rename, and goes by a rename into trash/ before anything of it is deleted: what is half removed is never taken for
// a volume. Thread safety: the caller serialises changes to one session's volumes; allocation of users is locked inside.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "compute/process/settings.hpp"

namespace roost::compute_process {

struct Volume {
  std::string name;
  std::string token;
  std::string uid;             // empty: its volume.json is missing or damaged; it is nobody's, and is not touched
  std::int64_t host_uid = -1;  // who owns its files on this machine; -1: this process's user
  std::string path;
  [[nodiscard]] std::string lock() const { return path + "/supervisor.lock"; }  // held by whose workload uses it
};

class Volumes {
 public:
  explicit Volumes(const Settings& settings) : settings_(settings) {}

  std::optional<Volume> find(const std::string& name) const;
  std::vector<Volume> of_session(const std::string& id) const;  // all generations, by name
  std::vector<std::string> sessions() const;                    // sorted, once each

  // REQUIRES: find(name) is empty. Finishes or replaces what an earlier attempt left half made.
  Volume create(const sdk::Call& call, const std::string& name, const std::string& token);

  // Moves it to the trash, then deletes it. OUTCOME_UNKNOWN: call again with the same uid.
  void remove(const sdk::Call& call, const Volume& volume);
  bool in_trash(const std::string& uid) const;
  void empty_trash(const sdk::Call& call, const std::string& uid);

 private:
  std::int64_t allocate_user();  // REQUIRES: users.lock, until the volume shows that the user is taken
  std::vector<std::int64_t> users_in_use() const;
  const Settings& settings_;
};

bool valid_id(const std::string& id);             // 8 lower-case hex digits
bool valid_volume_name(const std::string& name);  // pvc-ID or pvc-ID-gN

}  // namespace roost::compute_process
