// The baseline of the HTTP benchmark: the least that Poco's PollSet and Boost.Beast's parser can do. Two loops, each with its own
// SO_REUSEPORT listener; every request is answered with the same bytes. Usage: bench_hello PORT
#include <Poco/Net/NetException.h>
#include <Poco/Net/PollSet.h>
#include <Poco/Net/ServerSocket.h>
#include <Poco/Net/SocketAddress.h>
#include <Poco/Net/StreamSocket.h>
#include <sys/socket.h>

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <thread>

namespace {

namespace beast = boost::beast;
using View = beast::string_view;
using ErrorCode = beast::error_code;

class Parser final : public beast::http::basic_parser<true> {
  void on_request_impl(beast::http::verb, View, View, int, ErrorCode&) override {}
  void on_response_impl(int, View, int, ErrorCode&) override {}
  void on_field_impl(beast::http::field, View, View, ErrorCode&) override {}
  void on_header_impl(ErrorCode&) override {}
  void on_body_init_impl(boost::optional<std::uint64_t> const&, ErrorCode&) override {}
  std::size_t on_body_impl(View body, ErrorCode&) override { return body.size(); }
  void on_chunk_header_impl(std::uint64_t, View, ErrorCode&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, View body, ErrorCode&) override { return body.size(); }
  void on_finish_impl(ErrorCode&) override {}
};

const std::string kAnswer =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n{\"hello\":\"world\"}";

struct Client {
  Poco::Net::StreamSocket socket;
  std::string in;
};

// False: the connection is over.
bool serve(Client& client, char* buffer, int size) {
  try {
    const int received = client.socket.receiveBytes(buffer, size);
    if (received == 0) return false;
    if (received < 0) return true;
    client.in.append(buffer, static_cast<std::size_t>(received));
    std::string out;
    while (!client.in.empty()) {
      Parser parser;
      parser.eager(true);
      ErrorCode error;
      const std::size_t used = parser.put(boost::asio::buffer(client.in), error);
      if (error == beast::http::error::need_more || (!error && !parser.is_done())) break;
      if (error) return false;
      client.in.erase(0, used);
      out += kAnswer;
    }
    return out.empty() || client.socket.sendBytes(out.data(), static_cast<int>(out.size()), MSG_NOSIGNAL) > 0;
  } catch (const Poco::Exception&) {
    return false;
  }
}

void loop(Poco::UInt16 port) {
  Poco::Net::ServerSocket listener;
  listener.bind(Poco::Net::SocketAddress("127.0.0.1", port), true, true);
  listener.listen(4096);
  listener.setBlocking(false);
  Poco::Net::PollSet set;
  set.add(listener, Poco::Net::PollSet::POLL_READ);
  std::map<Poco::Net::Socket, Client> clients;
  std::string buffer(16 << 10, '\0');
  while (true) {
    for (const auto& [socket, mode] : set.poll(Poco::Timespan(1, 0))) {
      if (socket == listener) {
        Poco::Net::StreamSocket accepted = listener.acceptConnection();
        accepted.setBlocking(false);
        accepted.setNoDelay(true);
        clients[accepted].socket = accepted;
        set.add(accepted, Poco::Net::PollSet::POLL_READ);
        continue;
      }
      const auto client = clients.find(socket);
      if (client == clients.end() || serve(client->second, buffer.data(), static_cast<int>(buffer.size()))) continue;
      Poco::Net::StreamSocket closing = client->second.socket;
      clients.erase(client);
      set.remove(closing);
      closing.close();
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const auto port = static_cast<Poco::UInt16>(argc > 1 ? std::atoi(argv[1]) : 9090);
  std::printf("bench_hello: http://127.0.0.1:%d\n", port);
  std::fflush(stdout);
  std::thread other(loop, port);
  loop(port);
  return 0;
}
