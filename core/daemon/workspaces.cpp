#include "daemon/workspaces.hpp"

namespace roost::daemon {

using gateway::Workspace;
using gateway::Workspaces;

Workspace workspace_of(const Session& session) {
  Workspace workspace;
  const bool deleting =
      session.wanted == Wanted::deleted || session.phase == Phase::deleting || session.phase == Phase::delete_blocked;
  if (deleting) {
    workspace.state = Workspace::State::unavailable;
    workspace.reason = "It is being deleted; its files are backed up first.";
  } else if (session.phase == Phase::volume_lost) {
    workspace.state = Workspace::State::unavailable;
    workspace.reason = "Its disk is missing. Nothing was made in its place; whoever runs Roost for you must look at it.";
  } else if (session.wanted == Wanted::asleep) {
    workspace.state = Workspace::State::asleep;
  } else if (session.observed.ready && !session.observed.endpoint.empty()) {
    workspace.state = Workspace::State::ready;
    workspace.endpoint = session.observed.endpoint;
  } else {
    workspace.state = Workspace::State::starting;
    if (session.phase == Phase::failed)
      workspace.reason = "It did not start yet, and is tried again: " + session.reason + " " + session.message;
  }
  return workspace;
}

Workspaces engine_workspaces(Engine& engine, LoginSecret secret) {
  Workspaces workspaces;
  workspaces.lookup = [&engine, secret = std::move(secret)](const std::string& id) -> std::optional<Workspace> {
    const SessionView view = engine.reads().find(id);
    Session nobody;
    nobody.id = id;
    // Made for a session that does not exist too, so that the time tells nothing.
    std::string login_secret = secret(view == nullptr ? nobody : view->session);
    if (view == nullptr) return std::nullopt;
    Workspace workspace = workspace_of(view->session);
    workspace.login_secret = std::move(login_secret);
    return workspace;
  };
  workspaces.wake = [&engine](const std::string& id) {
    CommandOptions options;
    options.actor = "visitor";
    engine.wake(id, std::move(options), [](const Result<SessionView>&) {});  // its outcome shows in what lookup says next
  };
  workspaces.touch = [&engine](const std::string& id) { engine.touch(id); };
  return workspaces;
}

}  // namespace roost::daemon
