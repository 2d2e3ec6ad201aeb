// Socket: one connection to a server, plain, TLS or unix, where every wait ends with an Until. TLS is 1.2 or later; the server's
// certificate is always verified, with its name. Thread safety: one thread at a time.
#pragma once

#include <Poco/Net/Context.h>
#include <Poco/Net/SecureStreamSocket.h>
#include <Poco/Net/StreamSocket.h>

#include <string>
#include <string_view>

#include "store/redis/failures.hpp"
#include "store/redis/settings.hpp"
#include "store/redis/until.hpp"

namespace roost::store_redis {

// The TLS context for these settings; null where TLS is off. Throws INVALID naming the file that cannot be used.
[[nodiscard]] Poco::Net::Context::Ptr make_tls_context(const Tls& tls);

class Socket {
 public:
  // Connects and, with a context, shakes hands. Throws ConnectionLost.
  Socket(const Address& address, const Tls& tls, const Poco::Net::Context::Ptr& context, const Until& until);
  ~Socket();
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  // All of it. Throws ConnectionLost, also where the time is over.
  void send(std::string_view bytes, const Until& until);
  // At least one byte, at most `size`. Throws ConnectionLost, also at the peer's end.
  std::size_t receive(char* buffer, std::size_t size, const Until& until);
  // Nothing has arrived and the peer is there, as far as one can tell without asking it.
  [[nodiscard]] bool quiet() const;

 private:
  void connect_to(const Address& address, const Until& until);
  void shake_hands(const std::string& name, const Poco::Net::Context::Ptr& context, const Until& until);
  void await(short events, const char* what, const Until& until) const;

  Poco::Net::StreamSocket socket_;
  int fd_ = -1;
};

}  // namespace roost::store_redis
