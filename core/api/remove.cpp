#include <algorithm>
#include <charconv>

#include "api/bodies.hpp"
#include "api/impl.hpp"

namespace roost::api {
namespace {

http::Response no_operation(const std::string& id) { return http::problem(404, "there is no operation " + id); }
http::Response terminated(const Tombstone& tombstone) { return http::Response::json(200, terminated_body(tombstone)); }

// What an admin may ask of a delete. INVALID where the query says something else.
Result<DeleteOptions> delete_options(const http::Request& request) {
  DeleteOptions options;
  const std::string backup = request.query_parameter("backup");
  if (!backup.empty() && backup != "skip") {
    return Error{Code::invalid, "the query parameter backup must be \"skip\" or absent; a backup is made by default", 0};
  }
  options.skip_backup = backup == "skip";
  ROOST_TRY(options.override_losses, query_flag(request, "accept_losses"));
  return options;
}

// RFC 7240: "respond-async" does not wait, "wait=N" waits N seconds; a preference that means nothing is ignored.
std::int64_t preferred_wait_ms(std::string_view prefer, std::int64_t longest_ms) {
  if (prefer.find("respond-async") != std::string_view::npos) return 0;
  const std::size_t at = prefer.find("wait=");
  if (at == std::string_view::npos) return longest_ms;
  std::int64_t seconds = 0;
  const auto [stop, error] = std::from_chars(prefer.data() + at + 5, prefer.data() + prefer.size(), seconds);
  if (error != std::errc{} || seconds < 0) return longest_ms;
  return std::min(seconds, longest_ms / 1000) * 1000;
}

// What is given up, by name: `view` may be null.
Json losses_of(const SessionView& view) {
  if (!view || !view->session.operation || !view->session.operation->receipt) return Json::array();
  return to_json(*view->session.operation->receipt)["skipped"];
}

AuditNote audit_note(const PrincipalView& who, const std::string& id, const SessionView& view, const DeleteOptions& what,
                     std::string_view outcome) {
  AuditNote note{who->name, "session.delete", id, std::string(outcome), Json::object()};
  if (what.skip_backup)
    note.action = "session.delete.skip_backup";
  else if (what.override_losses)
    note.action = "session.delete.accept_losses";
  note.details.set("skip_backup", what.skip_backup).set("accept_losses", what.override_losses);
  if (what.override_losses) note.details.set("losses", losses_of(view));
  note.durable = true;
  return note;
}

}  // namespace

void Api::Impl::remove(const Request& request, const Responder& respond, const PrincipalView& who) {
  const std::string id = request.parameters[0];
  if (!valid_session_id(id)) return (void)visible(request, respond, who);  // answers the 404
  Body body = read_body(request);
  if (body.refusal) return respond(*std::move(body.refusal));
  const auto what = delete_options(request);
  if (!what.ok()) return respond(http::problem(what.error()));
  const std::int64_t wait_ms = preferred_wait_ms(request.header("prefer"), state_.load()->options.delete_wait_ms);
  auto options = command_options(request, who->name);
  if (!options.ok()) return respond(http::problem(options.error()));

  const SessionView view = engine_.reads().find(id);
  const bool overrides = what->skip_backup || what->override_losses;
  if (overrides && !who->may(Scope::admin)) {
    (void)audit(audit_note(who, id, view, *what, "refused"));
    return respond(http::problem(403, "backup=skip and accept_losses give up data: they need a key with the scope admin"));
  }
  if (view) {
    if (!who->sees(view->session.user_id)) return respond(not_found(id));
  } else if (!who->user.empty()) {  // whose it was is known from its tombstone only: look before anything is done
    return engine_.find_tombstone(id, [id, respond, who](Result<Tombstone> found) {
      if (!found.ok() && found.error().code != Code::not_found) return respond(failure(found.error()));
      respond(found.ok() && who->sees(found->user_id) ? terminated(*found) : not_found(id));
    });
  }
  if (!options->dry_run) {
    const Status recorded = audit(audit_note(who, id, view, *what, "accepted"));
    if (overrides && !recorded.ok()) {
      return respond(
          http::problem(503, "the audit trail cannot be written, so data is not given up: " + recorded.error().message));
    }
  }
  begin_remove(id, *what, *std::move(options), wait_ms, respond, who);
}

void Api::Impl::begin_remove(std::string id, DeleteOptions what, CommandOptions options, std::int64_t wait_ms,
                             const Responder& respond, const PrincipalView& who) {
  const bool dry_run = options.dry_run;
  engine_.remove(id, what, std::move(options), [this, id, dry_run, wait_ms, respond, who](Result<Engine::DeleteAnswer> begun) {
    if (!begun.ok()) return respond(begun.error().code == Code::not_found ? not_found(id) : failure(begun.error()));
    if (begun->tombstone) return respond(who->sees(begun->tombstone->user_id) ? terminated(*begun->tombstone) : not_found(id));
    if (dry_run) {
      Json body = terminating_body(begun->session->session, begun->operation);
      body.remove("operation");
      return respond(
          http::Response::json(200, body.set("dry_run", true).set("message", "The session would be backed up and deleted")));
    }
    await_removed(id, begun->operation, wait_ms, respond);
  });
}

// Waits in slices, so that a shutdown or a client that went away ends it.
void Api::Impl::await_removed(std::string id, Operation operation, std::int64_t wait_ms, const Responder& respond) {
  if (wait_ms <= 0 || draining_ || !respond.open()) return answer_removing(id, operation, respond);
  const std::int64_t slice_ms = std::min(wait_ms, kSliceMs);
  engine_.wait_deleted(id, slice_ms, [this, id, operation, wait_ms, slice_ms, respond](Result<Tombstone> deleted) {
    if (deleted.ok()) return respond(terminated(*deleted));
    await_removed(id, operation, deleted.error().code == Code::deadline ? wait_ms - slice_ms : 0, respond);
  });
}

void Api::Impl::answer_removing(const std::string& id, const Operation& operation, const Responder& respond) {
  const SessionView view = engine_.reads().find(id);
  if (!view) {  // it ended in this moment
    return engine_.find_tombstone(
        id, [respond](Result<Tombstone> found) { respond(found.ok() ? terminated(*found) : failure(found.error())); });
  }
  const Operation& now = view->session.operation ? *view->session.operation : operation;
  http::Response response = http::Response::json(202, terminating_body(view->session, now));
  response.headers.emplace_back("location", "/operations/" + now.id);
  response.headers.emplace_back("retry-after", "5");
  respond(std::move(response));
}

void Api::Impl::operation(const Request& request, const Responder& respond, const PrincipalView& who) {
  const std::string id = request.parameters[0];
  if (!valid_session_id(id)) return respond(http::problem(404, "that is not an operation's id: it has 8 digits, 0-9 and a-f"));
  engine_.find_operation(id, [id, respond, who](const Result<Json>& found) {
    if (!found.ok()) return respond(found.error().code == Code::not_found ? no_operation(id) : failure(found.error()));
    auto operation = operation_from_json(*found);
    if (!operation.ok()) return respond(failure(operation.error()));
    if (!who->sees((*found)["user_id"].as_string())) return respond(no_operation(id));
    Json body = operation_json((*found)["session_id"].as_string(), *operation).set("progress", (*found)["progress"]);
    respond(http::Response::json(200, body));
  });
}

}  // namespace roost::api
