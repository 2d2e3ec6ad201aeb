// `roost-agent serve --pod DIRECTORY`: the first process of a workspace's container. The pod is the sandbox; the supervisor and
// its front are those of a local workspace, and the door before them is what roostd's gateway is there.
#include "agent/pod.hpp"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <functional>
#include <new>

#include "agent/commands.hpp"
#include "agent/sandbox_exec.hpp"
#include "agent/serve_handover.hpp"
#include "agent/serve_supervisor.hpp"
#include "base/crypto.hpp"

extern char** environ;

namespace roost::agent {
namespace {

constexpr const char* kWorkspace = "/workspace";

Result<std::string> read_secret(const std::string& path) {
  ROOST_TRY(std::string text, read_file(path, 4096));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  if (text.size() < 32) return Error{Code::invalid, path + ": fewer than 32 characters, which is no secret", 0};
  return text;
}

std::string value_of(const std::vector<std::string>& environment, const std::string& name) {
  const std::string prefix = name + "=";
  const auto found = std::find_if(environment.begin(), environment.end(),
                                  [&prefix](const std::string& variable) { return variable.starts_with(prefix); });
  return found == environment.end() ? "" : found->substr(prefix.size());
}

std::vector<std::string> code_server(const std::vector<std::string>& environment) {
  std::vector<std::string> command;
  if (const std::string directory = value_of(environment, "ROOST_CODE_SERVER"); directory.empty()) {
    command = {"code-server"};
  } else {
    const std::string node = value_of(environment, "ROOST_NODE_BIN");
    command = {node.empty() ? "node" : node, directory + "/out/node/entry.js"};
  }
  // On the volume, so that settings, extensions and unsaved edits outlive the pod, and are in its backups.
  const std::string data = std::string(kWorkspace) + "/.code-server";
  for (const std::string& word :
       {std::string("--socket"), std::string("{socket}"), std::string("--auth"), std::string("none"),
        std::string("--user-data-dir"), data, std::string("--extensions-dir"), data + "/extensions",
        std::string("--disable-telemetry"), std::string("--disable-update-check"), std::string("--disable-workspace-trust"),
        std::string("--disable-getting-started-override"), std::string("{workspace}")}) {
    command.push_back(word);
  }
  return command;
}

void set_value(std::vector<std::string>& environment, const std::string& name, const std::string& value) {
  const std::string prefix = name + "=";
  std::erase_if(environment, [&prefix](const std::string& variable) { return variable.starts_with(prefix); });
  environment.push_back(prefix + value);
}

// This program's own directory comes last on PATH, so that `roost-agent chat` is found in any image.
void add_own_directory(std::vector<std::string>& environment) {
  const std::string own = program_invocation_name;
  if (!own.starts_with('/')) return;
  const std::string path = value_of(environment, "PATH");
  set_value(environment, "PATH", (path.empty() ? "/usr/local/bin:/usr/bin:/bin" : path) + ":" + own.substr(0, own.rfind('/')));
}

void replace(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

// A page that the supervisor and the door share. Null where there is no memory for it.
std::atomic<bool>* shared_flag() {
  void* page = ::mmap(nullptr, sizeof(std::atomic<bool>), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return page == MAP_FAILED ? nullptr : new (page) std::atomic<bool>(false);
}

// Forks the process that does that. What the supervisor holds open is none of its business.
pid_t start_kept(const char* what, const std::function<Status()>& run) {
  const pid_t supervisor = ::getpid();
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  ::close_range(3, ~0U, 0);
  if (!die_with(supervisor)) ::_exit(0);
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);  // the workload has the same user: it is not to look into this memory
  const Status done = run();
  if (!done) std::fprintf(stderr, "roost-agent: %s: %s\n", what, done.error().message.c_str());
  std::fflush(stderr);
  ::_exit(done ? 0 : 1);
}

struct Arguments {
  std::string directory;
  std::string run = "/run/roost";
  std::string listen;
  std::vector<std::string> command;
};

Result<Arguments> parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 0; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--") {
      arguments.command.assign(argv + i + 1, argv + argc);
      break;
    }
    std::string* value = word == "--pod"      ? &arguments.directory
                         : word == "--run"    ? &arguments.run
                         : word == "--listen" ? &arguments.listen
                                              : nullptr;
    if (value == nullptr || i + 1 >= argc)
      return Error{Code::invalid, "unknown argument, or one without its value: " + std::string(word), 0};
    *value = argv[++i];
  }
  return arguments;
}

