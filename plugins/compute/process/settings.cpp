#include "compute/process/settings.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "compute/process/files.hpp"

namespace roost::compute_process {
namespace {

namespace fs = std::filesystem;

constexpr const char* kNodeMount = "/opt/roost/node";
constexpr const char* kCodeServerMount = "/opt/roost/code-server";

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string first_that_exists(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    if (path.starts_with("/") && ::access(path.c_str(), R_OK) == 0) return path;
  }
  return "";
}

std::string absolute(const std::string& path) { return fs::absolute(path).lexically_normal().string(); }

std::string find_agent(const std::string& configured) {
  if (!configured.empty()) return absolute(configured);
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  const std::string found =
      first_that_exists({(self.parent_path() / "roost-agent").string(), "/usr/bin/roost-agent", "/usr/local/bin/roost-agent"});
  if (found.empty()) {
    throw sdk::Failure(ROOST_INVALID,
                       "roost-agent was not found beside " + self.string() + "; set compute.config.agent to its path");
  }
  return found;
}

// {node} and {code_server} in a command: where those are inside, with the mounts that put them there.
struct Programs {
  std::string node;
  std::string code_server;
};

Programs find_programs(const Object& config, std::vector<Mount>& mounts) {
  const std::string cache =
      (environment("XDG_CACHE_HOME").empty() ? environment("HOME") + "/.cache" : environment("XDG_CACHE_HOME")) + "/roost";
  std::string code_server = text_of(config, "code_server");
  if (code_server.empty()) {
    code_server = first_that_exists({environment("ROOST_CODE_SERVER"), cache + "/code-server/lib/node_modules/code-server",
                                     "/opt/roost/code-server", "/usr/lib/code-server"});
  }
  std::string node = text_of(config, "node");
  if (node.empty()) {
    node = first_that_exists({environment("ROOST_NODE_BIN"), cache + "/node/bin/node", "/opt/roost/node/bin/node",
                              code_server + "/lib/node", "/usr/local/bin/node", "/usr/bin/node"});
  }
  const auto inside = [&mounts](const std::string& path, const std::string& directory, const char* target) {
    if (path.starts_with("/usr/")) return path;  // /usr is there as it is
    mounts.push_back({directory, target});
    return target + path.substr(directory.size());
  };
  Programs programs;
  if (!code_server.empty()) programs.code_server = inside(absolute(code_server), absolute(code_server), kCodeServerMount);
  if (!node.empty()) {
    const fs::path binary = absolute(node);
    programs.node = inside(binary.string(), binary.parent_path().parent_path().string(), kNodeMount);
  }
  return programs;
}

void replace(std::string& text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

void resolve_command(Settings& settings, const Object& config) {
  settings.command = texts_of(config, "command");
  if (settings.command.empty()) {
    settings.command = {"{node}",
                        "{code_server}/out/node/entry.js",
                        "--socket",
                        "{socket}",
                        "--auth",
                        "none",
                        "--disable-telemetry",
                        "--disable-update-check",
                        "--disable-workspace-trust",
                        "--disable-getting-started-override",
                        "{workspace}"};
  }
  std::vector<Mount> program_mounts;
  const Programs programs = find_programs(config, program_mounts);
  bool uses_programs = false;
  for (std::string& word : settings.command) {
    const bool node = word.find("{node}") != std::string::npos;
    const bool code_server = word.find("{code_server}") != std::string::npos;
    uses_programs = uses_programs || node || code_server;
    if (code_server && programs.code_server.empty()) {
      throw sdk::Failure(
          ROOST_INVALID,
          "code-server was not found; install it (./dev setup) and set compute.config.code_server to its directory");
    }
    if (node && programs.node.empty()) {
      throw sdk::Failure(ROOST_INVALID, "Node.js was not found; set compute.config.node to its program");
    }
    replace(word, "{socket}", kSocket);
    replace(word, "{workspace}", kWorkspace);
    replace(word, "{home}", kHome);
    replace(word, "{node}", programs.node);
    replace(word, "{code_server}", programs.code_server);
  }
  if (uses_programs) settings.mounts.insert(settings.mounts.end(), program_mounts.begin(), program_mounts.end());
  std::string path = "/roost/bin:/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";
  if (uses_programs && programs.node.starts_with(kNodeMount)) path = fs::path(programs.node).parent_path().string() + ":" + path;
  settings.environment = {"PATH=" + path, "HOME=" + std::string(kHome), "USER=user",   "LOGNAME=user",        "SHELL=/bin/bash",
                          "LANG=C.UTF-8", "TERM=xterm-256color",        "TMPDIR=/tmp", "XDG_RUNTIME_DIR=/tmp"};
  const Object::Ptr extra = object_of(config, "environment");
  for (const auto& name : extra->getNames()) settings.environment.push_back(name + "=" + text_of(*extra, name));
}

// Short, for a socket's path has at most 107 bytes, and nobody else's: others must not be able to put anything there.
std::string prepare_run_directory(const std::string& configured, const std::string& data) {
  std::string run = configured.empty() ? "" : absolute(configured);
  if (run.empty()) {
    std::uint64_t hash = 0xCBF29CE484222325u;  // FNV-1a: two daemons with different data never share
    for (const char c : data) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
    const bool root = ::geteuid() == 0;
    const std::string base = root ? "/run/roost" : "/tmp/roost-" + std::to_string(::geteuid());
    make_directory(base, 0700);
    run = base + "/" + std::to_string(hash % 100'000'000);
  }
  make_directories(run, 0700);
  for (const std::string& path : {run, fs::path(run).parent_path().string()}) {
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0) throw failure(path);
    const bool mine = info.st_uid == ::geteuid() || info.st_uid == 0;
    const bool safe = (info.st_mode & 022) == 0 || (info.st_mode & S_ISVTX) != 0;
    if (!S_ISDIR(info.st_mode) || !mine || !safe) {
      throw sdk::Failure(ROOST_INVALID,
                         path + " can be changed by other users; set compute.config.run_dir to a directory that cannot");
    }
  }
  if (run.size() + std::string("/ws/12345678/control.sock").size() > 107) {
    throw sdk::Failure(
        ROOST_INVALID,
        run + " is too long for the path of a unix socket (107 bytes); set compute.config.run_dir to a shorter one");
  }
  make_directory(run + "/ws", 0700);
  make_directory(run + "/events", 0700);
  return run;
}

}  // namespace

