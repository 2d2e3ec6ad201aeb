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
    log_.info(&last == &write_problem_      ? "store-redis: Redis takes changes again"
              : &last == &sentinel_problem_ ? "store-redis: the Sentinels name a master again"
                                            : "store-redis: Redis answers again");
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
  const Address found = ask_sentinels(until).master;
  const std::lock_guard lock(place_mutex_);
  master_ = found;
  return found;
}

// Where the master is, in the words of one Sentinel. The replicas are asked for in the same breath: they are then that master's,
// and not of one that came after.
Server::Named Server::ask_sentinel(const Address& address, const Until& until) {
  const auto sentinel = Connection::to_sentinel(address, settings_, tls_, until);
  const std::string& name = settings_.master_name;
  const std::vector<Reply> replies = sentinel->exchange(
      {command({"SENTINEL", "GET-MASTER-ADDR-BY-NAME", name}), command({"SENTINEL", "REPLICAS", name})}, until);
  if (is_null(checked(replies[0]))) throw ProtocolError("it knows no master \"" + name + "\"");
  const std::vector<std::string> place = texts(replies[0]);
  if (place.size() != 2) throw ProtocolError("an address that is none");
  std::vector<std::vector<std::string>> described;
  if (settings_.wait_replicas < 0) {
    for (const Reply& replica : items(checked(replies[1]))) described.push_back(texts(replica));
  }
  return {parse_address((place[0].find(':') == std::string::npos ? place[0] : "[" + place[0] + "]") + ":" + place[1]),
          promotable_replicas(described), 1};
}

// What more than half of the Sentinels say: so many make a failover, so fewer may have been cut off together with a master that
// is none any more. A replica that one of them sees may be the one that is promoted.
Server::Named Server::ask_sentinels(const Until& until) {
  std::vector<Named> all;
  std::string why;
  for (const Address& address : settings_.sentinels) {
    try {
      Named said = ask_sentinel(address, until.at_most(kSentinelTime));
      const auto same = std::find_if(all.begin(), all.end(), [&](const Named& other) { return other.master == said.master; });
      if (same != all.end()) {
        same->replicas.up.merge(said.replicas.up);
        same->replicas.known.merge(said.replicas.known);
        ++same->sentinels;
      }
      Named& known = same != all.end() ? *same : all.emplace_back(std::move(said));
      if (known.sentinels > settings_.sentinels.size() / 2) return known;
    } catch (const ServerError& e) {
      why = failure(e, "Sentinel " + address.text()).what();
    } catch (const std::runtime_error& e) {
      why = "Sentinel " + address.text() + ": " + e.what();
    }
    until.check();
  }
  if (all.empty()) throw unavailable("no Sentinel names a master: " + why);
  std::string named;
  for (const Named& one : all)
    named += " " + std::to_string(one.sentinels) + " of " + std::to_string(settings_.sentinels.size()) + " name " +
             one.master.text() + ";";
  throw unavailable("more than half of the Sentinels must name the same master:" + named + " " + why);
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
// Throws where the Sentinels name another master (whatever this one answers is worth nothing), or not enough of them one: the
// count of before then stands, which no cut-off master's replicas can meet.
int Server::count_required(const Connection& connection, const Names& connected, const Until& until) {
  const bool counts = settings_.wait_replicas < 0;
  if (settings_.sentinels.empty()) return counts ? needed(connected, {}) : settings_.wait_replicas;
  Named told;
  try {
    told = ask_sentinels(until);
    note(sentinel_problem_, "");
  } catch (const sdk::Failure& e) {
    if (e.code() == ROOST_UNAVAILABLE) note(sentinel_problem_, e.what());
    throw;
  }
  if (!(told.master == connection.address())) {
    drop();
    throw Moved("store-redis: " + connection.address().text() + " is not the master any more: Sentinel names " +
                told.master.text());
  }
  if (!counts) return settings_.wait_replicas;
  if (settings_.wait_replicas == Settings::kWaitKnown) return needed(connected, told.replicas.known);
  return std::max(needed(connected, told.replicas.up), told.replicas.known.empty() ? 0 : 1);
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

void Server::doubt(const Until& until) {
  const std::lock_guard lock(state_mutex_);
  ++doubtful_writes_;
  doubt_ends_ = std::max(doubt_ends_, until.deadline() + kMargin);
}

// After a read on this connection. A write of ours may be on the master alone, and may have been seen: a later write on the same
// connection, and so on the same server, that the replicas confirm stands behind all that was read. It ends the doubt about the
// writes before it, where none of them can still be on its way; not about one that became doubtful meanwhile, on another
// connection and maybe behind it.
// What it lacks; empty: nothing. Throws ServerError, ConnectionLost.
std::string Server::confirm(Connection& connection, const Until& until) {
  const int replicas = required_replicas_;
  std::uint64_t behind = 0;
  {
    const std::lock_guard lock(state_mutex_);
    if (doubtful_writes_ == confirmed_writes_ || replicas == 0) return {};
    if (Until::Clock::now() > doubt_ends_) behind = doubtful_writes_;
  }
  const auto time = std::clamp(until.remaining() - kMargin, milliseconds(1), kWaitTime);
  const std::vector<Reply> replies =
      connection.exchange({command({"SET", settings_.key_prefix + ":barrier", "1"}),
                           command({"WAIT", std::to_string(replicas), std::to_string(time.count())})},
                          until);
  (void)checked(replies[0]);
  std::string lacking = shortfall(replies[1], replicas);
  if (lacking.empty()) {
    const std::lock_guard lock(state_mutex_);
    confirmed_writes_ = std::max(confirmed_writes_, behind);
  }
  return lacking;
}

Reply Server::read(const Script& script, const Invoke& invoke, const Until& until) {
  for (int attempt = 0;; ++attempt) {
    until.check();
    std::unique_ptr<Connection> connection = take(until);
    const std::string where = connection->address().text();
    try {
      Reply reply = run(*connection, script, invoke, until, 0)[0];
      const std::string lacking = confirm(*connection, until);
      give(std::move(connection));
      if (!lacking.empty()) throw unavailable(where + ": the last change is not confirmed yet: " + lacking);
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
  std::string uncertain;   // why, once a request had left and nobody knows what became of it
  std::string asked;       // the server that it had left for
  bool elsewhere = false;  // another one may have done it too
  for (int attempt = 0;; ++attempt) {
    if (uncertain.empty()) {
      until.check();
      look_for_replicas(until);
      refuse_if_not_durable();
    } else {
      until.pause(backoff(attempt));
      if (until.over()) {
        doubt(until);
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
    if (!asked.empty() && asked != connection->facts().run_id) elsewhere = true;
    asked = connection->facts().run_id;
    until.keep_waiting();
    try {
      const std::vector<Reply> replies = run(*connection, script, invoke, until, replicas);
      if (late(replies[0])) {
        // Our idea of the server's clock was off, or the time is over. Nothing was done, by an earlier sending to it neither.
        connection->set_clock(std::stoll(text(items(replies[0])[1])));
        give(std::move(connection));
        if (elsewhere) {
          uncertain = where + " does not have it, but another server may";
          continue;
        }
        uncertain.clear();
        asked.clear();
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
    } catch (const ProtocolError& e) {  // an answer that is none tells nothing
      drop();
      uncertain = where + ": " + e.what();
    }
  }
}

}  // namespace roost::store_redis
