#include "store/redis/settings.hpp"

#include <Poco/JSON/Object.h>
#include <Poco/JSON/Parser.h>

#include <algorithm>
#include <charconv>

namespace roost::store_redis {
namespace {

using Object = Poco::JSON::Object;

[[noreturn]] void invalid(const std::string& why) { throw sdk::Failure(ROOST_INVALID, "store-redis: configuration: " + why); }

std::string text(const Object::Ptr& object, const char* key, const std::string& otherwise = {}) {
  return object && object->has(key) ? object->getValue<std::string>(key) : otherwise;
}

std::int64_t number(const Object::Ptr& object, const char* key, std::int64_t otherwise) {
  return object && object->has(key) ? object->getValue<Poco::Int64>(key) : otherwise;
}

void read_addresses(const Object::Ptr& object, Settings& out) {
  if (const auto list = object->getArray("sentinels")) {
    for (std::size_t i = 0; i < list->size(); ++i)
      out.sentinels.push_back(parse_address(list->getElement<std::string>(static_cast<unsigned>(i))));
  }
  out.master_name = text(object, "master_name");
  const std::string address = text(object, "address");
  if (out.sentinels.empty() == address.empty()) invalid("give either `address`, or `sentinels` with `master_name`");
  if (out.sentinels.empty() != out.master_name.empty()) invalid("`sentinels` and `master_name` go together");
  if (!address.empty()) out.address = parse_address(address);
}

Tls read_tls(const Object::Ptr& object) {
  Tls tls;
  if (!object) return tls;
  tls.on = object->optValue<bool>("enabled", true);
  tls.ca_file = text(object, "ca_file");
  tls.certificate_file = text(object, "certificate_file");
  tls.key_file = text(object, "key_file");
  tls.server_name = text(object, "server_name");
  if (tls.certificate_file.empty() != tls.key_file.empty()) invalid("`tls.certificate_file` and `tls.key_file` go together");
  return tls;
}

Durability read_durability(const std::string& word) {
  if (word == "refuse") return Durability::refuse;
  if (word == "warn") return Durability::warn;
  if (word == "ignore") return Durability::ignore;
  invalid("`durability` is refuse, warn or ignore");
}

int read_replicas(const Object::Ptr& object) {
  if (!object->has("wait_replicas")) return Settings::kWaitUp;
  if (!object->get("wait_replicas").isString()) return object->getValue<int>("wait_replicas");
  if (object->getValue<std::string>("wait_replicas") != "all") return Settings::kWaitUp;  // "auto", by the schema
  if (!object->has("sentinels")) invalid("`wait_replicas: all` needs `sentinels`, which know all of them: give a number");
  return Settings::kWaitKnown;
}

}  // namespace

std::string Address::text() const {
  if (host.empty()) return path;
  return (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + std::to_string(port);
}

Address parse_address(std::string_view text) {
  Address address;
  if (!text.empty() && text.front() == '/') {
    if (text.size() > 100) invalid("the path of a unix socket has at most 100 bytes: " + std::string(text));
    address.path = text;
    return address;
  }
  const auto colon = text.rfind(':');
  const auto bad = [&]() -> void { invalid("\"" + std::string(text) + "\" is no HOST:PORT, [V6]:PORT or /path/of/a.socket"); };
  if (colon == std::string_view::npos || colon == 0) bad();
  std::string_view host = text.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  else if (host.find(':') != std::string_view::npos)
    bad();
  const char* last = text.data() + text.size();
  const auto parsed = std::from_chars(text.data() + colon + 1, last, address.port);
  if (parsed.ec != std::errc() || parsed.ptr != last || address.port == 0) bad();
  address.host = host;
  return address;
}

Settings parse_settings(const sdk::OpenArgs& args) {
  try {
    Poco::JSON::Parser parser;
    const auto object = parser.parse(std::string(args.config)).extract<Object::Ptr>();
    Settings out;
    read_addresses(object, out);
    out.credentials = {text(object, "user"), std::string(args.secret("password"))};
    out.sentinel_credentials = {text(object, "sentinel_user"), std::string(args.secret("sentinel_password"))};
    if (!out.credentials.user.empty() && out.credentials.password.empty()) invalid("`user` needs the secret `password`");
    out.database = static_cast<int>(number(object, "database", out.database));
    out.key_prefix = text(object, "key_prefix", out.key_prefix);
    if (out.key_prefix.find_first_of("{}") != std::string::npos) invalid("`key_prefix` holds no braces");
    out.client_name = text(object, "client_name", out.client_name);
    out.tls = read_tls(object->getObject("tls"));
    out.durability = read_durability(text(object, "durability", "warn"));
    out.wait_replicas = read_replicas(object);
    out.check_interval_ms = number(object, "check_interval_ms", out.check_interval_ms);
    out.purge_interval_ms = number(object, "purge_interval_ms", out.purge_interval_ms);
    return out;
  } catch (const Poco::Exception& e) {
    invalid(e.displayText());
  }
}

}  // namespace roost::store_redis
