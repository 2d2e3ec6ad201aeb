// Feed: two threads that serve an open store: one reads what changed in every bucket and tells the ChangeLog; the other looks
// after the server now and then and removes documents whose time is over. Thread safety: any thread.
#pragma once

#include <string>
#include <thread>
#include <vector>

#include "store/redis/layout.hpp"
#include "store/redis/server.hpp"
#include "store/shared/changes.hpp"

namespace roost::store_redis {

class Feed {
 public:
  Feed(Server& server, store::ChangeLog& changes, const std::vector<Bucket>& buckets);
  ~Feed();
  Feed(const Feed&) = delete;
  Feed& operator=(const Feed&) = delete;

  // Waits until the changes are followed for the first time, or the call is over, or that failed.
  void await_begin(const Until& until);

 private:
  void follow();
  void follow_one(Connection& connection);
  void find_positions(Connection& connection);
  bool take_in(const Reply& reply);
  void keep_house();
  void purge();
  [[nodiscard]] bool stopping() const;
  void end();

  Server& server_;
  store::ChangeLog& changes_;
  const std::vector<Bucket>& buckets_;
  std::string run_id_;                  // the follower's: whose changes these are
  std::vector<std::string> positions_;  // likewise: the last change seen in each bucket
  int stop_fd_ = -1;
  int begun_fd_ = -1;  // readable once the first attempt to follow has succeeded or failed
  std::thread follower_;
  std::thread keeper_;
};

}  // namespace roost::store_redis
