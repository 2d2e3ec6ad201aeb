#include "store/redis/connection.hpp"

namespace roost::store_redis {
namespace {

constexpr std::size_t kReceiveBytes = 64 * 1024;
constexpr std::chrono::seconds kLife{60};  // two clocks drift apart by a few milliseconds meanwhile

std::int64_t own_ms(Until::Clock::time_point at) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(at.time_since_epoch()).count();
}

}  // namespace

Command command(std::initializer_list<std::string> words) {
  auto word = words.begin();
  Command made(*word++);
  for (; word != words.end(); ++word) made.add(*word);
  return made;
}

const Reply& checked(const Reply& reply) {
  if (const auto* error = dynamic_cast<const Poco::Redis::Type<Poco::Redis::Error>*>(reply.get()))
    throw ServerError(error->value().getMessage());
  return reply;
}

std::string info_field(const std::string& info, const std::string& name) {
  std::size_t at = info.rfind("\n" + name + ":");
  if (at == std::string::npos) {
    if (info.compare(0, name.size() + 1, name + ":") != 0) return {};
    at = name.size() + 1;
  } else {
    at += name.size() + 2;
  }
  return info.substr(at, info.find_first_of("\r\n", at) - at);
}

Connection::Connection(const Address& address, const Settings& settings, const Poco::Net::Context::Ptr& context,
                       const Until& until)
    : address_(address), socket_(address, settings.tls, context, until), buffer_(kReceiveBytes) {}

std::unique_ptr<Connection> Connection::to_sentinel(const Address& address, const Settings& settings,
                                                    const Poco::Net::Context::Ptr& context, const Until& until) {
  std::unique_ptr<Connection> made(new Connection(address, settings, context, until));
  const Credentials& who = settings.sentinel_credentials;
  if (!who.password.empty())
    (void)made->ask(who.user.empty() ? command({"AUTH", who.password}) : command({"AUTH", who.user, who.password}), until);
  return made;
}

std::unique_ptr<Connection> Connection::to_server(const Address& address, const Settings& settings,
                                                  const Poco::Net::Context::Ptr& context, const Until& until) {
  std::unique_ptr<Connection> made(new Connection(address, settings, context, until));
  made->introduce(settings, until);
  return made;
}

void Connection::introduce(const Settings& settings, const Until& until) {
  const Credentials& who = settings.credentials;
  std::vector<Command> requests;
  if (!who.password.empty())
    requests.push_back(who.user.empty() ? command({"AUTH", who.password}) : command({"AUTH", who.user, who.password}));
  requests.push_back(command({"CLIENT", "SETNAME", settings.client_name}));
  requests.push_back(command({"SELECT", std::to_string(settings.database)}));
  requests.push_back(command({"INFO", "server"}));
  requests.push_back(command({"ROLE"}));
  requests.push_back(command({"TIME"}));
  std::vector<Reply> replies = exchange(requests, until);
  for (const Reply& reply : replies) (void)checked(reply);  // the first error is the one that counts
  const std::size_t first = replies.size() - 3;
  const std::string info = text(replies[first]);
  facts_.version = info_field(info, "redis_version");
  facts_.run_id = info_field(info, "run_id");
  facts_.mode = info_field(info, "redis_mode");
  const std::vector<Reply> role = items(replies[first + 1]);
  if (role.empty()) throw ProtocolError("ROLE answered nothing");
  facts_.role = text(role[0]);
  if (facts_.role == "master" && role.size() > 2) facts_.replicas = static_cast<int>(items(role[2]).size());
  const std::vector<std::string> time = texts(replies[first + 2]);
  if (time.size() != 2) throw ProtocolError("TIME answered something else");
  set_clock(std::stoll(time[0]) * 1000 + std::stoll(time[1]) / 1000);
}

std::vector<Reply> Connection::exchange(const std::vector<Command>& requests, const Until& until) {
  if (broken_) throw ConnectionLost("the connection is broken");
  std::string bytes;
  for (const Command& request : requests) bytes += request.toString();
  broken_ = true;  // until every reply is here
  try {
    socket_.send(bytes, until);
    std::vector<Reply> replies;
    while (replies.size() < requests.size()) {
      Reply reply = reader_.next();
      if (reply.isNull()) {
        const std::size_t got = socket_.receive(buffer_.data(), buffer_.size(), until);
        reader_.feed({buffer_.data(), got});
      } else {
        replies.push_back(std::move(reply));
      }
    }
    broken_ = !reader_.idle();
    return replies;
  } catch (const ProtocolError& e) {
    throw ConnectionLost(std::string("the server does not speak Redis's protocol: ") + e.what());
  }
}

Reply Connection::ask(const Command& request, const Until& until) { return checked(exchange({request}, until)[0]); }

std::int64_t Connection::server_ms(Until::Clock::time_point at) const { return own_ms(at) + clock_offset_ms_; }

void Connection::set_clock(std::int64_t server_ms) {
  clock_set_ = Until::Clock::now();
  clock_offset_ms_ = server_ms - own_ms(clock_set_);
}

bool Connection::usable() const { return !broken_ && Until::Clock::now() < clock_set_ + kLife && socket_.quiet(); }

}  // namespace roost::store_redis
