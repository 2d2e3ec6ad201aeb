// ApiFixture: the API over a real engine in the simulator's world: requests go through the router and the gatekeeper as the
// server sends them, virtual time passes until they are answered. Thread safety: one thread.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/api.hpp"
#include "api/recording_stream.hpp"
#include "simulation/replica.hpp"
#include "simulation/simulator.hpp"
#include "simulation/world.hpp"

namespace roost::api {

inline constexpr const char* kAdmin = "admin-key-of-the-tests";
inline constexpr const char* kSessions = "sessions-key-of-the-tests";
inline constexpr const char* kRead = "read-key-of-the-tests";
inline constexpr const char* kAlice = "key-bound-to-alice";
inline constexpr const char* kAliceReads = "read-key-bound-to-alice";

struct Answer {
  int status = 0;  // 0: none came
  http::Headers headers;
  std::string body;
  std::shared_ptr<RecordingStream> stream;

  [[nodiscard]] Json json() const {
    auto parsed = Json::parse(body);
    return parsed.ok() ? *parsed : Json();
  }
  [[nodiscard]] std::string header(std::string_view name) const {
    for (const auto& [key, value] : headers) {
      if (key == name) return value;
    }
    return "";
  }
  [[nodiscard]] std::string detail() const { return json()["detail"].as_string(); }
};

// What the server keeps of a request that is under way.
class PendingAnswer : public http::Responder::Sink {
 public:
  void respond(http::Response response) override {
    EXPECT_EQ(answer.status, 0) << "answered twice: " << response.body;
    answer.status = response.status;
    answer.headers = std::move(response.headers);
    answer.body = std::move(response.body);
  }
  std::shared_ptr<http::Stream> stream(http::Response head) override {
    respond(std::move(head));
    answer.stream = std::make_shared<RecordingStream>();
    answer.stream->slow = slow;
    return answer.stream;
  }
  [[nodiscard]] bool open() const override { return is_open; }

  Answer answer;
  bool is_open = true;
  bool slow = false;  // the client reads only when the test says so
};

struct Call {
  std::string key = kAdmin;  // "": none
  std::string body;
  http::Headers headers;
  std::string peer = "192.0.2.1";
};

class ApiFixture : public testing::Test {
 protected:
  explicit ApiFixture(Rate rate = {}, Rate peer_failures = {1000, 1000}, EngineOptions engine = {});

  // Sends it and lets time pass until it is answered, for at most two virtual minutes.
  Answer call(const std::string& method, const std::string& target, const Call& with = {});
  Answer get(const std::string& target, const std::string& key = kAdmin) {
    return call("GET", target, {key, "", {}, "192.0.2.1"});
  }
  Answer post(const std::string& target, const std::string& body = "", const std::string& key = kAdmin) {
    return call("POST", target, {key, body, {}, "192.0.2.1"});
  }
  // Sends it, and no time passes.
  std::shared_ptr<PendingAnswer> send(const std::string& method, const std::string& target, const Call& with = {});
  void pass_ms(std::int64_t ms);
  template <class Condition>
  bool until(Condition condition, std::int64_t ms = 120'000) {
    const std::int64_t end_ns = simulator.monotonic_ns() + ms * 1'000'000;
    while (!condition()) {
      if (!simulator.step(end_ns)) return condition();
    }
    return true;
  }

  std::string create(const std::string& user = "john@example.com", bool running = true);
  bool until_phase(const std::string& id, Phase phase);
  [[nodiscard]] std::string workspace_token(const std::string& id);
  [[nodiscard]] static std::string workspace_token(const Session& session);

  simulation::Simulator simulator{7};
  simulation::World world;
  std::vector<AuditNote> audit;
  bool audit_fails = false;
  bool next_stream_is_slow = false;
  std::function<Result<std::string>(const std::string& archive, std::int64_t offset, std::int64_t length)> read_archive;
  std::unique_ptr<simulation::Replica> replica;
  simulation::SimulatedRandom random{simulator};
  std::unique_ptr<Api> api;
  http::Router router;
  http::Gatekeeper gatekeeper;

  Options options(Rate rate, Rate peer_failures) const;
};

}  // namespace roost::api
