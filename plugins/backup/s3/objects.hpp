// Objects: what the plugin does with the objects under its prefix: looks, lists, reads ranges, removes, and clears away uploads
// that nobody finishes. Thread safety: any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "backup/s3/client.hpp"

namespace roost::backup_s3 {

inline constexpr const char* kPutHeader = "x-amz-meta-roost-put";  // which put made the object

struct ObjectState {
  std::uint64_t size = 0;
  std::int64_t modified_us = 0;
  std::string etag;
  std::string version;  // empty where the bucket has none
  std::string put;
  std::string sse;        // how the server encrypted it: as the setting, or empty
  std::string lock_mode;  // empty: none, or it may not be seen
};

class Objects {
 public:
  Objects(const Settings& settings, sdk::Log log) : settings_(settings), log_(log), client_(settings_, log) {}

  Client& client() { return client_; }
  [[nodiscard]] const Settings& settings() const { return settings_; }
  [[nodiscard]] const sdk::Log& log() const { return log_; }

  // Nothing where it, or its bucket, is absent.
  std::optional<ObjectState> look(const sdk::Call& call, std::string_view name);
  // The same, and from then on read() takes this very object only; throws NOT_FOUND, of which S3's own word has to be had: a
  // missing bucket is UNAVAILABLE.
  ObjectState stat(const sdk::Call& call, const std::string& name);
  // `item` answers false to end it.
  void list(const sdk::Call& call, std::string_view prefix, std::string_view after, std::uint32_t limit,
            const std::function<bool(std::string_view, const ObjectState&)>& item);
  // CONFLICT: it is another object than the one that stat() or an earlier read saw.
  void read(const sdk::Call& call, const std::string& name, std::uint64_t offset, std::uint64_t length,
            const std::function<bool(std::string_view)>& emit);
  void remove(const sdk::Call& call, const std::string& name);

  // Ends uploads under the prefix that are older than stale_after_s; at most once an hour, and best effort.
  void abort_stale_uploads(const sdk::Call& call);
  void abort_upload(const sdk::Call& call, const std::string& key, const std::string& upload);

  // The headers of a customer's key, for requests that read or write bytes.
  [[nodiscard]] Pairs customer_key() const;

 private:
  struct Reading;
  std::uint64_t read_piece(const sdk::Call& call, const std::string& name, Reading& reading);
  [[nodiscard]] sdk::Failure absent(const std::string& name) const;
  void make_sure_it_is_absent(const sdk::Call& call, const std::string& name);
  [[nodiscard]] static sdk::Failure no_s3(const S3Error& error);
  std::string pinned(const std::string& name);
  void pin(const std::string& name, const std::string& etag);

  const Settings settings_;
  const sdk::Log log_;
  Client client_;
  std::atomic<std::int64_t> cleaned_at_s_{0};
  std::mutex mutex_;
  std::map<std::string, std::string> etags_;  // guarded by mutex_; what a name stood for when it was last seen
};

}  // namespace roost::backup_s3
