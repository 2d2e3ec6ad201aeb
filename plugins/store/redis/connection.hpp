// Connection: a socket to a server on which we are who we should be, with our database selected; requests go out together and
// their replies come back whole and in order. Invariant: after anything but a reply it is broken and never used again.
// Thread safety: one thread at a time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "store/redis/resp.hpp"
#include "store/redis/socket.hpp"

namespace roost::store_redis {

// What a server says of itself.
struct ServerFacts {
  std::string version;  // "7.0.15"
  std::string run_id;   // another one after each start
  std::string mode;     // "standalone", "sentinel", "cluster"
  std::string role;     // "master", "slave", "sentinel"
  int replicas = 0;     // connected to it
};

class Connection {
 public:
  // Connects to a Sentinel: nothing but its password. Throws ConnectionLost, ServerError.
  static std::unique_ptr<Connection> to_sentinel(const Address& address, const Settings& settings,
                                                 const Poco::Net::Context::Ptr& context, const Until& until);
  // Connects to a data server and asks what it is. Throws the same.
  static std::unique_ptr<Connection> to_server(const Address& address, const Settings& settings,
                                               const Poco::Net::Context::Ptr& context, const Until& until);

  // Sends the requests at once and waits for all of their replies. An error's reply is one of them. Throws ConnectionLost;
  // sent() says whether anything had left.
  std::vector<Reply> exchange(const std::vector<Command>& requests, const Until& until);
  // One request; throws ServerError too.
  Reply ask(const Command& request, const Until& until);

  [[nodiscard]] bool broken() const { return broken_; }
  // It may be used again: it is whole, and what it knows of the server's clock is not too old.
  [[nodiscard]] bool usable() const;
  [[nodiscard]] const ServerFacts& facts() const { return facts_; }
  [[nodiscard]] const Address& address() const { return address_; }
  // The server's clock, in milliseconds since 1970, at a time of ours; not later than it really shows then.
  [[nodiscard]] std::int64_t server_ms(Until::Clock::time_point at) const;
  void set_clock(std::int64_t server_ms);  // as just told

 private:
  Connection(const Address& address, const Settings& settings, const Poco::Net::Context::Ptr& context, const Until& until);
  void introduce(const Settings& settings, const Until& until);

  const Address address_;
  Socket socket_;
  ReplyReader reader_;
  std::vector<char> buffer_;
  bool broken_ = false;
  ServerFacts facts_;
  std::int64_t clock_offset_ms_ = 0;
  Until::Clock::time_point clock_set_;
};

// Throws ServerError where the reply is an error.
const Reply& checked(const Reply& reply);
[[nodiscard]] Command command(std::initializer_list<std::string> words);
// The value of "name:value" in what INFO answers; empty where there is none.
[[nodiscard]] std::string info_field(const std::string& info, const std::string& name);

}  // namespace roost::store_redis
