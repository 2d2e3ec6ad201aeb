#include "store/redis/resolve.hpp"

#include <Poco/Net/HostEntry.h>
#include <netdb.h>

#include <map>
#include <memory>
#include <mutex>

#include "store/redis/failures.hpp"

namespace roost::store_redis {
namespace {

constexpr std::chrono::milliseconds kLook{2};  // how often it is looked whether the answer is there

// One lookup by getaddrinfo_a: glibc's threads, not ours, and glibc writes into it until it has ended.
struct Lookup {
  explicit Lookup(std::string name) : host(std::move(name)) {
    hints.ai_socktype = SOCK_STREAM;
    request.ar_name = host.c_str();
    request.ar_request = &hints;
  }
  ~Lookup() {
    if (request.ar_result) ::freeaddrinfo(request.ar_result);
  }
  Lookup(const Lookup&) = delete;
  Lookup& operator=(const Lookup&) = delete;
  [[nodiscard]] int state() { return ::gai_error(&request); }

  const std::string host;
  addrinfo hints{};
  gaicb request{};
};

// The last of each name. It is never destroyed: at the process's end one may be under way.
struct Lookups {
  std::mutex mutex;
  std::map<std::string, std::shared_ptr<Lookup>> last;
};
Lookups& lookups() {
  static auto* const all = new Lookups;
  return *all;
}

std::shared_ptr<Lookup> join(const std::string& host) {
  const std::lock_guard lock(lookups().mutex);
  std::shared_ptr<Lookup>& last = lookups().last[host];
  if (last && last->state() == EAI_INPROGRESS) return last;
  auto fresh = std::make_shared<Lookup>(host);
  gaicb* list[] = {&fresh->request};
  if (const int error = ::getaddrinfo_a(GAI_NOWAIT, list, 1, nullptr); error != 0)
    throw ConnectionLost("the name " + host + " cannot be looked up: " + ::gai_strerror(error));
  last = fresh;
  return fresh;
}

}  // namespace

std::vector<Poco::Net::IPAddress> resolve(const std::string& host, const Until& until) {
  if (Poco::Net::IPAddress digits; Poco::Net::IPAddress::tryParse(host, digits)) return {digits};
  const std::shared_ptr<Lookup> lookup = join(host);
  while (lookup->state() == EAI_INPROGRESS) {
    if (until.over()) throw ConnectionLost("no answer in time (looking up the name " + host + ")");
    until.pause(kLook);
  }
  if (const int error = lookup->state(); error != 0)
    throw ConnectionLost("the name " + host + " has no address: " + ::gai_strerror(error));
  const Poco::Net::HostEntry entry(lookup->request.ar_result);
  if (entry.addresses().empty()) throw ConnectionLost("the name " + host + " has no address");
  return entry.addresses();
}

}  // namespace roost::store_redis