int refuse(const Error& error) {
  std::fprintf(stderr, "roost-agent: %s\n", error.message.c_str());
  return error.code == Code::conflict ? 3 : 1;
}

}  // namespace

Result<PodSpec> PodSpec::load(const std::string& directory, const std::string& run, const std::vector<std::string>& command,
                              const std::vector<std::string>& environment) {
  ROOST_TRY(const std::string text, read_file(directory + "/serve.json"));
  auto parsed = Json::parse(text);
  if (!parsed) return parsed.error().context(directory + "/serve.json");
  const Json& json = *parsed;
  PodSpec spec;
  ROOST_TRY(spec.door.id, json.get_string("id"));
  ROOST_TRY(spec.door.url, json.get_string("url"));
  ROOST_TRY(spec.door.login_secret, read_secret(directory + "/login-secret"));
  ROOST_TRY(spec.door.token, read_secret(directory + "/token"));
  spec.door.front = run + "/agent/front.sock";
  spec.door.control = run + "/agent/control.sock";
  ROOST_CHECK(door_options(spec.door));

  ServeSpec& serve = spec.serve;
  serve.id = spec.door.id;
  serve.incarnation = value_of(environment, "HOSTNAME");
  serve.run = run + "/agent";
  serve.socket_directory = run + "/app";
  serve.container = true;
  if (const Json* ready = json.find("ready_path")) serve.ready_path = ready->as_string();
  if (const Json* grace = json.find("stop_grace_ms")) serve.stop_grace_ms = std::max<std::int64_t>(0, grace->as_int());
  serve.sandbox.kind = SandboxSpec::Kind::none;
  serve.sandbox.network = SandboxSpec::Network::host;
  serve.sandbox.directory = value_of(environment, "ROOST_WORKSPACE_DIRECTORY");
  if (serve.sandbox.directory.empty()) serve.sandbox.directory = kWorkspace;
  serve.sandbox.environment = environment;
  if (::access((directory + "/api-url").c_str(), F_OK) == 0) {
    spec.api = {run + "/api/api.sock", {serve.id, directory + "/api-url", directory + "/token", {}}};
    set_value(serve.sandbox.environment, "ROOST_API_SOCKET", spec.api.socket);
  }
  serve.sandbox.command = command.empty() ? code_server(environment) : command;
  for (std::string& word : serve.sandbox.command) {
    replace(word, "{socket}", serve.socket_directory + "/app.sock");
    replace(word, "{workspace}", serve.sandbox.directory);
  }
  return spec;
}

int serve_pod(int argc, char** argv) {
  auto arguments = parse(argc, argv);
  if (!arguments) return refuse(arguments.error()), 2;
  std::vector<std::string> environment;
  for (char** variable = environ; *variable != nullptr; ++variable) environment.emplace_back(*variable);
  add_own_directory(environment);
  auto spec = PodSpec::load(arguments->directory, arguments->run, arguments->command, environment);
  if (!spec) return refuse(spec.error());
  if (!arguments->listen.empty()) spec->door.listen = arguments->listen;
  ::umask(022);  // the workload inherits it
  for (const std::string& directory : {spec->serve.run, spec->serve.socket_directory, arguments->run + "/api"}) {
    if (const auto made = make_directory(directory, 0700); !made) return refuse(made.error());
  }
  const auto locked = take_lock(spec->serve.run + "/lock", spec->serve.run);
  if (!locked) return refuse(locked.error());
  std::atomic<bool>* const ready = shared_flag();
  if (ready == nullptr) return refuse(errno_error("a shared page"));
  spec->door.ready = ready;
  Supervisor supervisor(spec->serve);
  supervisor.on_ready([ready](bool now) { ready->store(now); });
  supervisor.keep([&spec] { return start_kept("the workspace's port", [&spec] { return run_door(spec->door); }); });
  if (!spec->api.socket.empty())
    supervisor.keep([&spec] { return start_kept("the workspace's API", [&spec] { return run_pod_api(spec->api); }); });
  if (const auto prepared = supervisor.prepare(); !prepared) return refuse(prepared.error());
  supervisor.run();
  return supervisor.failed() ? 1 : 0;
}

}  // namespace roost::agent
