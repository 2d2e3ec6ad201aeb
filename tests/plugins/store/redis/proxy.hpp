// Proxy: between a store and its Redis, both on unix sockets; it cuts, holds back or rewrites what passes, on the connections
// whose requests hold a given text. Thread safety: any thread.
#pragma once

#include <atomic>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace roost::store_suite {

struct Fault {
  std::string match;            // a request that holds this meets the fault
  int times = 1;                // so often; then requests pass
  bool before_request = false;  // the request does not even arrive
  std::size_t reply_bytes = 0;  // so much of the reply passes, then the connection is cut
  bool hold = false;            // instead of a cut: nothing more comes back until release()
  bool delay = false;           // the same of the request: it arrives after release(), whether its sender still waits or not
};

class Proxy {
 public:
  Proxy(std::string listen, std::string target);
  ~Proxy();
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  void arm(Fault fault);
  void release();
  void rewrite(std::string from, std::string to);  // in replies; of the same length
  [[nodiscard]] int met() const { return met_; }   // how many requests met a fault

 private:
  void run();
  void serve(int client);
  std::optional<Fault> take(const std::string& request);

  const std::string target_;
  int listener_ = -1;
  std::atomic<bool> stop_{false};
  std::atomic<bool> held_{false};
  std::atomic<int> met_{0};
  std::mutex mutex_;
  std::optional<Fault> fault_;
  std::string from_, to_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

}  // namespace roost::store_suite
