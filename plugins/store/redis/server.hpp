// Server: the Redis we write to: found (by its address or by Sentinels), checked (role, version, schema, durability) and spoken
// to through a pool of connections. Invariants: a connection is used only while its server is the one last found fit; a write is
// acknowledged only once every replica that could be promoted has it; a write whose answer was lost is sent again until its fate
// is known, and where that was not found out in time, nothing is read that could still be gone. Thread safety: any thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "store/redis/connection.hpp"
#include "store/redis/replicas.hpp"
#include "store/redis/scripts.hpp"
#include "store/redis/settings.hpp"

namespace roost::store_redis {

// Keys, then arguments, of a script, for the connection that it will run on.
struct Invocation {
  std::vector<std::string> keys;
  std::vector<std::string> arguments;
};
using Invoke = std::function<Invocation(const Connection& connection)>;

class Server {
 public:
  Server(Settings settings, sdk::Log log);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // A script that changes nothing. Throws Failure.
  [[nodiscard]] Reply read(const Script& script, const Invoke& invoke, const Until& until);
  // A script that may be repeated: it finds that it ran before, and answers the same. Answers once that is durable as configured.
  // Throws Failure; OUTCOME_UNKNOWN where the time was over first.
  [[nodiscard]] Reply write(const Script& script, const Invoke& invoke, Until until);

  // A new connection to the present master, checked. Throws Failure.
  [[nodiscard]] std::unique_ptr<Connection> connect(const Until& until);
  // Looks again at the server's settings and replicas, and whether Sentinel still names it. Throws Failure.
  void inspect(const Until& until);
  // Whether this is the server that was found fit last: else there is another master.
  [[nodiscard]] bool is_fit(const Connection& connection) const;

  // Logs a problem of following the changes once, and that it is over (empty).
  void note(const std::string& problem) { note(problem_, problem); }
  [[nodiscard]] const Settings& settings() const { return settings_; }

 private:
  // The master and its replicas in the words of so many Sentinels.
  struct Named {
    Address master;
    Promotable replicas;
    std::size_t sentinels = 0;
  };

  void note(std::string& last, const std::string& problem);
  [[nodiscard]] std::unique_ptr<Connection> take(const Until& until);
  void give(std::unique_ptr<Connection> connection);
  void drop();  // every idle connection, and where the master is

  [[nodiscard]] Address locate(const Until& until);
  [[nodiscard]] Named ask_sentinel(const Address& address, const Until& until);
  [[nodiscard]] Named ask_sentinels(const Until& until);
  void qualify(Connection& connection, const Until& until);
  void check_durability(Connection& connection, const Until& until);
  void recount(Connection& connection, const Until& until);
  [[nodiscard]] int count_required(const Connection& connection, const Names& connected, const Until& until);
  void look_for_replicas(const Until& until);
  void refuse_if_not_durable() const;
  void doubt(const Until& until);
  [[nodiscard]] std::string confirm(Connection& connection, const Until& until);
  [[nodiscard]] std::string shortfall(const Reply& waited, int replicas) const;

  [[nodiscard]] std::vector<Reply> run(Connection& connection, const Script& script, const Invoke& invoke, const Until& until,
                                       int replicas);

  const Settings settings_;
  const sdk::Log log_;
  const Poco::Net::Context::Ptr tls_;

  std::mutex pool_mutex_;
  std::vector<std::unique_ptr<Connection>> idle_;

  std::mutex place_mutex_;
  std::optional<Address> master_;

  std::timed_mutex fit_mutex_;  // held while a server is being checked

  std::mutex look_mutex_;  // held while somebody looks for missing replicas
  Until::Clock::time_point last_look_;

  mutable std::mutex state_mutex_;
  std::string fit_run_id_;        // the server that was checked last
  std::string problem_;           // as logged last; empty: none
  std::string write_problem_;     // the same, of changes
  std::string sentinel_problem_;  // the same, of Sentinels
  std::string weakness_;          // of its durability, as logged last
  std::string refusal_;           // why commits are refused; empty: they are not
  // Writes of ours that ended with nobody knowing whether the replicas have them: how many, how many of them the replicas are
  // known to have by now if the master has, and from when on none of them happens any more.
  std::uint64_t doubtful_writes_ = 0;
  std::uint64_t confirmed_writes_ = 0;
  Until::Clock::time_point doubt_ends_;
  std::atomic<int> required_replicas_{0};
  std::atomic<int> present_replicas_{0};
};

}  // namespace roost::store_redis
