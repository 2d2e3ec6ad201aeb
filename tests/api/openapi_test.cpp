// openapi.yaml against the routes, both ways, and against what the handlers really answer.
#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>

#include "api/api_fixture.hpp"

namespace roost::api {
namespace {

const Json& document() {
  static const Json parsed = *Json::parse(openapi_json(), {4 << 20, 64});
  return parsed;
}

const Json& resolve(const Json& node) {
  const Json* reference = node.find("$ref");
  if (reference == nullptr) return node;
  const Json* at = &document();
  std::string path = reference->as_string().substr(2);  // "#/a/b"
  for (std::size_t slash; !path.empty(); path.erase(0, slash == std::string::npos ? path.size() : slash + 1)) {
    slash = path.find('/');
    at = at->find(path.substr(0, slash));
    if (at == nullptr) {
      ADD_FAILURE() << reference->as_string() << " leads nowhere";
      return document();
    }
  }
  return *at;
}

// OpenAPI has no name for "the rest of the path".
std::string rest_as_segment(std::string pattern) {
  if (pattern.ends_with("{*}")) pattern.replace(pattern.size() - 3, 3, "{}");
  return pattern;
}

std::string shape(std::string path) {
  for (std::size_t open = 0; (open = path.find('{', open)) != std::string::npos; ++open) {
    path.replace(open, path.find('}', open) - open + 1, "{}");
  }
  return path;
}

bool has_type(const Json& value, std::string_view type) {
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "integer") return value.is_int();
  if (type == "boolean") return value.is_bool();
  return type == "null" && value.is_null();
}

// What of `value` the schema does not allow, or does not describe; empty: nothing.
class Checker {
 public:
  std::string faults;

  void check(const Json& given, const Json& value, const std::string& where) {
    const Json& schema = resolve(given);
    if (const Json* choices = schema.find("oneOf")) return one_of(*choices, value, where);
    check_type(schema, value, where);
    if (const Json* constant = schema.find("const"); constant && *constant != value) fault(where, "is not the constant");
    if (const Json* allowed = schema.find("enum")) {
      const auto& items = allowed->items();
      if (std::find(items.begin(), items.end(), value) == items.end())
        fault(where, "is not one of the listed values: " + value.dump());
    }
    if (value.is_object()) check_members(schema, value, where);
    if (const Json* items = schema.find("items"); items && value.is_array()) {
      for (const Json& item : value.items()) check(*items, item, where + "[]");
    }
  }

 private:
  void fault(const std::string& where, const std::string& what) { faults += where + " " + what + "\n"; }

  void one_of(const Json& choices, const Json& value, const std::string& where) {
    for (const Json& choice : choices.items()) {
      Checker inner;
      inner.check(choice, value, where);
      if (inner.faults.empty()) return;
    }
    fault(where, "fits none of oneOf: " + value.dump());
  }

  void check_type(const Json& schema, const Json& value, const std::string& where) {
    const Json* type = schema.find("type");
    if (type == nullptr) return;
    const bool fits = type->is_array() ? std::any_of(type->items().begin(), type->items().end(),
                                                     [&](const Json& one) { return has_type(value, one.as_string()); })
                                       : has_type(value, type->as_string());
    if (!fits) fault(where, "has another type: " + value.dump());
  }

  static void collect(const Json& given, std::set<std::string>& required, Json& properties) {
    const Json& schema = resolve(given);
    for (const Json& part : schema["allOf"].items()) collect(part, required, properties);
    for (const Json& name : schema["required"].items()) required.insert(name.as_string());
    for (const auto& [name, property] : schema["properties"].members()) properties.set(name, property);
  }

