// Run: a simulation from one seed: clients, users and consumers do random things with up to three replicas while the world
// misbehaves; then the faults end, and everything must come to rest as it was wanted. Thread safety: one thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "simulation/replica.hpp"

namespace roost::simulation {

struct Plan {
  std::uint64_t seed = 1;
  Faults faults;
  Sabotage sabotage;
  int sessions = 5;
  std::int64_t busy_ms = 300'000;      // how long clients and faults are at work
  std::int64_t settle_ms = 1'800'000;  // how long convergence may take after that
  double crash = 0.0002;               // of a replica, at each event
  double clock_jump = 0.00015;
  double crash_restoring = 0;  // at each call that may change something, while a restore is under way
  std::size_t replicas = 1;    // with several, another takes over while one is paused
  bool lost_volumes = false;
  std::int64_t cache_lag_ms = 0;
  std::int64_t grace_ms = 4'000;
  std::int64_t terminating_ms = 0;
  bool restores = false;                       // clients mostly put backups back
  std::int64_t backup_every_ms = 0;            // by themselves; 0: never
  bool trace = false;                          // print what the engines say
  std::optional<std::uint64_t> crash_at_call;  // exactly one crash, at the n-th mutating call
};

struct Report {
  std::vector<std::string> violations;
  std::uint64_t events = 0, calls = 0, crashes = 0, created = 0, deleted = 0, sent = 0, answered = 0, blocked = 0, backups = 0,
                restores = 0, restored = 0, scheduled = 0, drilled = 0, missing = 0, damaged = 0, removed = 0;
  World::Restores in_place;
};

class Run {
 public:
  explicit Run(const Plan& plan);
  ~Run();
  Report go();

 private:
  struct Client;  // of one session
  struct Sent {
    std::string text;
    std::string id;  // empty: the answer never came
    bool acknowledged = false;
  };

  EngineOptions options(const std::string& name) const;
  void boot(std::size_t index);
  void crash(std::size_t index);
  Replica* any_replica();
  [[nodiscard]] std::string name_of(std::size_t replica) const {
    return plan_.replicas > 1 ? "replica" + std::to_string(replica) : "replica";
  }
  void check_leaders();
  void check_reads();
  void trouble();

  std::uint64_t begin(Client& client);
  void create(Client& client);
  void act(Client& client);
  void command(Client& client, Wanted wanted);
  void scale(Client& client);
  void backup(Client& client);
  void restore(Client& client);
  std::optional<Session> stored(const Client& client);
  [[nodiscard]] bool is_restoring();  // any of them
  bool restore_soon(Client& client);
  std::vector<BackupRecord> good_backups(const std::string& user, const std::string& id);  // empty: anybody's, of any session
  std::optional<BackupRecord> any_backup(const std::string& id);                           // a verified one of it, or of any
  std::optional<BackupRecord> backup_to_restore(const Client& client);
  void remove(Client& client);
  void tend();  // somebody looks after a backup
  void harm_storage();
  bool names_losses(const Client& client);
  std::string blocked_by(const Client& client);  // the reason of a delete that is blocked; empty: it is not
  void send(Client& client);
  void claim(Client& client);
  void ack(Client& client, const std::vector<Message>& messages);
  void schedule(Client& client);

  void settle();
  bool at_rest(std::string& why);
  bool client_at_rest(Client& client, std::string& why);
  std::string volumes_at_rest(const Session& session);  // what is not; empty: they are
  std::string backups_at_rest();                        // the same of catalogue and storage
  std::string strangers_at_rest(const std::set<std::string>& named);
  std::string readings_at_rest(const std::set<std::string>& read);
  void settle_backups();
  void drain_queues();
  void check_end();
  void check_backup(const Session& session);
  void run_until(std::int64_t until_ms);

  Plan plan_;
  Simulator simulator_;
  World world_;
  std::vector<std::unique_ptr<Replica>> replicas_;
  std::vector<std::size_t> crashing_;
  std::vector<std::unique_ptr<Client>> clients_;
  Report report_;
  bool busy_ = true;
};

[[nodiscard]] inline Report run(const Plan& plan) { return Run(plan).go(); }

}  // namespace roost::simulation
