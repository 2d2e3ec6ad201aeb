#include "config/rules.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <set>

#include "base/crypto.hpp"
#include "config/units.hpp"
#include "config/yaml.hpp"

namespace roost::config {
namespace {

constexpr std::size_t kSecretMax = 64 << 10;

// Reads typed values out of the tree; what the schema promised needs no error handling here.
class Reader {
 public:
  explicit Reader(const Json& section) : section_(section) {}
  std::string text(std::string_view key) const { return section_[key].as_string(); }
  bool flag(std::string_view key) const { return section_[key].as_bool(); }
  std::int64_t whole(std::string_view key) const { return section_[key].as_int(); }
  int number(std::string_view key) const { return static_cast<int>(section_[key].as_int()); }
  std::int64_t size(std::string_view key) const { return parse_size_bytes(section_[key]).value_or(0); }
  std::int64_t cpu(std::string_view key) const { return parse_cpu_millis(section_[key]).value_or(0); }
  std::chrono::milliseconds duration(std::string_view key) const {
    return std::chrono::milliseconds(parse_duration_ms(section_[key].as_string()).value_or(0));
  }
  std::vector<std::string> texts(std::string_view key) const {
    std::vector<std::string> out;
    for (const Json& item : section_[key].items()) out.push_back(item.as_string());
    return out;
  }

 private:
  const Json& section_;
};

class Interpreter {
 public:
  Interpreter(Config& config, std::string directory, const Environment& environment, std::vector<Fault>& faults)
      : config_(config), directory_(std::move(directory)), environment_(environment), faults_(faults) {}

  void run() {
    config_.data_dir = path("/data_dir", config_.tree["data_dir"].as_string(), std::filesystem::current_path().string());
    http();
    const auto directories = Reader(config_.tree["plugins"]).texts("directories");
    for (std::size_t i = 0; i < directories.size(); ++i) {
      config_.plugins.directories.push_back(path("/plugins/directories/" + std::to_string(i), directories[i], directory_));
    }
    backend("store", config_.store);
    backend("compute", config_.compute);
    backend("backup", config_.backup);
    workspaces();
    sizes();
    sessions_and_chat();
    engine();
    auth();
    rest();
  }

 private:
  void fault(std::string pointer, std::string why) { faults_.push_back({std::move(pointer), std::move(why)}); }
  void warn(const std::string& pointer, const std::string& why) {
    config_.warnings.push_back(config_.where(pointer) + ": " + to_key(pointer) + ": " + why);
  }

  std::string path(const std::string& pointer, const std::string& given, const std::string& base) {
    if (given.rfind('~', 0) == 0) fault(pointer, "~ is not expanded here; write the path out");
    return (std::filesystem::path(base) / given).lexically_normal().string();
  }

  void http() {
    const Reader in(config_.tree["http"]);
    Http& out = config_.http;
    out.listen = in.text("listen");
    out.loopback = is_loopback(out.listen);
    if (port_of(out.listen) < 0) fault("/http/listen", "the port must be from 0 to 65535");
    out.hosts = in.texts("hosts");
    out.loops = in.number("loops");
    out.pool_threads = in.number("pool_threads");
    out.pool_queue = in.number("pool_queue");
    out.connections = in.number("connections");
    out.connections_per_peer = in.number("connections_per_peer");
    out.requests_in_flight = in.number("requests_in_flight");
    out.header_bytes = static_cast<std::size_t>(in.size("header_bytes"));
    out.header_count = in.number("header_count");
    out.target_bytes = static_cast<std::size_t>(in.size("target_bytes"));
    out.header_deadline = in.duration("header_deadline");
    out.request_deadline = in.duration("request_deadline");
    out.idle_timeout = in.duration("idle_timeout");
    out.proxy_idle_timeout = in.duration("proxy_idle_timeout");
    out.drain_delay = in.duration("drain_delay");
    out.drain_deadline = in.duration("drain_deadline");
    out.stream_buffer = static_cast<std::size_t>(in.size("stream_buffer"));
    out.metrics_open = in.text("metrics") == "open" || (in.text("metrics") == "auto" && out.loopback);
    out.delete_wait = in.duration("delete_wait");
    if (out.target_bytes > out.header_bytes)
      fault("/http/target_bytes", "must not be greater than http.header_bytes, which holds the target too");
    if (out.header_deadline > out.request_deadline)
      fault("/http/header_deadline", "must not be longer than http.request_deadline");
  }

