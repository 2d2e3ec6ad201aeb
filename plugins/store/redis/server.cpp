#include "store/redis/server.hpp"

#include <algorithm>
#include <charconv>
#include <thread>

#include "store/redis/replicas.hpp"
#include "store/redis/schema.hpp"

namespace roost::store_redis {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kIdleMax = 32;
constexpr milliseconds kConnectTime{3'000};   // to one address
constexpr milliseconds kSentinelTime{1'000};  // to one Sentinel
constexpr milliseconds kMargin{100};          // that WAIT ends before the call does
constexpr milliseconds kWaitTime{1'000};      // for replicas, before it is looked which there still are
constexpr milliseconds kLookTime{250};        // between two looks for replicas that are missing

// There is another master now; the one that was asked may not know it yet.
struct Moved : sdk::Failure {
  explicit Moved(const std::string& what) : Failure(ROOST_UNAVAILABLE, what, 500) {}
};

sdk::Failure unavailable(const std::string& what) { return {ROOST_UNAVAILABLE, "store-redis: " + what, 500}; }
sdk::Failure unknown(const std::string& what) {
  return {ROOST_OUTCOME_UNKNOWN, "store-redis: whether the change was made is not known: " + what};
}

bool older_than_6_2(const std::string& version) {
  int major = 0, minor = 0;
  const char* last = version.data() + version.size();
  const auto first = std::from_chars(version.data(), last, major);
  if (first.ec == std::errc() && first.ptr != last) (void)std::from_chars(first.ptr + 1, last, minor);
  return major < 6 || (major == 6 && minor < 2);
}

milliseconds backoff(int attempt) { return milliseconds(std::min(20 << std::min(attempt, 5), 500)); }

bool late(const Reply& reply) {
  if (!reply->isArray()) return false;
  const std::vector<Reply> list = items(reply);
  return list.size() == 2 && text(list[0]) == "LATE";
}

}  // namespace

Server::Server(Settings settings, sdk::Log log)
    : settings_(std::move(settings)), log_(log), tls_(make_tls_context(settings_.tls)) {}

void Server::note(std::string& last, const std::string& problem) {
  const std::lock_guard lock(state_mutex_);
  if (problem == last) return;
  if (problem.empty())
    log_.info(&last == &write_problem_ ? "store-redis: Redis takes changes again" : "store-redis: Redis answers again");
  else
    log_.error(problem);
  last = problem;
}

// ---- the pool -------------------------------------------------------------------------------------------------------------

std::unique_ptr<Connection> Server::take(const Until& until) {
  {
    const std::lock_guard lock(pool_mutex_);
    while (!idle_.empty()) {
      std::unique_ptr<Connection> connection = std::move(idle_.back());
      idle_.pop_back();
      if (connection->usable()) return connection;
    }
  }
  return connect(until);
}

void Server::give(std::unique_ptr<Connection> connection) {
  if (connection->broken() || !is_fit(*connection)) return;
  const std::lock_guard lock(pool_mutex_);
  if (idle_.size() < kIdleMax) idle_.push_back(std::move(connection));
}

void Server::drop() {
  {
    const std::lock_guard lock(pool_mutex_);
    idle_.clear();
  }
  const std::lock_guard lock(place_mutex_);
  master_.reset();
}

// ---- finding and checking the master ---------------------------------------------------------------------------------------

Address Server::locate(const Until& until) {
  if (settings_.sentinels.empty()) return settings_.address;
  {
    const std::lock_guard lock(place_mutex_);
    if (master_) return *master_;
  }
  const Address found = ask_sentinels(until, nullptr);
  const std::lock_guard lock(place_mutex_);
  master_ = found;
  return found;
}

// Where the master is. The replicas are asked for in the same breath: they are then that master's, and not of one that came
// after.
Address Server::ask_sentinels(const Until& until, Promotable* replicas) {
  std::string why;
  for (const Address& address : settings_.sentinels) {
    try {
      const Until part = until.at_most(kSentinelTime);
      const auto sentinel = Connection::to_sentinel(address, settings_, tls_, part);
      std::vector<Command> questions{command({"SENTINEL", "GET-MASTER-ADDR-BY-NAME", settings_.master_name})};
      if (replicas != nullptr) questions.push_back(command({"SENTINEL", "REPLICAS", settings_.master_name}));
      const std::vector<Reply> replies = sentinel->exchange(questions, part);
      if (is_null(checked(replies[0]))) {
        why = address.text() + " knows no master \"" + settings_.master_name + "\"";
        continue;
      }
      const std::vector<std::string> place = texts(replies[0]);
      if (place.size() != 2) throw ProtocolError("an address that is none");
      if (replicas != nullptr) {
        std::vector<std::vector<std::string>> described;
        for (const Reply& replica : items(checked(replies[1]))) described.push_back(texts(replica));
        *replicas = promotable_replicas(described);
      }
      return parse_address((place[0].find(':') == std::string::npos ? place[0] : "[" + place[0] + "]") + ":" + place[1]);
    } catch (const ServerError& e) {
      why = failure(e, "Sentinel " + address.text()).what();
    } catch (const std::runtime_error& e) {
      why = "Sentinel " + address.text() + ": " + e.what();
    }
    until.check();
  }
  throw unavailable("no Sentinel names a master: " + why);
}

std::unique_ptr<Connection> Server::connect(const Until& until) {
  const Address address = locate(until);
  std::unique_ptr<Connection> connection;
  try {
    connection = Connection::to_server(address, settings_, tls_, until.at_most(kConnectTime));
    qualify(*connection, until);
  } catch (const ServerError& e) {
    drop();
    throw failure(e, address.text());
  } catch (const ConnectionLost& e) {
    drop();
    until.check();
    throw unavailable(address.text() + ": " + e.what());
  } catch (const ProtocolError& e) {
    drop();
    throw unavailable(address.text() + ": " + e.what());
  }
  return connection;
}

bool Server::is_fit(const Connection& connection) const {
  const std::lock_guard lock(state_mutex_);
  return connection.facts().run_id == fit_run_id_;
}

void Server::qualify(Connection& connection, const Until& until) {
  const ServerFacts& facts = connection.facts();
  const std::string where = connection.address().text();
  if (facts.role != "master") {
    drop();  // whoever named it may know better by now
    throw unavailable(where + " is no master but a " + facts.role +
                      (settings_.sentinels.empty() ? ": name the master, or use Sentinel" : ": a failover is under way"));
  }
  if (is_fit(connection)) return;
  const std::unique_lock checking(fit_mutex_, until.deadline());
  if (!checking.owns_lock()) until.check();
  if (is_fit(connection)) return;
  if (older_than_6_2(facts.version))
    throw sdk::Failure(ROOST_UNSUPPORTED, "store-redis: " + where + " is Redis " + facts.version + ": 6.2 or later is needed");
  if (facts.mode == "cluster")
    throw sdk::Failure(
        ROOST_UNSUPPORTED,
        "store-redis: " + where + " is a Redis Cluster, which is not supported: use one master, with Sentinel for failover");
  migrate(connection, settings_.key_prefix, migrations(), until);
  check_durability(connection, until);
  bool another = false;
  {
    const std::lock_guard lock(state_mutex_);
    another = !fit_run_id_.empty();
    fit_run_id_ = facts.run_id;
  }
  if (!another) return;
  log_.warn("store-redis: " + where + " is another Redis, or the same one started anew: caches are filled again");
  const std::lock_guard lock(pool_mutex_);
  idle_.clear();
}

// Every replica that is connected, and every one that a failover could promote: those that Sentinel knows and that are up, one at
// least where it knows any, so that nothing is acknowledged that is on one machine only; with kWaitKnown those that are down too.
// Throws where Sentinel names another master: whatever this one answers is worth nothing.
int Server::count_required(const Connection& connection, const Names& connected, const Until& until) {
  const bool counts = settings_.wait_replicas < 0;
  if (settings_.sentinels.empty()) return counts ? needed(connected, {}) : settings_.wait_replicas;
  Promotable told;
  const Address master = ask_sentinels(until, counts ? &told : nullptr);
  if (!(master == connection.address())) {
    drop();
    throw Moved("store-redis: " + connection.address().text() + " is not the master any more: Sentinel names " + master.text());
  }
  if (!counts) return settings_.wait_replicas;
  if (settings_.wait_replicas == Settings::kWaitKnown) return needed(connected, told.known);
  return std::max(needed(connected, told.up), told.known.empty() ? 0 : 1);
}

void Server::check_durability(Connection& connection, const Until& until) {
  const std::string info = text(connection.ask(command({"INFO", "persistence"}), until));
  const std::string memory = text(connection.ask(command({"INFO", "memory"}), until));
  const std::string replication = text(connection.ask(command({"INFO", "replication"}), until));
  const Names connected = connected_replicas(replication);
  required_replicas_ = count_required(connection, connected, until);
  present_replicas_ = static_cast<int>(connected.size());
  // Whether the user may ask that, before a change was made whose fate it would tell.
  if (required_replicas_ > 0) (void)connection.ask(command({"WAIT", "0", "1"}), until);
  std::string weak;
  const auto add = [&](const std::string& what) { weak += (weak.empty() ? "" : "; ") + what; };
  if (info_field(info, "aof_enabled") != "1") {
    add("appendonly is off: a crash loses what was written since the last snapshot");
  } else {
    try {
      const auto fsync = texts(connection.ask(command({"CONFIG", "GET", "appendfsync"}), until));
      if (required_replicas_ == 0 && (fsync.size() != 2 || fsync[1] != "always"))
        add("appendfsync is " + (fsync.size() == 2 ? fsync[1] : "unknown") + ": a power cut can lose the last second or more");
    } catch (const ServerError&) {
      if (required_replicas_ == 0) add("appendfsync cannot be read (CONFIG GET is not allowed): it should be `always`");
    }
  }
  const std::string policy = info_field(memory, "maxmemory_policy");
  if (info_field(memory, "maxmemory") != "0" && policy != "noeviction")
    add("maxmemory-policy is " + policy + ": data is thrown away when memory is short; it should be noeviction");
  const std::lock_guard lock(state_mutex_);
  const bool refuse = settings_.durability == Durability::refuse && !weak.empty();
  refusal_ = refuse ? "acknowledged changes could be lost, and store.config.durability says to refuse that: " + weak : "";
  if (weak == weakness_) return;
  weakness_ = weak;
  if (weak.empty())
    log_.info("store-redis: what is acknowledged is durable");
  else if (settings_.durability != Durability::ignore)
    log_.warn("store-redis: acknowledged changes could be lost: " + weak);
}

// Which replicas there still are, in the middle of a write, and whether this is still the master: where that cannot be found out,
// the count stays as it is.
void Server::recount(Connection& connection, const Until& until) {
  try {
    check_durability(connection, until);
  } catch (const std::exception& e) {
    log_.debug(std::string("store-redis: the replicas could not be counted: ") + e.what());
  }
}

void Server::inspect(const Until& until) {
  std::unique_ptr<Connection> connection = take(until);
  try {
    check_durability(*connection, until);
  } catch (const Moved& e) {
    log_.warn(e.what());
    connection = connect(until);  // which is checked, and those that follow the changes hear of it
  } catch (const ServerError& e) {
    throw failure(e, connection->address().text());
  } catch (const std::runtime_error& e) {
    if (dynamic_cast<const sdk::Failure*>(&e)) throw;
    drop();
    throw unavailable(connection->address().text() + ": " + e.what());
  }
  give(std::move(connection));
}

// Where replicas were missing at the last look: after a failover they come within a moment, long before the next check.
void Server::look_for_replicas(const Until& until) {
  if (present_replicas_ >= required_replicas_) return;
  const std::unique_lock looking(look_mutex_, std::try_to_lock);
  if (!looking.owns_lock() || Until::Clock::now() < last_look_ + kLookTime) return;
  last_look_ = Until::Clock::now();
  try {
    inspect(until);
  } catch (const sdk::Failure& e) {
    log_.debug(e.what());
  }
}

void Server::refuse_if_not_durable() const {
  {
    const std::lock_guard lock(state_mutex_);
    if (!refusal_.empty()) throw sdk::Failure(ROOST_UNAVAILABLE, "store-redis: " + refusal_, 5'000);
  }
  if (present_replicas_ < required_replicas_)
    throw sdk::Failure(ROOST_UNAVAILABLE,
                       "store-redis: " + std::to_string(present_replicas_) + " of " + std::to_string(required_replicas_) +
                           " replicas are connected, and a change is acknowledged only once all have it (wait_replicas)",
                       1'000);
}

// What the answer of WAIT lacks; empty: nothing. An error is not thrown: the write that it stands behind was made.
std::string Server::shortfall(const Reply& waited, int replicas) const {
  try {
    const std::int64_t confirmed = integer(checked(waited));
    if (confirmed >= replicas) return {};
    return std::to_string(confirmed) + " of " + std::to_string(replicas) + " replicas confirmed it";
  } catch (const ServerError& e) {
    return std::string("who else has it cannot be found out: ") + e.what();
  }
}

// ---- running scripts ------------------------------------------------------------------------------------------------------

std::vector<Reply> Server::run(Connection& connection, const Script& script, const Invoke& invoke, const Until& until,
                               int replicas) {
  const Invocation what = invoke(connection);
  const auto request = [&](const std::string& verb, const std::string& name) {
    Command made(verb);
    made.add(name).add(std::to_string(what.keys.size()));
    for (const std::string& key : what.keys) made.add(key);
    for (const std::string& argument : what.arguments) made.add(argument);
    return made;
  };
  std::vector<Command> requests{request("EVALSHA", script.sha())};
  if (replicas > 0) {
    const auto time = std::clamp(until.remaining() - kMargin, milliseconds(1), kWaitTime);
    requests.push_back(command({"WAIT", std::to_string(replicas), std::to_string(time.count())}));
  }
  std::vector<Reply> replies = connection.exchange(requests, until);
  try {
    (void)checked(replies[0]);
  } catch (const ServerError& e) {
    if (e.word() != "NOSCRIPT") throw;
    requests[0] = request("EVAL", script.text());  // which keeps it for the next time
    replies = connection.exchange(requests, until);
    (void)checked(replies[0]);
  }
  return replies;
}

// A write of ours was not confirmed by every replica, or nobody knows: what is read now could be gone after a failover. A later
// write that they confirm stands behind it.
void Server::confirm(const Until& until) {
  const int replicas = required_replicas_;
  std::unique_ptr<Connection> connection = take(until);
  const std::string where = connection->address().text();
  try {
    const std::vector<Reply> replies = connection->exchange(
        {command({"SET", settings_.key_prefix + ":barrier", "1"}),
         command({"WAIT", std::to_string(replicas),
                  std::to_string(std::clamp(until.remaining() - kMargin, milliseconds(1), kWaitTime).count())})},
        until);
    (void)checked(replies[0]);
    if (const std::string lacking = shortfall(replies[1], replicas); !lacking.empty())
      throw unavailable(where + ": the last change is not confirmed yet: " + lacking);
    unconfirmed_ = false;
    give(std::move(connection));
  } catch (const ServerError& e) {
    drop();
    throw failure(e, where);
  } catch (const ConnectionLost& e) {
    drop();
    throw unavailable(where + ": " + e.what());
  }
}

Reply Server::read(const Script& script, const Invoke& invoke, const Until& until) {
  if (unconfirmed_) confirm(until);
  for (int attempt = 0;; ++attempt) {
    until.check();
    std::unique_ptr<Connection> connection = take(until);
    const std::string where = connection->address().text();
    try {
      Reply reply = run(*connection, script, invoke, until, 0)[0];
      give(std::move(connection));
      return reply;
    } catch (const ServerError& e) {
      if (look_elsewhere(e))
        drop();
      else
        give(std::move(connection));
      throw failure(e, where);
    } catch (const ConnectionLost& e) {
      drop();  // the others have most likely ended as well
      until.check();
      if (attempt > 0) throw unavailable(where + ": " + e.what());
    }
  }
}

Reply Server::write(const Script& script, const Invoke& invoke, Until until) {
  std::string uncertain;  // why, once a request had left and nobody knows what became of it
  for (int attempt = 0;; ++attempt) {
    if (uncertain.empty()) {
      until.check();
      look_for_replicas(until);
      refuse_if_not_durable();
    } else {
      until.pause(backoff(attempt));
      if (until.over()) {
        unconfirmed_ = required_replicas_ > 0;
        note(write_problem_, unknown(uncertain).what());
        throw unknown(uncertain);
      }
    }
    std::unique_ptr<Connection> connection;
    try {
      connection = take(until);
    } catch (const sdk::Failure& e) {
      if (uncertain.empty()) throw;
      uncertain = e.what();
      continue;
    }
    const std::string where = connection->address().text();
    const int replicas = required_replicas_;
    until.keep_waiting();
    try {
      const std::vector<Reply> replies = run(*connection, script, invoke, until, replicas);
      if (late(replies[0])) {
        // Our idea of the server's clock was off, or the time is over. Nothing was done, by an earlier sending neither.
        connection->set_clock(std::stoll(text(items(replies[0])[1])));
        give(std::move(connection));
        uncertain.clear();
        if (attempt > 3) throw sdk::Failure(ROOST_DEADLINE, "the deadline passed");
        continue;
      }
      if (const std::string lacking = replicas > 0 ? shortfall(replies[1], replicas) : ""; !lacking.empty()) {
        uncertain = where + " has it, but " + lacking;
        recount(*connection, until);
        continue;
      }
      give(std::move(connection));
      note(write_problem_, "");
      return replies[0];
    } catch (const ServerError& e) {
      if (look_elsewhere(e)) drop();
      note(write_problem_, failure(e, where).what());
      if (uncertain.empty()) throw failure(e, where);
      uncertain = failure(e, where).what();
    } catch (const ConnectionLost& e) {
      drop();
      uncertain = where + ": " + e.what();
    }
  }
}

}  // namespace roost::store_redis
