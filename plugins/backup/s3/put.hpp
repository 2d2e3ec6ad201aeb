// S3Put: one archive on its way into the bucket. What fits into one part is one PutObject at the commit; more is a multipart
// upload, whose parts grow so that 10,000 of them reach 5 TB. Memory: one part and what one call brings. Thread safety: one
// thread at a time. Invariants: a call that fails has added nothing, so it can be repeated; nothing is visible before commit()
// has it whole; an upload that ends in any other way than a successful commit is aborted.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backup/s3/objects.hpp"

namespace roost::backup_s3 {

// Bytes of part number `number` (1 to 10,000), where the first has `base`: doubled every 1,000 parts. Pure.
[[nodiscard]] std::uint64_t part_bytes(int number, std::uint64_t base);

class S3Put final : public sdk::Put {
 public:
  S3Put(std::shared_ptr<Objects> objects, std::string name);
  ~S3Put() override;
  void part(const sdk::Call& call, std::string_view data) override;
  std::string commit(const sdk::Call& call) override;

 private:
  struct Part {
    std::string etag;
    std::string checksum;  // base64, or empty
  };
  void begin_upload(const sdk::Call& call);
  void send_part(const sdk::Call& call, std::size_t size);
  void send_full_parts(const sdk::Call& call);
  [[nodiscard]] std::string part_list() const;
  void put_whole(const sdk::Call& call);
  void complete(const sdk::Call& call);
  void make_visible(const sdk::Call& call);
  bool is_taken(const sdk::Call& call);
  void confirm(const sdk::Call& call, const S3Error* error);
  std::string take_away(const sdk::Call& call);
  [[nodiscard]] Pairs object_headers() const;
  Pairs body_headers(const std::string& body_sha256, std::string_view body) const;

  std::shared_ptr<Objects> objects_;
  const Settings& settings_;
  const std::string name_;
  const std::string key_;
  const std::string mark_;  // makes the object known again as this put's
  std::string buffer_;
  std::uint64_t size_ = 0;
  std::string upload_;  // empty: none is begun
  std::vector<Part> parts_;
};

}  // namespace roost::backup_s3
