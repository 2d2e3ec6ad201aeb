// The bodies of the client guide, member for member and in its order.
#include <gmock/gmock.h>

#include "api/api_fixture.hpp"

namespace roost::api {
namespace {

using testing::MatchesRegex;

constexpr const char* kTime = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{6}";

class GuideTest : public ApiFixture {};

TEST_F(GuideTest, Create) {
  const Answer made = post("/session/create", R"({"user_id": "john@example.com"})");
  EXPECT_EQ(made.status, 201);
  EXPECT_EQ(made.header("content-type"), "application/json");
  const std::string id = made.json()["uuid"].as_string();
  EXPECT_TRUE(valid_session_id(id));
  EXPECT_THAT(made.body, MatchesRegex("\\{\"uuid\":\"" + id +
                                      "\",\"user_id\":\"john@example\\.com\",\"status\":\"created\",\"created_at\":\"" + kTime +
                                      "\",\"workspace_url\":\"http://vs-code-" + id + "\\.localhost:8080\"\\}\n"));
  EXPECT_EQ(made.header("location"), "/session/" + id);
}

TEST_F(GuideTest, Status) {
  const std::string id = create();
  const Answer status = get("/session/" + id + "/status");
  EXPECT_EQ(status.status, 200);
  EXPECT_THAT(status.body,
              MatchesRegex("\\{\"uuid\":\"" + id +
                           "\",\"session\":\\{\"user_id\":\"john@example\\.com\",\"status\":\"created\",\"created_at\":\"" +
                           kTime + "\",\"last_activity\":\"" + kTime + "\"\\},\"replicas\":1,\"queue_length\":0\\}\n"));
}

TEST_F(GuideTest, SleepThenWake) {
  const std::string id = create();
  const Answer slept = post("/session/" + id + "/sleep");
  EXPECT_EQ(slept.status, 200);
  EXPECT_EQ(slept.body,
            "{\"uuid\":\"" + id + "\",\"action\":\"sleep\",\"status\":\"sleeping\",\"message\":\"Pod queued for sleep\"}\n");
  ASSERT_TRUE(until_phase(id, Phase::asleep));
  const Json asleep = get("/session/" + id + "/status").json();
  EXPECT_EQ(asleep["replicas"].as_int(-1), 0);
  EXPECT_EQ(asleep["session"]["status"].as_string(), "sleeping");
  const Answer woken = post("/session/" + id + "/wake", "{}");
  EXPECT_EQ(woken.status, 200);
  EXPECT_EQ(woken.body, "{\"uuid\":\"" + id + "\",\"action\":\"wake\",\"status\":\"waking\"}\n");
  EXPECT_EQ(get("/session/" + id + "/status").json()["session"]["status"].as_string(), "waking");
  ASSERT_TRUE(until_phase(id, Phase::running));
  EXPECT_EQ(get("/session/" + id + "/status").json()["replicas"].as_int(), 1);
}

TEST_F(GuideTest, Scale) {
  const std::string id = create();
  EXPECT_EQ(post("/session/" + id + "/scale", R"({"scale": "up"})").body,
            "{\"uuid\":\"" + id + "\",\"action\":\"scale_up\",\"status\":\"success\",\"message\":\"Pod scaled up\"}\n");
  EXPECT_EQ(get("/session/" + id).json()["wanted"]["size"]["cpu_millis"].as_int(), 2000);
  EXPECT_EQ(post("/session/" + id + "/scale", R"({"scale": "down"})").body,
            "{\"uuid\":\"" + id + "\",\"action\":\"scale_down\",\"status\":\"success\",\"message\":\"Pod scaled down\"}\n");
  EXPECT_EQ(get("/session/" + id).json()["wanted"]["size"]["cpu_millis"].as_int(), 1000);
}

TEST_F(GuideTest, Chat) {
  const std::string id = create();
  const Answer first = post("/session/" + id + "/chat", R"({"message": "Hello!"})");
  EXPECT_EQ(first.status, 200);
  EXPECT_THAT(first.body, MatchesRegex("\\{\"uuid\":\"" + id +
                                       "\",\"status\":\"queued\",\"message_id\":\"[0-9a-f]{16}\",\"queue_length\":1\\}\n"));
  EXPECT_EQ(post("/session/" + id + "/chat", R"({"message": "Again"})").json()["queue_length"].as_int(), 2);
}

TEST_F(GuideTest, DeleteWaitsForTheBackupAndAnswersTerminated) {
  const std::string id = create();
  world.user_writes(id);
  const Answer deleted = call("DELETE", "/session/" + id);
  EXPECT_EQ(deleted.status, 200) << deleted.body;
  EXPECT_EQ(
      deleted.body.find("{\"uuid\":\"" + id + "\",\"status\":\"terminated\",\"message\":\"Session and all resources deleted\""),
      0u)
      << deleted.body;
  EXPECT_TRUE(deleted.json()["backup"]["verified_at"].is_string());
  EXPECT_TRUE(world.violations.empty());
}

TEST_F(GuideTest, SessionsHealthAndMetrics) {
  const std::string id = create();
  const Json listed = get("/sessions").json();
  EXPECT_EQ(listed["count"].as_int(), 1);
  EXPECT_EQ(listed["sessions"].items()[0]["uuid"].as_string(), id);
  EXPECT_TRUE(listed.find("next_cursor") != nullptr && listed["next_cursor"].is_null());
  EXPECT_EQ(get("/health", "").status, 200);
  EXPECT_EQ(get("/metrics", "").status, 200);
  EXPECT_EQ(get("/metrics", "").header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
}

TEST_F(GuideTest, TheNodeClientsEmptyObjectIsABody) {
  const std::string id = create();
  const Call axios{kAdmin, "{}", {{"content-type", "application/json"}}, "192.0.2.1"};
  EXPECT_EQ(call("POST", "/session/" + id + "/sleep", axios).status, 200);
  EXPECT_EQ(call("POST", "/session/" + id + "/wake", axios).status, 200);
}

}  // namespace
}  // namespace roost::api
