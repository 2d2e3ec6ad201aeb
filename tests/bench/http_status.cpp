// The server under the HTTP benchmark: core/http with one inline route that answers a body like GET /session/{uuid}/status, and
// a gatekeeper that looks at a key. Usage: bench_http_status PORT
#include <csignal>
#include <cstdio>
#include <string>

#include "http/server.hpp"

int main(int argc, char** argv) {
  using namespace roost::http;
  Router router;
  router.add({"GET", "/session/{}/status", Run::inline_, [](const Request& request, Responder respond) {
                respond(Response::json_text(200, R"({"uuid":")" + request.parameters[0] + R"(","replicas":1,"queue_length":0})"));
              }});
  VirtualServer api;
  api.router = &router;
  api.gatekeeper = [](const Request& request, const Route&) -> std::optional<Response> {
    if (!request.header("x-api-key").empty()) return std::nullopt;
    return problem(401, "no key");
  };
  ServerOptions options;
  options.listen = std::string("127.0.0.1:") + (argc > 1 ? argv[1] : "9091");
  Server server(options, {api});
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  const auto started = server.start();
  if (!started.ok()) {
    std::fprintf(stderr, "%s\n", started.error().message.c_str());
    return 1;
  }
  std::printf("bench_http_status: http://127.0.0.1:%d\n", server.port());
  std::fflush(stdout);
  int signal = 0;
  sigwait(&signals, &signal);
  server.stop();
  return 0;
}
