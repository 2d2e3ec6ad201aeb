#include "daemon/workspaces.hpp"

#include <gtest/gtest.h>

namespace roost::daemon {
namespace {

using gateway::Workspace;

TEST(WorkspaceOf, FollowsWhatIsWantedAndObserved) {
  Session session;
  session.wanted = Wanted::running;
  session.phase = Phase::starting;
  EXPECT_EQ(workspace_of(session).state, Workspace::State::starting);
  session.observed.ready = true;
  EXPECT_EQ(workspace_of(session).state, Workspace::State::starting);
  session.observed.endpoint = "unix:/x";
  EXPECT_EQ(workspace_of(session).state, Workspace::State::ready);
  EXPECT_EQ(workspace_of(session).endpoint, "unix:/x");
  session.wanted = Wanted::asleep;
  EXPECT_EQ(workspace_of(session).state, Workspace::State::asleep);
  session.phase = Phase::volume_lost;
  EXPECT_EQ(workspace_of(session).state, Workspace::State::unavailable);
  session.phase = Phase::running;
  session.wanted = Wanted::deleted;
  EXPECT_EQ(workspace_of(session).state, Workspace::State::unavailable);
}

}  // namespace
}  // namespace roost::daemon
