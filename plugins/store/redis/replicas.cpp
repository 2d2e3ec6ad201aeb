#include "store/redis/replicas.hpp"

#include <Poco/Net/IPAddress.h>

#include <algorithm>

#include "store/redis/connection.hpp"

namespace roost::store_redis {
namespace {

// Of a list of names and values.
std::string field(const std::vector<std::string>& fields, std::string_view name) {
  for (std::size_t i = 0; i + 1 < fields.size(); i += 2) {
    if (fields[i] == name) return fields[i + 1];
  }
  return {};
}

// Of "name=value,name=value".
std::string part(const std::string& line, const std::string& name) {
  const std::size_t at = ("," + line).find("," + name + "=");
  if (at == std::string::npos) return {};
  const std::size_t begin = at + name.size() + 1;
  return line.substr(begin, line.find(',', begin) - begin);
}

bool is_address(const std::string& name) {
  Poco::Net::IPAddress address;
  return Poco::Net::IPAddress::tryParse(name.substr(0, name.rfind(':')), address);
}

}  // namespace

Names connected_replicas(const std::string& info) {
  Names names;
  for (int i = 0;; ++i) {
    const std::string line = info_field(info, "slave" + std::to_string(i));
    if (line.empty()) return names;
    const std::string port = part(line, "port");
    if (!port.empty() && port != "0") names.insert(part(line, "ip") + ":" + port);
  }
}

Promotable promotable_replicas(const std::vector<std::vector<std::string>>& replicas) {
  Promotable found;
  for (const std::vector<std::string>& fields : replicas) {
    if (field(fields, "slave-priority") == "0") continue;  // never promoted
    const std::string name = field(fields, "ip") + ":" + field(fields, "port");
    found.known.insert(name);
    const std::string flags = field(fields, "flags");
    if (flags.find("down") == std::string::npos && flags.find("disconnected") == std::string::npos) found.up.insert(name);
  }
  return found;
}

int needed(const Names& connected, const Names& promotable) {
  const auto others = std::count_if(connected.begin(), connected.end(),
                                    [&](const std::string& name) { return is_address(name) && promotable.count(name) == 0; });
  return static_cast<int>(std::max(promotable.size() + static_cast<std::size_t>(others), connected.size()));
}

}  // namespace roost::store_redis