  void backend(const std::string& kind, Backend& out) {
    const Json& in = config_.tree[kind];
    out.plugin = in["plugin"].as_string();
    out.pointer = "/" + kind + "/config";
    out.config = in["config"].is_object() ? place(in["config"]) : Json::object();
    for (const auto& [name, source] : in["secrets"].members()) {
      const std::string pointer = child_pointer("/" + kind + "/secrets", name);
      if (source.members().size() != 1) {
        fault(pointer, "must be exactly one of {file: PATH}, {env: VARIABLE} and {value: TEXT}");
        continue;
      }
      out.secrets.emplace_back(name, secret(pointer, source));
    }
  }

  // The plugin's settings with {data_dir} and {config_dir} put in.
  Json place(const Json& value) const {
    if (value.is_string()) {
      const std::string& text = value.as_string();
      for (const auto& [name, directory] :
           {std::pair<std::string, std::string>{"{data_dir}", config_.data_dir}, {"{config_dir}", directory_}}) {
        const bool whole = text.rfind(name, 0) == 0 && (text.size() == name.size() || text[name.size()] == '/');
        if (whole) return Json(std::filesystem::path(directory + text.substr(name.size())).lexically_normal().string());
      }
      return value;
    }
    if (value.is_array()) {
      Json out = Json::array();
      for (const Json& item : value.items()) out.push(place(item));
      return out;
    }
    if (!value.is_object()) return value;
    Json out = Json::object();
    for (const auto& [key, item] : value.members()) out.set(key, place(item));
    return out;
  }

  std::string secret(const std::string& pointer, const Json& source) {
    if (const Json* value = source.find("value")) return value->as_string();
    if (const Json* name = source.find("env")) {
      const auto found = environment_.find(name->as_string());
      if (found != environment_.end() && !found->second.empty()) return found->second;
      fault(pointer + "/env", "the environment variable " + name->as_string() + " is not set, or empty");
      return "";
    }
    return secret_file(pointer + "/file", path(pointer + "/file", source["file"].as_string(), directory_));
  }

  std::string secret_file(const std::string& pointer, const std::string& file) {
    const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
      fault(pointer, "cannot read " + file + ": " + std::strerror(errno));
      return "";
    }
    struct stat info {};
    std::string text;
    if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
      fault(pointer, file + " is not a regular file");
    } else if (info.st_size > static_cast<off_t>(kSecretMax)) {
      fault(pointer, file + " is larger than 64 KiB");
    } else {
      text.resize(kSecretMax + 1);
      const ssize_t got = ::read(fd, text.data(), text.size());
      text.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
      if (!text.empty() && text.back() == '\n') text.pop_back();
      if (!text.empty() && text.back() == '\r') text.pop_back();
      if (text.empty()) fault(pointer, file + " is empty, or cannot be read");
      if ((info.st_mode & S_IROTH) != 0) warn(pointer, "every user of this machine may read " + file + "; chmod it to 0600");
    }
    ::close(fd);
    return text;
  }

  void workspaces() {
    const Reader in(config_.tree["workspaces"]);
    Workspaces& out = config_.workspaces;
    out.host_pattern = in.text("host_pattern");
    out.url_pattern = in.text("url_pattern");
    out.landing = in.text("landing");
    out.cookie_ttl = in.duration("cookie_ttl");
    out.access_ttl = in.duration("access_ttl");
    for (const auto& [key, pattern] : {std::pair{"host_pattern", &out.host_pattern}, {"url_pattern", &out.url_pattern}}) {
      const auto first = pattern->find("{uuid}");
      if (first == pattern->rfind("{uuid}")) continue;
      fault(std::string("/workspaces/") + key, "{uuid} must stand in it once");
    }
  }

  void sizes() {
    const Json& in = config_.tree["sizes"];
    config_.size_small = {Reader(in["small"]).cpu("cpu"), Reader(in["small"]).size("memory")};
    config_.size_large = {Reader(in["large"]).cpu("cpu"), Reader(in["large"]).size("memory")};
    if (config_.size_large.cpu_millis < config_.size_small.cpu_millis)
      fault("/sizes/large/cpu", "must not be less than sizes.small.cpu");
    if (config_.size_large.memory_bytes < config_.size_small.memory_bytes)
      fault("/sizes/large/memory", "must not be less than sizes.small.memory");
  }

  void sessions_and_chat() {
    const Reader in(config_.tree["sessions"]);
    Sessions& out = config_.sessions;
    out.per_user = in.whole("per_user");
    out.total = in.whole("total");
    out.volume_bytes = in.size("volume_size");
    out.concurrent_starts = in.whole("concurrent_starts");
    out.concurrent_tasks = in.whole("concurrent_tasks");
    out.backup_every = in.duration("backup_every");
    out.kept_volume = in.duration("kept_volume");
    out.tombstone = in.duration("tombstone");
    out.idempotency = in.duration("idempotency");
    const Reader backups(config_.tree["backups"]);
    config_.backups = {backups.duration("retention"), backups.duration("retention_scheduled"), backups.duration("drill_interval"),
                       backups.duration("walk")};
    const Reader chat(config_.tree["chat"]);
    config_.chat = {chat.whole("queue_max"), chat.whole("tries"), chat.duration("history"), chat.flag("wakes")};
  }

