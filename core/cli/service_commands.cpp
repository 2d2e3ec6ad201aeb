#include <curl/curl.h>

#include <cstdlib>

#include "cli/commands.hpp"
#include "cli/text.hpp"
#include "cli/url.hpp"

namespace roost::cli {
namespace {

constexpr std::int64_t kSkewS = 5;  // a Date header is a second old at most, and has taken its way

// What `doctor` found: each with a word for how good it is.
class Findings {
 public:
  enum class Grade { ok, warning, error };
  void add(const char* check, Grade grade, const std::string& detail) {
    const char* word = grade == Grade::ok ? "ok" : grade == Grade::warning ? "warning" : "error";
    list_.push(Json::object({{"check", check}, {"result", word}, {"detail", detail}}));
  }
  void show(Run& run) const {
    const Json json = Json::object({{"checks", list_}});
    run.show(
        {200, json.dump() + "\n", json}, [&] { return std::string(); },
        [&](const Style& style) {
          Table table({{"CHECK"}, {"RESULT"}, {"DETAIL", Table::Fit::cut}});
          table.tone_column(1);
          for (const Json& finding : list_.items()) {
            table.add({finding["check"].as_string(), finding["result"].as_string(), finding["detail"].as_string()});
          }
          return table.text({0, style.colour});  // a detail says what to do: it is not cut
        });
  }

 private:
  Json list_ = Json::array();
};
using Grade = Findings::Grade;

Result<HttpResponse> ask(Client& client, const char* method, const std::string& target) {
  HttpRequest request;
  request.method = method;
  request.target = target;
  request.timeout_ms = 10'000;
  return client.call(std::move(request), Repeat::once);
}

void check_clock(const HttpResponse& answer, Findings& findings) {
  const std::string& date = answer.header("date");
  const auto there_s = date.empty() ? -1 : static_cast<std::int64_t>(curl_getdate(date.c_str(), nullptr));
  if (there_s < 0) return findings.add("clock", Grade::warning, "the server's answers have no date");
  const std::int64_t skew_s = std::llabs(system_clock().wall_us() / 1'000'000 - there_s);
  if (skew_s <= kSkewS) return findings.add("clock", Grade::ok, "like the server's");
  findings.add("clock", Grade::warning,
               "differs from the server's by " + human_seconds(skew_s) + ": times and time-outs mislead");
}

void check_version(const HttpResponse& answer, Findings& findings) {
  const auto json = Json::parse(answer.body);
  const std::string there = json.ok() ? (*json)["version"].as_string() : "";
  if (answer.status != 200 || there.empty())
    return findings.add("version", Grade::error, "/version answers otherwise than Roost: is the address right?");
  if (there == ROOST_VERSION) return findings.add("version", Grade::ok, there + ", here and there");
  findings.add("version", Grade::warning, "here " ROOST_VERSION ", there " + there + ": newer commands may be refused");
}

Status check_ready(Run& run, Client& client, Findings& findings) {
  const auto answer = ask(client, "GET", "/ready");
  Status status;
  if (!answer.ok())
    status = answer.error();
  else if (answer->status != 200)
    status = run.refusal(*answer);
  findings.add("ready", status.ok() ? Grade::ok : Grade::error, status.ok() ? "yes" : "not ready: " + status.error().message);
  return status;
}

// The scope comes before everything else, so a dry run of nothing tells it: a session of this id cannot be.
Status check_key(Run& run, Client& client, const Run::Target& target, Findings& findings) {
  if (target.key.empty()) {
    findings.add("key", Grade::error, "none: give one with --key-file, ROOST_API_KEY or a context");
    return Error{Code::denied, "there is no API key", 0};
  }
  const auto reads = ask(client, "GET", "/sessions?limit=1");
  if (!reads.ok()) return reads.error();
  if (reads->status != 200) {
    const Error error = run.refusal(*reads);
    findings.add("key", Grade::error, "of " + target.key_source + ": " + error.message);
    return error;
  }
  const auto acts = ask(client, "POST", "/session/00000000/sleep?dry_run=true");
  if (!acts.ok()) return acts.error();
  const bool may = acts->status != 403;
  findings.add("key", Grade::ok, "of " + target.key_source + ": may " + (may ? "read and change sessions" : "only read"));
  if (target.url.starts_with("http://") && !is_loopback(target.url)) {
    findings.add("transport", Grade::warning, "http:// shows the key to everybody on the way: use https://");
  }
  return {};
}

}  // namespace

Status version(Run& run) {
  Json json = Json::object({{"client", Json::object({{"name", "roostctl"}, {"version", ROOST_VERSION}})}});
  Status reached;
  if (!run.options().client_only) {
    const auto server = run.get("/version");
    json.set("server", server.ok() ? server->json : Json());
    if (!server.ok()) reached = server.error();
  }
  run.show(
      {200, json.dump() + "\n", json}, [] { return std::string(ROOST_VERSION "\n"); },
      [&](const Style&) {
        std::string text = "roostctl " ROOST_VERSION "\n";
        if (json["server"].is_object())
          text += printable(json["server"]["name"].as_string() + " " + json["server"]["version"].as_string()) + "\n";
        return text;
      });
  return reached;
}

Status doctor(Run& run) {
  ROOST_TRY(const Run::Target target, run.target());
  ROOST_TRY(Client* const client, run.client());
  Findings findings;
  const auto answer = ask(*client, "GET", "/version");
  if (!answer.ok()) {
    findings.add("server", Grade::error, target.url + " (" + target.url_source + "): " + answer.error().message);
    findings.show(run);
    return answer.error();
  }
  findings.add("server", Grade::ok, target.url + " (" + target.url_source + ")");
  check_version(*answer, findings);
  check_clock(*answer, findings);
  const Status ready = check_ready(run, *client, findings);
  const Status key = check_key(run, *client, target, findings);
  findings.show(run);
  return key.ok() ? ready : key;
}

}  // namespace roost::cli
