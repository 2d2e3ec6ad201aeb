// Reflector: keeps one kind of object in the View by a paginated list and a watch with bookmarks, by client-go's rules (the
// numbers in the comments are those of its reflector: what to do on an expired version, a clean end, an overload).
// Thread safety: owns one thread; made and destroyed by one owner.
#pragma once

#include <atomic>
#include <string>
#include <thread>
#include <unordered_set>

#include "compute/kubernetes/client.hpp"
#include "compute/kubernetes/view.hpp"

namespace roost::kubernetes {

class Reflector {
 public:
  // path: of the collection, e.g. /api/v1/namespaces/x/pods; selector: of labels, may be empty. optional: may be forbidden to us.
  Reflector(Kind kind, std::string path, std::string selector, bool optional, Client& client, View& view, sdk::Log log);
  ~Reflector();  // ends what is under way and joins the thread
  Reflector(const Reflector&) = delete;
  Reflector& operator=(const Reflector&) = delete;

 private:
  enum class Next { watch, list, list_newest };

  void run();
  Next follow();  // one list if it is due, then one watch
  void list_all();
  Next watch_once();
  void event(std::string_view line);
  Next after_failure(const ApiError& error);
  bool pause();  // false: stop
  [[nodiscard]] std::string query(const std::string& rest) const;
  [[nodiscard]] bool stopping() const;

  const Kind kind_;
  const std::string path_;
  const std::string selector_;
  const bool optional_;
  Client& client_;
  View& view_;
  const sdk::Log log_;
  const int stop_fd_;
  // the thread's own
  Next next_ = Next::list;
  std::string version_ = "0";  // of the last list or event; "0": whatever the server has at hand
  int failures_ = 0;
  std::string complaint_;  // the last one, so that it is logged once
  std::thread thread_;
};

}  // namespace roost::kubernetes