  void check_members(const Json& schema, const Json& value, const std::string& where) {
    std::set<std::string> required;
    Json properties = Json::object();
    collect(schema, required, properties);
    if (properties.members().empty()) return;  // free
    for (const std::string& name : required) {
      if (value.find(name) == nullptr) fault(where, "lacks " + name);
    }
    for (const auto& [name, member] : value.members()) {
      const Json* property = properties.find(name);
      if (property == nullptr)
        fault(where, "has the undocumented member " + name);
      else
        check(*property, member, where + "." + name);
    }
  }
};

class OpenApiTest : public ApiFixture {
 protected:
  // The answer is one that the description knows, for that path and method.
  void expect_described(const std::string& method, const std::string& path, const Answer& answer) {
    std::string lower = method;
    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    const Json& responses = document()["paths"][path][lower]["responses"];
    const Json* found = responses.find(std::to_string(answer.status));
    if (found == nullptr) found = responses.find("default");
    ASSERT_NE(found, nullptr) << method << " " << path << " answers " << answer.status << ", which is not described";
    const Json& content = resolve(*found)["content"];
    const std::string type = answer.header("content-type").substr(0, answer.header("content-type").find(';'));
    const Json* media = content.find(type);
    ASSERT_NE(media, nullptr) << method << " " << path << ": " << type << " is not described";
    if (type.find("json") == std::string::npos) return;
    Checker checker;
    checker.check((*media)["schema"], answer.json(), path);
    EXPECT_EQ(checker.faults, "") << answer.body;
  }
};

TEST_F(OpenApiTest, EveryRouteIsDescribedAndEveryDescriptionIsARoute) {
  std::set<std::string> routes, described;
  for (const http::Route& route : router.routes()) routes.insert(route.method + " " + rest_as_segment(route.pattern));
  for (const auto& [path, item] : document()["paths"].members()) {
    for (const auto& [method, operation] : item.members()) {
      if (method == "parameters") continue;
      std::string upper = method;
      std::transform(upper.begin(), upper.end(), upper.begin(),
                     [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
      described.insert(upper + " " + shape(path));
    }
  }
  EXPECT_EQ(routes, described);
}

TEST_F(OpenApiTest, TheDocumentationShowsEveryPath) {
  std::ifstream file(ROOST_SOURCE_DIR "/docs/api.md");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  for (const auto& [path, item] : document()["paths"].members()) {
    const auto close = path.rfind('}');
    const std::string tail = close == std::string::npos ? path : path.substr(close + 1);
    const std::string shown = tail.empty() ? path.substr(0, path.rfind('{')) : tail;  // "/ack", "/operations/"
    EXPECT_NE(text.find(shown), std::string::npos) << path << " is not in docs/api.md";
  }
}

TEST_F(OpenApiTest, OperationIdsAreUniqueAndReferencesLeadSomewhere) {
  std::set<std::string> ids;
  for (const auto& [path, item] : document()["paths"].members()) {
    for (const auto& [method, operation] : item.members()) {
      if (method == "parameters") continue;
      EXPECT_TRUE(ids.insert(operation["operationId"].as_string()).second) << operation["operationId"].as_string();
      EXPECT_FALSE(operation["summary"].as_string().empty()) << path;
      for (const Json& parameter : operation["parameters"].items()) EXPECT_TRUE(resolve(parameter).find("name")) << path;
    }
  }
  const auto walk = [](const auto& self, const Json& node) -> void {
    (void)resolve(node);
    for (const auto& [name, member] : node.members()) self(self, member);
    for (const Json& item : node.items()) self(self, item);
  };
  walk(walk, document());
}

TEST_F(OpenApiTest, OpenPathsAreThoseThatNeedNoKey) {
  for (const auto& [path, item] : document()["paths"].members()) {
    const Json* get_item = item.find("get");
    if (get_item == nullptr || path.find('{') != std::string::npos) continue;
    const Json* security = get_item->find("security");
    EXPECT_EQ(get(path, "").status == 401, security == nullptr) << path;
  }
}

TEST_F(OpenApiTest, WhatTheHandlersAnswerIsAsDescribed) {
  const Answer made = post("/session/create", R"({"user_id":"u"})");
  expect_described("POST", "/session/create", made);
  const std::string id = made.json()["uuid"].as_string(), at = "/session/" + id;
  expect_described("POST", "/session/create", post("/session/create?dry_run=1", R"({"user_id":"u"})"));
  expect_described("POST", "/session/create", post("/session/create", "{"));
  expect_described("GET", "/session/{uuid}", get(at));
  ASSERT_TRUE(until_phase(id, Phase::running));
  expect_described("GET", "/session/{uuid}", get(at));
  expect_described("GET", "/session/{uuid}/status", get(at + "/status"));
  expect_described("GET", "/session/{uuid}/status", get("/session/00000000/status"));
  expect_described("GET", "/sessions", get("/sessions"));
  expect_described("GET", "/session/{uuid}/access", get(at + "/access"));
  expect_described("POST", "/session/{uuid}/scale", post(at + "/scale", R"({"scale":"up"})"));
  expect_described("POST", "/session/{uuid}/sleep", post(at + "/sleep"));
  expect_described("POST", "/session/{uuid}/wake", post(at + "/wake?dry_run=1"));
  expect_described("POST", "/session/{uuid}/chat", post(at + "/chat", R"({"message":"m"})"));
  const Answer claimed = post(at + "/messages/claim", "{}");
  expect_described("POST", "/session/{uuid}/messages/claim", claimed);
  const std::string message = claimed.json()["messages"].items().at(0)["id"].as_string();
  expect_described("POST", "/session/{uuid}/messages/{id}/ack", post(at + "/messages/" + message + "/ack", R"({"reply":[1]})"));
  expect_described("GET", "/session/{uuid}/messages", get(at + "/messages"));
  expect_described("GET", "/events", get("/events"));
  expect_described("GET", "/session/{uuid}/events", get(at + "/events"));
  ASSERT_TRUE(until_phase(id, Phase::running));
  expect_described("POST", "/session/{uuid}/backups", post(at + "/backups?dry_run=1"));
  const Answer backup = post(at + "/backups");
  ASSERT_EQ(backup.status, 202) << backup.body;
  expect_described("POST", "/session/{uuid}/backups", backup);
  expect_described("POST", "/session/{uuid}/backups", post(at + "/backups"));
  expect_described("GET", "/operations/{id}", get(backup.json()["operation"].as_string()));
  ASSERT_EQ(get(backup.json()["operation"].as_string()).status, 200);
  for (int i = 0; i < 600 && !get(backup.json()["operation"].as_string()).json()["done"].as_bool(); ++i) pass_ms(1'000);
  const std::string backup_id = get(backup.json()["operation"].as_string()).json()["backup"]["id"].as_string();
  expect_described("POST", "/session/{uuid}/restore", post(at + "/restore", R"({"backup_id":")" + backup_id + R"("})"));
  post(at + "/sleep");
  ASSERT_TRUE(until_phase(id, Phase::asleep));
  expect_described("POST", "/session/{uuid}/restore", post(at + "/restore?dry_run=1", R"({"backup_id":")" + backup_id + R"("})"));
  const Answer restoring = post(at + "/restore", R"({"backup_id":")" + backup_id + R"("})");
  ASSERT_EQ(restoring.status, 202) << restoring.body;
  expect_described("POST", "/session/{uuid}/restore", restoring);
  for (int i = 0; i < 600 && !get(restoring.json()["operation"].as_string()).json()["done"].as_bool(); ++i) pass_ms(1'000);
  expect_described("GET", "/operations/{id}", get(restoring.json()["operation"].as_string()));
  expect_described("GET", "/session/{uuid}", get(at));
  EXPECT_EQ(get(at).json()["kept_volumes"].items().size(), 1u);
  expect_described("POST", "/backups/{id}/restore", post("/backups/" + backup_id + "/restore?dry_run=1"));
  const Answer remade = post("/backups/" + backup_id + "/restore");
  ASSERT_EQ(remade.status, 201) << remade.body;
  expect_described("POST", "/backups/{id}/restore", remade);
  expect_described("POST", "/backups/{id}/restore", post("/backups/none/restore"));
  world.user_writes(id);
  const Answer begun = call("DELETE", at, {kAdmin, "", {{"prefer", "respond-async"}}, "p"});
  expect_described("DELETE", "/session/{uuid}", begun);
  expect_described("GET", "/session/{uuid}", get(at));
  expect_described("GET", "/operations/{id}", get(begun.json()["operation"].as_string()));
  expect_described("DELETE", "/session/{uuid}", call("DELETE", at));
  expect_described("GET", "/operations/{id}", get(begun.json()["operation"].as_string()));
  const Answer backups = get(at + "/backups");
  expect_described("GET", "/session/{uuid}/backups", backups);
  const std::string saved = backups.json()["backups"].items().at(0)["id"].as_string();
  expect_described("GET", "/backups", get("/backups"));
  expect_described("GET", "/backups/{id}", get("/backups/" + saved));
  expect_described("GET", "/backups/{id}", get("/backups/00000000-20251115T035136Z"));
  expect_described("GET", "/backups/strangers", get("/backups/strangers"));
  expect_described("POST", "/backups/{id}/hold", post("/backups/" + saved + "/hold", R"({"reason":"r"})"));
  expect_described("DELETE", "/backups/{id}/hold", call("DELETE", "/backups/" + saved + "/hold"));
  expect_described("POST", "/backups/{id}/verify", post("/backups/" + saved + "/verify"));
  expect_described("DELETE", "/backups/{id}", call("DELETE", "/backups/" + saved));
  expect_described("DELETE", "/backups/{id}", call("DELETE", "/backups/" + saved + "?override=true"));
  for (const char* path : {"/health", "/ready", "/metrics", "/version", "/openapi.json", "/"})
    expect_described("GET", path, get(path, ""));
}

}  // namespace
}  // namespace roost::api
