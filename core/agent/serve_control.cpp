// The supervisor's conversation with the compute plugin, and what it publishes for whoever comes later.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "agent/serve_supervisor.hpp"

namespace roost::agent {
namespace {

constexpr std::size_t kMaxControls = 64;
constexpr std::size_t kMaxLine = 4096;

}  // namespace

void Supervisor::accept_control() {
  Fd client(::accept4(control_listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!client.open() || controls_.size() >= kMaxControls) return;
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(client.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return;
  if (peer.uid != 0 && peer.uid != ::geteuid()) return;
  const std::uint64_t id = next_control_++;
  const int fd = client.get();
  controls_[id].fd = std::move(client);
  loop_.add(fd, EPOLLIN, [this, id](std::uint32_t) { serve_control(id); });
}

void Supervisor::serve_control(std::uint64_t id) {
  Control& control = controls_.at(id);
  const auto close = [&] {
    loop_.remove(control.fd.get());
    controls_.erase(id);
  };
  char buffer[1024];
  const ssize_t n = ::recv(control.fd.get(), buffer, sizeof buffer, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) return close();
  control.in.append(buffer, static_cast<std::size_t>(n));
  for (std::size_t end = 0; (end = control.in.find('\n')) != std::string::npos;) {
    const std::string reply = answer(control.in.substr(0, end)) + "\n";
    control.in.erase(0, end + 1);
    // A reply is far smaller than a socket's buffer: one that does not fit means a peer that does not read.
    if (::send(control.fd.get(), reply.data(), reply.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(reply.size())) return close();
  }
  if (control.in.size() > kMaxLine) close();
}

std::string Supervisor::answer(const std::string& line) {
  const auto request = Json::parse(line);
  const std::string op = request ? (*request)["op"].as_string() : "";
  const auto refuse = [](const std::string& error, Code code) {
    return Json::object({{"error", error}, {"code", static_cast<int>(code)}}).dump();
  };
  if (op == "status") return status().dump();
  if (op == "activity") return activity().dump();
  if (op == "stop") {
    if ((*request)["incarnation"].is_string() && (*request)["incarnation"].as_string() != spec_.incarnation) {
      return refuse("another incarnation is running: " + spec_.incarnation, Code::conflict);
    }
    stop((*request)["grace_ms"].as_int(spec_.stop_grace_ms));
    return status().dump();
  }
  if (op == "resize") {
    if (const auto done = resize(*request); !done) return refuse(done.error().message, done.error().code);
    if (const std::int64_t generation = (*request)["generation"].as_int(); generation > spec_.generation)
      spec_.generation = generation;
    publish();
    return status().dump();
  }
  return refuse("op: status, stop, resize or activity", Code::invalid);
}

Json Supervisor::status() const {
  constexpr const char* kNames[] = {"starting", "running", "stopping", "failed"};
  Json directories = Json::array();
  if (cgroup_) {
    for (const auto& directory : cgroup_->directories()) directories.push(directory);
  }
  Json json = Json::object(
      {{"id", spec_.id},
       {"incarnation", spec_.incarnation},
       {"generation", spec_.generation},
       {"state", kNames[static_cast<int>(state_)]},
       {"ready", ready_},
       {"reason", reason_},
       {"message", message_},
       {"size", Json::object({{"cpu_millis", spec_.limits.cpu_millis}, {"memory_bytes", spec_.limits.memory_bytes}})},
       {"restarts", restarts_},
       {"last_exit", last_exit_},
       {"pid", ::getpid()},
       {"start_time", static_cast<std::int64_t>(start_time_of(::getpid()))},
       {"boot_id", boot_id()},
       {"contained", spec_.sandbox.kind == SandboxSpec::Kind::bubblewrap || cgroup_.has_value()},
       {"cgroups", directories}});
  json.set("isolation",
           Json::object(
               {{"sandbox", report_.sandbox}, {"user", report_.user}, {"network", report_.network}, {"limits", limits_report_}}));
  if (process_) {
    json.set("init",
             Json::object({{"pid", process_->init.pid}, {"start_time", static_cast<std::int64_t>(process_->init.start_time)}}));
    json.set("outer",
             Json::object({{"pid", process_->outer}, {"start_time", static_cast<std::int64_t>(process_->outer_id.start_time)}}));
  }
  return json;
}

Json Supervisor::activity() {
  const FrontActivity& seen = front_->activity();
  Json signals = Json::array();
  const auto add = [&signals](const char* name, std::int64_t at) {
    if (at > 0) signals.push(Json::object({{"name", name}, {"at", at}}));
  };
  add("http_request", seen.http_request_us);
  add("websocket_message", seen.websocket_message_us);
  add("websocket_bytes", seen.websocket_bytes_us);
  add("connection", seen.connection_us);
  add("heartbeat", seen.heartbeat_us);
  return Json::object({{"id", spec_.id}, {"signals", signals}, {"connections", seen.connections}});
}

void Supervisor::publish() {
  if (on_ready_) on_ready_(ready_);
  (void)replace_file(spec_.run + "/status.json", status().dump());
  if (!spec_.events.empty()) (void)write_file(spec_.events + "/" + spec_.id, "1", 0600);
}

}  // namespace roost::agent
