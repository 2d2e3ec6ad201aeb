// Api::Impl: the handlers, one file for each group of them: sessions.cpp, remove.cpp, restore.cpp, backups.cpp, backup_files.cpp,
// messages.cpp, service.cpp; who may call which is in access.cpp. Thread safety: as api.hpp says. Handlers run on event loops or
// the pool, completions on the engine's thread; what both need is copied, because the request ends with the handler.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "api/api.hpp"
#include "api/request.hpp"

namespace roost {
class EntryLookup;
}

namespace roost::api {

enum class Access {
  open,      // anybody
  metrics,   // anybody or scope read, as configured
  read,      // scope read
  sessions,  // scope sessions
  consumer,  // scope sessions, or the token of that very workspace
};

inline constexpr std::int64_t kSliceMs = 2'000;  // of a wait that a request asked for

class Api::Impl {
 public:
  Impl(Engine& engine, Clock& clock, Random& random, Hooks hooks, Options options);

  void register_routes(http::Router& router);
  std::optional<http::Response> admit(const http::Request& request, const http::Route& route);
  void reconfigure(Options options);
  void publish(const Event& event);
  void drain();

  EventHub hub;

 private:
  using Request = http::Request;
  using Responder = http::Responder;
  using Method = void (Impl::*)(const Request&, const Responder&, const PrincipalView&);

  struct State {
    explicit State(Options given) : options(std::move(given)), failures(options.peer_failures) {}
    const Options options;
    PeerLimiter failures;
    PeerLimiter consumers{Rate{50, 100}};  // by session
    RateBucket failures_audited{Rate{1, 10}};
    std::atomic<std::int64_t> failures_unaudited{0};
  };

  void add(http::Router& router, std::string method, std::string pattern, http::Run run, Access access, Method handler,
           std::size_t body_limit = 16 << 10);
  bool must_look(const Request& request) const;
  void look(const Request&, const Responder&, const PrincipalView&, Method handler);  // into the store, then `handler`
  void add_sessions(http::Router& router);
  void add_backups(http::Router& router);
  void add_messages(http::Router& router);
  void add_restore(http::Router& router);
  void add_service(http::Router& router);

  // access.cpp
  Access access_of(const http::Route& route) const;
  PrincipalView consumer(const Request& request, std::string_view key) const;
  void audit_failed(State& state, const Request& request, bool had_key);
  std::optional<http::Response> refuse_many_failures(State& state, const Request& request);
  std::optional<http::Response> refuse_failed(State& state, const Request& request, bool had_key);
  std::optional<http::Response> refuse_hurry(State& state, const Principal& workspace);
  // A workspace's token for a session that another replica may have just made: prove() reads the store before it believes it.
  std::optional<http::Response> admit_unproven(State& state, const Request& request);
  void prove(const Request&, const Responder&, Method handler);

  // Common to all.
  // The session of the request's path, if the caller may see it; else it is answered (404) and null.
  SessionView visible(const Request& request, const Responder& respond, const PrincipalView& who);
  void answer_missing(std::string id, const Responder& respond, const PrincipalView& who);
  static http::Response not_found(std::string_view id);
  bool loaded();                               // false until the engine was ready once: until then a list would not be whole
  static http::Response failure(Error error);  // of the engine
  Status audit(AuditNote note) const;