Settings Settings::load(std::string_view text, const sdk::Log& log) {
  const Object::Ptr config = parse_object(text, "configuration");
  Settings settings;
  settings.data = absolute(text_of(*config, "data_dir"));
  make_directories(settings.data, 0700);
  for (const char* name : {"volumes", "workspaces", "tasks", "trash"}) make_directory(settings.data + "/" + name, 0700);
  settings.run = prepare_run_directory(text_of(*config, "run_dir"), settings.data);
  settings.agent = find_agent(text_of(*config, "agent"));
  const Array::Ptr mounts = array_of(*config, "mounts");
  for (std::size_t i = 0; i < mounts->size(); ++i) {
    const Object::Ptr mount = mounts->getObject(static_cast<unsigned>(i));
    if (!mount.isNull()) settings.mounts.push_back({text_of(*mount, "source"), text_of(*mount, "target")});
  }
  settings.sandbox = text_of(*config, "sandbox", "bubblewrap");
  settings.network = text_of(*config, "network", "auto");
  settings.blocked =
      config->has("network_blocked") ? texts_of(*config, "network_blocked") : std::vector<std::string>{"169.254.0.0/16"};
  settings.block_host = flag_of(*config, "network_block_host", true);
  settings.limits = text_of(*config, "limits", "auto") != "none";
  const Object::Ptr range = object_of(*config, "uid_range");
  if (::geteuid() == 0) {
    settings.uid_first = number_of(*range, "first", 2'000'000);
    settings.uid_count = number_of(*range, "count", 65'536);
  }
  settings.pids = number_of(*config, "pids", 2048);
  settings.tmp_bytes = number_of(*config, "tmp_bytes", 1 << 30);
  settings.log_bytes = number_of(*config, "log_bytes", 4 << 20);
  settings.stop_grace_ms = number_of(*config, "stop_grace_ms", 10'000);
  settings.ready_path = text_of(*config, "ready_path", "/healthz");
  if (const std::string file = text_of(*config, "api_url_file"); !file.empty()) settings.api_url_file = absolute(file);
  settings.restart = object_of(*config, "restart");
  resolve_command(settings, *config);
  if (settings.sandbox == "none") {
    log.warn("sandbox: none: workspaces run WITHOUT isolation: they can read this machine's files and reach its API");
    settings.network = "host";
  } else if (settings.network == "host") {
    log.warn("network: host: workspaces share this machine's network and reach everything that listens on it, the API included");
  }
  return settings;
}

}  // namespace roost::compute_process
