#include "cli/run.hpp"

#include <sys/stat.h>

#include <algorithm>

#include "cli/interrupt.hpp"
#include "cli/text.hpp"
#include "cli/url.hpp"

namespace roost::cli {
namespace {

constexpr const char* kDefaultUrl = "http://127.0.0.1:8080";
constexpr std::size_t kLongestDetail = 4096;

std::string with_newline(std::string text) {
  if (!text.ends_with('\n')) text += '\n';
  return text;
}

std::string first_of(std::initializer_list<std::string> texts) {
  for (const std::string& text : texts) {
    if (!text.empty()) return text;
  }
  return "";
}

// As the contract's problems are (RFC 9457), for what no server said.
std::string own_problem(const Error& error) {
  return Json::object(
             {{"type", "about:blank"}, {"title", std::string(to_string(error.code))}, {"status", 0}, {"detail", error.message}})
             .dump() +
         "\n";
}

}  // namespace

Run::Run(const Options& options, Environment environment, Terminal terminal)
    : options_(options), environment_(std::move(environment)), terminal_(terminal) {}
Run::~Run() = default;

Result<Run::Target> Run::target() {
  if (!target_) {
    ROOST_TRY(target_, find_target());
  }
  return *target_;
}

Result<Run::Target> Run::find_target() {
  const std::string path = contexts_path(environment_);
  ROOST_TRY(const ContextsFile file, read_contexts(path));
  const std::string name = options_.context.empty() ? file.contexts.current : options_.context;
  const auto found = file.contexts.entries.find(name);
  if (!name.empty() && found == file.contexts.entries.end()) {
    return Error{Code::invalid, "there is no context \"" + printable(name) + "\"; `roostctl config list` shows those there are",
                 0};
  }
  const ContextEntry entry = name.empty() ? ContextEntry{} : found->second;
  Target target;
  const std::string env_url = variable("ROOST_URL");
  const std::string url = first_of({options_.url, env_url, entry.url, kDefaultUrl});
  target.url_source = !options_.url.empty() ? "--url"
                      : !env_url.empty()    ? "ROOST_URL"
                      : !entry.url.empty()  ? "context " + name
                                            : "the default";
  ROOST_TRY(target.url, base_url(url));
  bool at_home = false;
  if (!entry.url.empty()) {
    ROOST_TRY(const std::string home, base_url(entry.url));
    at_home = home == target.url;
  }
  target.ca_file = first_of({options_.ca_file, at_home ? entry.ca_file : ""});
  if (file.exposed) note("warning: " + path + " holds a key and others may read it: chmod 600 it, and think of a new key");
  ROOST_CHECK(find_key(target, entry, {name, path, at_home, file.exposed}));
  return target;
}

// A context that this very command names is nearer than the environment.
std::string Run::variable(const char* name) const {
  return options_.context.empty() ? environment_(name).value_or("") : std::string();
}

Status Run::find_key(Target& target, const ContextEntry& entry, const ContextState& state) {
  if (options_.key_file == "-") {
    target.key_source = "standard input";
    ROOST_TRY(const std::string typed, terminal_.ask("API key for " + target.url + ": ", Terminal::Echo::off));
    ROOST_TRY(target.key, checked_key(typed, target.key_source));
    return {};
  }
  if (!options_.key_file.empty()) {
    target.key_source = "--key-file";
    ROOST_TRY(target.key, read_key_file(options_.key_file));
    return {};
  }
  if (const std::string key = variable("ROOST_API_KEY"); !key.empty()) {
    target.key_source = "ROOST_API_KEY";
    ROOST_TRY(target.key, checked_key(key, target.key_source));
    return {};
  }
  if (entry.key.empty() && entry.key_file.empty() && entry.key_env.empty()) return {};
  target.key_source = "context " + state.name;
  if (!state.at_home) {
    note("the key of the context " + state.name + " is for " + entry.url + " and is not sent to " + target.url +
         "; give one with --key-file");
  } else if (!entry.key.empty()) {
    if (state.exposed)
      return Error{Code::invalid, "the key in " + state.path + " is not used while others may read it: chmod 600 it", 0};
    target.key = entry.key;
  } else if (!entry.key_file.empty()) {
    ROOST_TRY(target.key, read_key_file(entry.key_file));
  } else {
    ROOST_TRY(target.key, checked_key(environment_(entry.key_env).value_or(""), "the variable " + entry.key_env));
  }
  return {};
}

Result<Client*> Run::client() {
  if (client_) return client_.get();
  ROOST_TRY(const Target where, target());
  http_ = std::make_unique<Http>(HttpSettings{where.url, where.key, where.ca_file});
  client_ = std::make_unique<Client>(*http_, system_clock(), system_random(), [this](const std::string& text) { note(text); });
  if (options_.timeout_ms > 0) client_->set_deadline(now_ns() + options_.timeout_ms * 1'000'000);
  return client_.get();
}

Error Run::refusal(const HttpResponse& response) {
  refused_ = response;
  const auto json = Json::parse(response.body, {kMaxBody, 64});
  std::string detail = json.ok() ? (*json)["detail"].as_string() : "";
  if (detail.empty() && json.ok()) detail = (*json)["title"].as_string();
  if (detail.empty()) detail = "the server answered HTTP " + std::to_string(response.status) + " without a reason";
  if (detail.size() > kLongestDetail) detail = cut(detail, kLongestDetail);
  if (response.status >= 300 && response.status < 400) detail += "; a redirect is not followed: is the address right?";
  return {code_of_status(response.status), detail, retry_after_ms(response.header("retry-after"), system_clock().wall_us())};
}

Result<Document> Run::document_of(const HttpResponse& response) {
  refused_.reset();
  if (response.status < 200 || response.status > 299) return refusal(response);
  auto json = Json::parse(response.body, {kMaxBody, 64});
  if (!json.ok() || !json->is_object()) {
    return Error{Code::data_loss,
                 http_->base() + " did not answer as Roost does (" + (json.ok() ? "not a JSON object" : json.error().message) +
                     "): is the address right?",
                 0};
  }
  return Document{response.status, response.body, *std::move(json)};
}

Result<Document> Run::send(HttpRequest request, Repeat repeat) {
  ROOST_TRY(Client* const connection, client());
  ROOST_TRY(const HttpResponse response, connection->call(std::move(request), repeat));
  return document_of(response);
}

Result<Document> Run::get(const std::string& target) {
  HttpRequest request;
  request.target = target;
  return send(std::move(request), Repeat::safe);
}

Result<Document> Run::act(const std::string& method, const std::string& target, const Json& body) {
  ROOST_TRY(Client* const connection, client());
  HttpRequest request;
  request.method = method;
  request.target = target;
  if (!body.is_null()) request.body = body.dump();
  request.headers.push_back(options_.idempotency_key.empty() ? connection->idempotency_header()
                                                             : "Idempotency-Key: " + options_.idempotency_key);
  return send(std::move(request), Repeat::safe);
}

void Run::show_json(const std::string& text) {
  const std::string shown = with_newline(terminal_.out_is_tty ? printable_json(text) : text);
  if (drawing_)
    *drawing_ += shown;
  else
    terminal_.out(shown);
}

void Run::show(const Document& document, const std::function<std::string()>& names,
               const std::function<std::string(const Style&)>& human) {
  if (options_.form == Form::json) return show_json(document.text);
  const std::string text = options_.form == Form::name ? names() : human(terminal_.style());
  if (drawing_)
    *drawing_ += text;
  else
    terminal_.out(text);
}

void Run::note(const std::string& text) const {
  if (!options_.quiet) terminal_.err("roostctl: " + printable(text) + "\n");
}

Status Run::confirm(const std::string& question) {
  if (options_.yes) return {};
  if (!terminal_.in_is_tty || !terminal_.err_is_tty) return Error{Code::invalid, question + " Say so with --yes.", 0};
  ROOST_TRY(const std::string answer, terminal_.ask(printable(question) + " Type yes: ", Terminal::Echo::on));
  if (answer == "yes") return {};
  return Error{Code::invalid, "nothing was done", 0};
}

Status Run::pause(std::int64_t ms) {
  const std::int64_t left_ms = client_ ? client_->left_ms(ms) : ms;
  ROOST_CHECK(sleep_ms(left_ms));
  if (client_ && client_->left_ms(1) == 0)
    return Error{Code::deadline, "the time is over (--timeout); what was asked for goes on", 0};
  return {};
}

Status Run::watch(const std::function<Status()>& once) {
  if (!options_.watch) return once();
  std::string last;
  while (true) {
    drawing_ = "";
    const Status shown = once();
    const std::string text = std::move(*drawing_);
    drawing_.reset();
    ROOST_CHECK(shown);
    if (terminal_.out_is_tty)
      terminal_.out("\x1b[H\x1b[2J" + text);
    else if (text != last)
      terminal_.out(text);
    ROOST_CHECK(terminal_.written());
    last = text;
    ROOST_CHECK(pause(options_.interval_ms));
  }
}

Exit Run::finish(const Status& status) {
  const Status written = terminal_.written();
  if (status.ok() && written.ok()) return Exit::ok;
  const Error& error = status.ok() ? written.error() : status.error();
  if (error.code == Code::cancelled && interrupted()) {
    terminal_.err("\n");
    return Exit::interrupted;
  }
  const bool by_server = refused_ && code_of_status(refused_->status) == error.code;
  if (options_.form == Form::json) {
    const bool problem = by_server && Json::parse(refused_->body, {kMaxBody, 64}).ok();
    const std::string text = problem ? with_newline(refused_->body) : own_problem(error);
    terminal_.err(terminal_.err_is_tty ? printable_json(text) : text);
  } else {
    terminal_.err("roostctl: " + printable(error.message) + "\n");
  }
  return by_server ? exit_of_status(refused_->status) : exit_of(error.code);
}

}  // namespace roost::cli
