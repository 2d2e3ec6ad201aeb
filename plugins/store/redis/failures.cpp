#include "store/redis/failures.hpp"

#include <algorithm>
#include <array>
#include <cctype>

namespace roost::store_redis {
namespace {

struct Meaning {
  std::string_view word;
  roost_code code;
  std::uint64_t retry_after_ms;
  std::string_view advice;
};

constexpr std::array<Meaning, 20> kMeanings{{
    {"NOAUTH", ROOST_DENIED, 5'000, "it wants a password: set the secret store.secrets.password"},
    {"WRONGPASS", ROOST_DENIED, 5'000,
     "user or password are wrong: check store.config.user and the secret store.secrets.password"},
    {"NOPERM", ROOST_DENIED, 5'000, "the user may not do this: give it the rules of docs/redis.md"},
    {"OOM", ROOST_EXHAUSTED, 2'000, "its memory is full (maxmemory): make room or raise it"},
    {"MISCONF", ROOST_EXHAUSTED, 2'000, "it cannot write its data to disk and so takes no writes: look at its disk and its log"},
    {"READONLY", ROOST_UNAVAILABLE, 500, "it is a read-only replica: name the master, or use Sentinel"},
    {"LOADING", ROOST_UNAVAILABLE, 1'000, "it is loading its data after a start: wait"},
    {"MASTERDOWN", ROOST_UNAVAILABLE, 1'000, "it is a replica that has lost its master"},
    {"NOREPLICAS", ROOST_UNAVAILABLE, 1'000, "too few of its replicas are there (min-replicas-to-write)"},
    {"BUSY", ROOST_UNAVAILABLE, 1'000, "a script of somebody else's keeps it busy: SCRIPT KILL ends it"},
    {"UNKILLABLE", ROOST_UNAVAILABLE, 1'000, "a script of somebody else's keeps it busy"},
    {"TRYAGAIN", ROOST_UNAVAILABLE, 500, "it is being rearranged"},
    {"CLUSTERDOWN", ROOST_UNSUPPORTED, 0, "Redis Cluster is not supported: use one master, with Sentinel for failover"},
    {"MOVED", ROOST_UNSUPPORTED, 0, "Redis Cluster is not supported: use one master, with Sentinel for failover"},
    {"ASK", ROOST_UNSUPPORTED, 0, "Redis Cluster is not supported: use one master, with Sentinel for failover"},
    {"CROSSSLOT", ROOST_UNSUPPORTED, 0, "Redis Cluster is not supported: use one master, with Sentinel for failover"},
    {"WRONGTYPE", ROOST_DATA_LOSS, 0,
     "a key of ours holds something else: somebody wrote to it; docs/redis.md says how to mend it"},
    {"DAMAGED", ROOST_DATA_LOSS, 0, "keys of ours are missing or were changed by hand; docs/redis.md says how to mend it"},
    {"NOSCRIPT", ROOST_UNAVAILABLE, 100, "it forgot our scripts"},
    {"UNBLOCKED", ROOST_UNAVAILABLE, 500, "it became a replica"},
}};

const Meaning* meaning(std::string_view word) {
  const auto* found = std::find_if(kMeanings.begin(), kMeanings.end(), [&](const Meaning& m) { return m.word == word; });
  return found == kMeanings.end() ? nullptr : found;
}

bool is_word(char c) { return std::isupper(static_cast<unsigned char>(c)) != 0; }

}  // namespace

// Redis 6.2 wraps what a script's command answers: "ERR Error running script (...): @user_script:7: OOM command not ...".
std::string ServerError::word() const {
  const std::string_view text = what();
  const std::string first(text.substr(0, text.find(' ')));
  if (first != "ERR" || text.find("script") == std::string_view::npos) return first;
  if (text.find("ACL failure") != std::string_view::npos || text.find("user executing the script") != std::string_view::npos)
    return "NOPERM";
  for (std::size_t at = first.size(); at < text.size();) {
    if (!is_word(text[at])) {
      ++at;
      continue;
    }
    std::size_t end = at;
    while (end < text.size() && is_word(text[end])) ++end;
    const std::string_view word = text.substr(at, end - at);
    if (meaning(word)) return std::string(word);
    at = end;
  }
  return first;
}

sdk::Failure failure(const ServerError& error, const std::string& where) {
  const std::string told = std::string(error.what()).substr(0, 200);
  const Meaning* known = meaning(error.word());
  if (!known) return {ROOST_UNAVAILABLE, "store-redis: " + where + " answered: " + told, 1'000};
  return {known->code, "store-redis: " + where + ": " + std::string(known->advice) + " (" + told + ")", known->retry_after_ms};
}

bool look_elsewhere(const ServerError& error) {
  const std::string word = error.word();
  return word == "READONLY" || word == "MASTERDOWN" || word == "LOADING" || word == "UNBLOCKED" || word == "NOAUTH" ||
         word == "NOREPLICAS";
}

}  // namespace roost::store_redis