  void engine() {
    const Reader in(config_.tree["engine"]);
    Reconciler& out = config_.engine;
    out.replica = in.text("replica");
    if (out.replica.empty()) {
      char host[256] = "localhost";
      (void)::gethostname(host, sizeof host - 1);
      out.replica = std::string(host) + "-" + to_hex(sha256(config_.data_dir)).substr(0, 8);
    }
    out.lease = in.duration("lease");
    out.resync = in.duration("resync");
    out.poll = in.duration("poll");
    out.backoff_first = in.duration("backoff_first");
    out.backoff_max = in.duration("backoff_max");
    if (out.backoff_first > out.backoff_max) fault("/engine/backoff_first", "must not be longer than engine.backoff_max");
  }

  void auth() {
    config_.auth.secret_key = config_.tree["auth"]["secret_key"].as_string();
    config_.auth.accept_guide_key_risk = config_.tree["auth"]["accept_guide_key_risk"].as_bool();
    const std::string guide = to_hex(sha256(kGuideKey));
    std::set<std::string> names, digests;
    std::size_t index = 0;
    for (const Json& in : config_.tree["auth"]["keys"].items()) {
      const std::string pointer = "/auth/keys/" + std::to_string(index++);
      const Json* key = in.find("key");
      const Json* digest = in.find("sha256");
      if ((key != nullptr) == (digest != nullptr)) {
        fault(pointer, "must have exactly one of key and sha256");
        continue;
      }
      ApiKey out;
      out.name = in["name"].as_string();
      out.sha256 = key ? to_hex(sha256(key->as_string())) : digest->as_string();
      std::transform(out.sha256.begin(), out.sha256.end(), out.sha256.begin(),
                     [](char c) { return c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c; });
      out.scopes = Reader(in).texts("scopes");
      out.user = in["user"].as_string();
      out.guide = out.sha256 == guide;
      if (!names.insert(out.name).second) fault(pointer + "/name", "another key has the same name");
      if (!digests.insert(out.sha256).second) fault(pointer, "another entry has the same key");
      if (out.guide && !config_.http.loopback) refuse_guide_key(pointer + (key ? "/key" : "/sha256"));
      config_.auth.keys.push_back(std::move(out));
    }
    if (config_.auth.keys.empty()) warn("/auth/keys", "there is no API key, so every request is answered 401");
  }

  void refuse_guide_key(const std::string& pointer) {
    fault(pointer,
          "this is the key that the guide prints, so everybody knows it: it is accepted only where http.listen is a loopback "
          "address, and that is " +
              config_.http.listen + ". Make a key of your own with `openssl rand -hex 32`");
  }

  void rest() {
    const Reader limits(config_.tree["limits"]);
    config_.limits = {limits.whole("rate"), limits.whole("burst")};
    const std::string level = config_.tree["log"]["level"].as_string();
    config_.log.level = level == "debug"   ? LogLevel::debug
                        : level == "warn"  ? LogLevel::warn
                        : level == "error" ? LogLevel::error
                                           : LogLevel::info;
    config_.log.format = config_.tree["log"]["format"].as_string() == "json" ? LogFormat::json : LogFormat::text;
    const Reader audit(config_.tree["audit"]);
    config_.audit = {audit.size("file_size"), audit.number("files")};
  }

  Config& config_;
  const std::string directory_;
  const Environment& environment_;
  std::vector<Fault>& faults_;
};

std::string_view host_of(std::string_view listen) {
  std::string_view host = listen.substr(0, listen.rfind(':'));
  if (host.size() >= 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  return host;
}

}  // namespace

int port_of(std::string_view listen) {
  const std::string_view text = listen.substr(std::min(listen.rfind(':'), listen.size() - 1) + 1);
  int port = -1;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), port);
  return parsed.ec == std::errc() && parsed.ptr == text.data() + text.size() && port <= 65535 ? port : -1;
}

bool is_loopback(std::string_view listen) {
  const std::string_view host = host_of(listen);
  if (host == "localhost" || host == "::1") return true;
  // All of 127.0.0.0/8, as four numbers: "127.evil.example" is a name.
  return host.rfind("127.", 0) == 0 && host.find_first_not_of("0123456789.") == std::string_view::npos &&
         std::count(host.begin(), host.end(), '.') == 3;
}

void interpret(Config& config, const std::string& directory, const Environment& environment, std::vector<Fault>& faults) {
  Interpreter(config, directory, environment, faults).run();
}

}  // namespace roost::config
