// The real S3 servers of tests/s3/fixture as a test uses them, and a server of the test's own that plays tricks.
// Thread safety: S3Servers: one thread; TestServer: its handler runs on a thread for each connection.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "backup/s3/client.hpp"
#include "base/json.hpp"
#include "host/loader.hpp"

namespace roost::backup_test {

inline constexpr const char* kS3AccessKey = "AKIAROOSTTEST";
inline constexpr const char* kS3SecretKey = "roost-test-secret";
inline constexpr std::uint64_t kMiB = 1u << 20;

// One running server; ends with the test program.
struct S3Server {
  std::string name;  // "versitygw" or "moto"
  int port = 0;
  std::string directory;
  [[nodiscard]] std::string endpoint() const { return "http://127.0.0.1:" + std::to_string(port); }
};

// Why the servers cannot be had here; empty: they can.
[[nodiscard]] std::string s3_missing();
// Started at its first use. REQUIRES: s3_missing() is empty.
[[nodiscard]] const S3Server& s3_server(const std::string& name);
// A signed request as an administrator; throws where it fails.
backup_s3::HttpResponse ask_s3(const S3Server& server, const std::string& bucket, const backup_s3::S3Request& request);
// A new bucket; `lock`: with object lock, and so with versions.
enum class Bucket { plain, lock };
[[nodiscard]] std::string make_bucket(const S3Server& server, Bucket kind = Bucket::plain);

[[nodiscard]] std::size_t unfinished_uploads(const S3Server& server, const std::string& bucket);

[[nodiscard]] Json s3_config(const std::string& endpoint, const std::string& bucket);
[[nodiscard]] Secrets s3_secrets();

// A request that a TestServer was sent, and what can be done with it.
class Exchange {
 public:
  std::string method;
  std::string target;
  std::map<std::string, std::string> headers;  // by lower-case name
  std::string body;
  int earlier = 0;    // requests on this connection
  bool keep = false;  // it takes another one after this

  void reply(int status, const std::string& content, const std::string& more_headers = {});
  // Passes it on to the server on `port` and answers what that answers.
  std::string forward(int port);          // the whole answer, not yet sent
  std::string forward_damaged(int port);  // the same, with the last byte of the body changed
  void send(const std::string& raw);      // bytes as they are
  void wait_for_hangup();                 // until the client gives up
  [[nodiscard]] bool has(const std::string& header, const std::string& value) const;

 private:
  friend class TestServer;
  bool receive();  // false: nothing came
  int fd_ = -1;
  std::string raw_;
};

class TestServer {
 public:
  using Handler = std::function<void(Exchange&)>;
  explicit TestServer(Handler handler);
  ~TestServer();
  TestServer(const TestServer&) = delete;
  TestServer& operator=(const TestServer&) = delete;
  [[nodiscard]] int port() const { return port_; }
  [[nodiscard]] std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }

 private:
  void accept_loop();
  void serve(int fd);

  Handler handler_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<bool> over_{false};
  std::thread acceptor_;
  std::mutex mutex_;
  std::vector<std::thread> threads_;  // guarded by mutex_
  std::vector<int> open_;             // guarded by mutex_
};

}  // namespace roost::backup_test
