// Settings: what the plugin was configured with, checked. Thread safety: a plain value. Holds secrets: never logged.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "roost/plugin.hpp"

namespace roost::store_redis {

// Where a server listens: HOST:PORT, [V6]:PORT, or the absolute path of a unix socket.
struct Address {
  std::string host;  // empty: a unix socket
  std::uint16_t port = 0;
  std::string path;

  [[nodiscard]] std::string text() const;
  bool operator==(const Address&) const = default;
};
// Throws INVALID naming the text.
[[nodiscard]] Address parse_address(std::string_view text);

enum class Durability { refuse, warn, ignore };

struct Tls {
  bool on = false;
  std::string ca_file;           // empty: the system's
  std::string certificate_file;  // of this client, with key_file, where the server asks for one
  std::string key_file;
  std::string server_name;  // that the server's certificate must have; empty: the host of the address
};

struct Credentials {
  std::string user;  // empty: the default user
  std::string password;
};

struct Settings {
  Address address;                 // where no Sentinels are named
  std::vector<Address> sentinels;  // they know the address of the master
  std::string master_name;
  Credentials credentials;
  Credentials sentinel_credentials;
  int database = 0;
  std::string key_prefix = "roost";
  std::string client_name = "roost";
  Tls tls;
  Durability durability = Durability::warn;
  static constexpr int kWaitUp = -1;     // those that a failover could promote now
  static constexpr int kWaitKnown = -2;  // those that Sentinel knows and that could be promoted once they are back
  int wait_replicas = kWaitUp;           // or how many
  std::int64_t check_interval_ms = 5'000;
  std::int64_t purge_interval_ms = 30'000;
  std::int64_t poll_ms = 100;  // how long the feed waits for a change before it asks again
};

// Throws INVALID: what, where.
[[nodiscard]] Settings parse_settings(const sdk::OpenArgs& args);

}  // namespace roost::store_redis
