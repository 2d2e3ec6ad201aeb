// Reading archives for requests: read_ranges() feeds a reading out of the backup storage, Download sends bytes to a client as
// fast as it takes them. No thread waits for a client or for the storage, and a client costs two pieces of memory. Thread safety:
// any thread; the steps of one reading follow each other.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "archive/reading.hpp"
#include "base/crypto.hpp"
#include "engine/ports.hpp"
#include "http/http.hpp"

namespace roost::api {

// The bytes [offset, offset + length) of an archive; answers once, on any thread.
using ReadArchive = std::function<void(const std::string& archive, std::int64_t offset, std::int64_t length, Done<std::string>)>;

// Feeds `reading` until it wants nothing more. CANCELLED where the client is gone by then.
void read_ranges(const ReadArchive& read, const std::string& archive, std::shared_ptr<RangeReading> reading,
                 const http::Responder& client, Done<void> done);

class Download : public std::enable_shared_from_this<Download> {
 public:
  struct What {
    std::string archive;
    std::shared_ptr<ContentReading> content;
    std::uint64_t length = 0;  // of what is sent
    std::string sha256;        // of it, hex; empty: it is not checked
  };
  // `ended` is called once: OK, CANCELLED where the client went, DATA_LOSS, or why the storage could not be read.
  Download(ReadArchive read, What what, Done<void> ended);
  // Answers with this head. The last piece is sent only when the whole is known to be right: what is wrong is cut off.
  void start(const http::Responder& respond, http::Response head);

 private:
  void go_on();  // send what is there
  void fetch();
  bool send(std::string piece);
  void finish(Status status);
  Status check();

  const ReadArchive read_;
  const What what_;
  Done<void> ended_;
  std::shared_ptr<http::Stream> stream_;
  std::string held_;  // the last piece that was taken
  std::uint64_t taken_ = 0;
  Sha256Stream sha256_;
};

}  // namespace roost::api