  // sessions.cpp
  void create(const Request&, const Responder&, const PrincipalView&);
  void status(const Request&, const Responder&, const PrincipalView&);
  void sleep(const Request&, const Responder&, const PrincipalView&);
  void wake(const Request&, const Responder&, const PrincipalView&);
  void scale(const Request&, const Responder&, const PrincipalView&);
  struct Action {
    std::string name, status, message;  // as the guide's answer says them
  };
  void act(const Request&, const Responder&, const PrincipalView&, Action action,
           const std::function<void(std::string id, CommandOptions, Done<SessionView>)>& run);
  void list(const Request&, const Responder&, const PrincipalView&);
  http::Response page(const std::string& cursor, std::size_t wanted, const std::string& user) const;
  void get(const Request&, const Responder&, const PrincipalView&);
  void access(const Request&, const Responder&, const PrincipalView&);
  // remove.cpp
  void remove(const Request&, const Responder&, const PrincipalView&);
  void begin_remove(std::string id, DeleteOptions what, CommandOptions options, std::int64_t wait_ms, const Responder&,
                    const PrincipalView&);
  void await_removed(std::string id, Operation operation, std::int64_t wait_ms, const Responder&);
  void answer_removing(const std::string& id, const Operation& operation, const Responder&);
  void operation(const Request&, const Responder&, const PrincipalView&);
  // restore.cpp
  void begin_backup(const Request&, const Responder&, const PrincipalView&);
  void restore(const Request&, const Responder&, const PrincipalView&);
  void restore_as_new(const Request&, const Responder&, const PrincipalView&);
  // backups.cpp
  // None: it is answered already.
  std::optional<BackupQuery> backup_query(const Request&, const Responder&, const PrincipalView&);
  http::Response backups_page(const BackupPage& page) const;
  void list_backups(const Request&, const Responder&, const PrincipalView&);
  void list_session_backups(const Request&, const Responder&, const PrincipalView&);
  // The backup, if the caller may see it and it was not removed; else it is answered (404).
  void with_backup(const std::string& id, const Responder&, const PrincipalView&, std::function<void(BackupRecord)> then);
  void get_backup(const Request&, const Responder&, const PrincipalView&);
  void hold_backup(const Request&, const Responder&, const PrincipalView&);
  void lift_hold(const Request&, const Responder&, const PrincipalView&);
  void change_backup(const Request&, const Responder&, const PrincipalView&, const char* action, Json details,
                     std::function<void(const std::string& id, Done<BackupRecord>)> change);
  void verify_backup(const Request&, const Responder&, const PrincipalView&);
  void remove_backup(const Request&, const Responder&, const PrincipalView&);
  void list_strangers(const Request&, const Responder&, const PrincipalView&);
  // backup_files.cpp
  std::shared_ptr<const void> take_reading(const Responder& respond);
  void with_archive(const Request&, const Responder&, const PrincipalView&,
                    std::function<void(BackupRecord, std::shared_ptr<const void> place)> then);
  Done<void> watch_reading(const std::string& id, std::shared_ptr<const void> place);
  void list_files(const Request&, const Responder&, const PrincipalView&);
  void get_file(const Request&, const Responder&, const PrincipalView&);
  void send_file(const BackupRecord&, const EntryLookup&, std::shared_ptr<const void> place, const Responder&);
  void get_archive(const Request&, const Responder&, const PrincipalView&);
  // messages.cpp
  void chat(const Request&, const Responder&, const PrincipalView&);
  void history(const Request&, const Responder&, const PrincipalView&);
  void claim(const Request&, const Responder&, const PrincipalView&);
  struct Wait {
    std::int64_t left_ms = 0;
    std::shared_ptr<const void> place;  // among the session's claims
  };
  void await_claim(std::string id, int max, Wait wait, std::int64_t visibility_ms, const Responder&);
  void ack(const Request&, const Responder&, const PrincipalView&);
  // service.cpp
  void health(const Request&, const Responder&, const PrincipalView&);
  void ready(const Request&, const Responder&, const PrincipalView&);
  void metrics(const Request&, const Responder&, const PrincipalView&);
  void version(const Request&, const Responder&, const PrincipalView&);
  void openapi(const Request&, const Responder&, const PrincipalView&);
  void index(const Request&, const Responder&, const PrincipalView&);
  void events(const Request&, const Responder&, const PrincipalView&);
  void session_events(const Request&, const Responder&, const PrincipalView&);
  void stream(EventHub::Filter filter, const Request&, const Responder&);

  Engine& engine_;
  Clock& clock_;
  const Hooks hooks_;
  std::atomic<std::shared_ptr<State>> state_;
  std::atomic<bool> draining_{false};
  std::atomic<bool> loaded_{false};
  const ConcurrencyLimiter claims_{16};                                                       // of one session
  const std::shared_ptr<std::atomic<int>> readings_ = std::make_shared<std::atomic<int>>(0);  // of archives
  struct Rule {
    std::string method;
    Access access;
  };
  std::unordered_map<std::string, std::vector<Rule>> access_;  // by pattern; fixed once the routes are registered
};

}  // namespace roost::api
