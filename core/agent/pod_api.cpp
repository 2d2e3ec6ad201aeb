#include "agent/pod_api.hpp"

#include <netdb.h>
#include <nss.h>
#include <signal.h>
#include <stdlib.h>

#include <cstring>
#include <memory>

namespace roost::agent {
namespace {

Result<SocketAddress> look_up(const std::string& name, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int failed = ::getaddrinfo(name.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (failed != 0) return Error{Code::unavailable, name + ": " + ::gai_strerror(failed), 0};
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> all(found, &::freeaddrinfo);
  SocketAddress address;
  address.size = found->ai_addrlen;
  std::memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
  return address;
}

}  // namespace

Status run_pod_api(PodApiSpec spec) {
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);  // SIGTERM ends it
  // The workspace's image may have an nsswitch.conf that asks for modules which this program has not; and a name server that is
  // gone is not waited for long.
  ::__nss_configure_lookup("hosts", "files dns");
  ::setenv("RES_OPTIONS", "timeout:2 attempts:2", 1);
  spec.api.look_up = look_up;
  Loop loop;
  if (!loop.valid()) return errno_error("epoll");
  LocalApi api(loop, std::move(spec.api));
  ROOST_CHECK(api.listen(spec.socket, -1));
  loop.run();
  return {};
}

}  // namespace roost::agent
