// The prober of "/health answers at once": asks again and again, each time over a new connection as a load balancer does, and
// says how long the answers took. It runs ahead of everybody else where the system lets it, so that it measures the server's time
// and not its own wait for a core. Prints one line of JSON. Usage: bench_probe PORT PATH SECONDS
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kInterval = std::chrono::milliseconds(5);

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

const char* go_ahead_of_others() {
  sched_param priority{};
  priority.sched_priority = 1;
  if (sched_setscheduler(0, SCHED_FIFO, &priority) == 0) return "fifo";
  return setpriority(PRIO_PROCESS, 0, -20) == 0 ? "nice -20" : "none";
}

// One request, from the connection to the answer's last byte; negative: no answer with status 200.
double ask(std::uint16_t port, const std::string& request) {
  const auto begun = Clock::now();
  const int descriptor = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) fail("socket");
  const int on = 1;
  ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const timeval patience{10, 0};
  ::setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (::connect(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
      ::send(descriptor, request.data(), request.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(request.size())) {
    char buffer[4096];
    const ssize_t received = ::recv(descriptor, buffer, sizeof buffer, 0);  // such a short answer is one segment
    if (received > 0) answer.assign(buffer, static_cast<std::size_t>(received));
  }
  const double took = std::chrono::duration<double, std::micro>(Clock::now() - begun).count();
  ::close(descriptor);
  return answer.rfind("HTTP/1.1 200 ", 0) == 0 && answer.find("\r\n\r\n") != std::string::npos ? took : -1;
}

double at(const std::vector<double>& sorted, double quantile) {
  return sorted[std::min(sorted.size() - 1, static_cast<std::size_t>(quantile * static_cast<double>(sorted.size())))];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: bench_probe PORT PATH SECONDS\n");
    return 2;
  }
  const auto port = static_cast<std::uint16_t>(std::atoi(argv[1]));
  const std::string request = std::string("GET ") + argv[2] + " HTTP/1.1\r\nHost: localhost:" + argv[1] + "\r\n\r\n";
  const char* priority = go_ahead_of_others();
  std::vector<double> took;
  int failed = 0;
  const auto end = Clock::now() + std::chrono::duration<double>(std::atof(argv[3]));
  for (auto next = Clock::now(); next < end; next = std::max(next + kInterval, Clock::now())) {
    std::this_thread::sleep_until(next);
    const double microseconds = ask(port, request);
    if (microseconds < 0) {
      ++failed;
    } else {
      took.push_back(microseconds);
    }
  }
  if (took.empty()) {
    std::fprintf(stderr, "bench_probe: not one of %d requests was answered\n", failed);
    return 1;
  }
  std::sort(took.begin(), took.end());
  std::printf("{\"probes\":%zu,\"failed\":%d,\"p50_us\":%.0f,\"p99_us\":%.0f,\"worst_us\":%.0f,\"priority\":\"%s\"}\n",
              took.size(), failed, at(took, 0.5), at(took, 0.99), took.back(), priority);
  return 0;
}
