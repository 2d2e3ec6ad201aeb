// A running server for tests, on a port of its own. Thread safety: one thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "http/client.hpp"
#include "http/server.hpp"

namespace roost::http {

class ServerTest : public ::testing::Test {
 protected:
  ServerTest() {
    options_.listen = "127.0.0.1:0";
    api_.router = &router_;
    api_.accepts = [](std::string_view host) { return host == "a"; };
  }
  ~ServerTest() override {
    if (server_) server_->stop();
  }

  void on_loop(const char* method, const char* pattern, Handler handler, std::size_t body_limit = 64 << 10) {
    router_.add({method, pattern, http::Run::inline_, std::move(handler), body_limit});
  }
  void on_pool(const char* method, const char* pattern, Handler handler, std::size_t body_limit = 64 << 10) {
    router_.add({method, pattern, http::Run::pooled, std::move(handler), body_limit});
  }
  void start(std::vector<VirtualServer> more = {}) {
    std::vector<VirtualServer> servers{api_};
    for (VirtualServer& server : more) servers.push_back(std::move(server));
    server_ = std::make_unique<Server>(options_, std::move(servers));
    if (observer_) server_->on_request(observer_);
    const Status started = server_->start();
    ASSERT_TRUE(started.ok()) << started.error().message;
    port_ = server_->port();
  }
  [[nodiscard]] test::Wire connect(int receive_buffer = 0) const { return test::Wire::to_port(port_, receive_buffer); }
  [[nodiscard]] test::Message ask(std::string_view bytes) const { return test::ask(port_, bytes); }
  [[nodiscard]] static std::string get(std::string_view path, std::string_view headers = "") {
    return "GET " + std::string(path) + " HTTP/1.1\r\nHost: a\r\n" + std::string(headers) + "\r\n";
  }
  [[nodiscard]] static std::string post(std::string_view path, std::string_view body, std::string_view headers = "") {
    return "POST " + std::string(path) + " HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
           std::string(headers) + "\r\n" + std::string(body);
  }
  static void echo(const Request& request, const Responder& respond) {
    Response response;
    response.headers.emplace_back("content-type", "text/plain");
    response.body = request.method + " " + request.path + " " + request.body;
    respond(std::move(response));
  }

  ServerOptions options_;
  Router router_;
  VirtualServer api_;
  Server::Observer observer_;
  std::unique_ptr<Server> server_;
  std::uint16_t port_ = 0;
};

}  // namespace roost::http
