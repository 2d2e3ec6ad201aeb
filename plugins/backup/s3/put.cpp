#include "backup/s3/put.hpp"

#include <time.h>

#include "backup/s3/hash.hpp"

namespace roost::backup_s3 {

namespace {

constexpr std::size_t kCallMax = 8u << 20;
constexpr int kPartsMax = 10'000;
constexpr int kGrowEvery = 1'000;
constexpr std::uint64_t kPartMax = 5ull << 30;
constexpr std::uint64_t kAbort_ns = 5'000'000'000;

std::string iso_date(std::int64_t unix_s) {
  const std::time_t time = unix_s;
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  char text[32];
  return std::string(text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts));
}

// The circumstances of what a destructor does.
roost_call own_call(std::uint64_t limit_ns) {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  roost_call call{};
  call.size = sizeof call;
  call.cancel_fd = -1;
  call.deadline_ns = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec) + limit_ns;
  return call;
}

}  // namespace

std::uint64_t part_bytes(int number, std::uint64_t base) { return std::min(base << ((number - 1) / kGrowEvery), kPartMax); }

S3Put::S3Put(std::shared_ptr<Objects> objects, std::string name)
    : objects_(std::move(objects)),
      settings_(objects_->settings()),
      name_(std::move(name)),
      key_(settings_.key_of(name_)),
      mark_(random_hex(16)) {}

S3Put::~S3Put() {
  if (upload_.empty()) return;
  const roost_call raw = own_call(kAbort_ns);
  try {
    objects_->abort_upload(sdk::Call(&raw), key_, upload_);
  } catch (const S3Error& error) {
    if (error.status() != 404) objects_->log().warn(std::string("an upload could not be ended: ") + error.what());
  } catch (const std::exception& error) {
    objects_->log().warn(std::string("an upload could not be ended: ") + error.what());
  }
}

// What the object will be, said at its beginning.
Pairs S3Put::object_headers() const {
  Pairs headers = {{kPutHeader, mark_}};
  if (settings_.sse == "customer") {
    headers = objects_->customer_key();
    headers.emplace_back(kPutHeader, mark_);
  } else if (!settings_.sse.empty()) {
    headers.emplace_back("x-amz-server-side-encryption", settings_.sse);
    if (!settings_.sse_kms_key_id.empty())
      headers.emplace_back("x-amz-server-side-encryption-aws-kms-key-id", settings_.sse_kms_key_id);
    if (settings_.sse_bucket_key) headers.emplace_back("x-amz-server-side-encryption-bucket-key-enabled", "true");
  }
  if (!settings_.lock_mode.empty()) {
    headers.emplace_back("x-amz-object-lock-mode", settings_.lock_mode);
    headers.emplace_back("x-amz-object-lock-retain-until-date",
                         iso_date(objects_->client().now_s() + settings_.lock_days * 86400));
  }
  if (!settings_.tags.empty()) headers.emplace_back("x-amz-tagging", encode_query(settings_.tags));
  if (!settings_.storage_class.empty()) headers.emplace_back("x-amz-storage-class", settings_.storage_class);
  return headers;
}

// The checksum that goes with bytes.
Pairs S3Put::body_headers(const std::string& body_sha256, std::string_view body) const {
  if (settings_.checksum == Checksum::sha256) {
    return {{"x-amz-checksum-sha256", base64(body_sha256)}, {"x-amz-sdk-checksum-algorithm", "SHA256"}};
  }
  if (settings_.checksum == Checksum::md5) return {{"Content-MD5", base64(md5(body))}};
  return {};
}

void S3Put::part(const sdk::Call& call, std::string_view data) {
  if (data.size() > kCallMax) throw sdk::Failure(ROOST_INVALID, "a part is at most 8 MiB");
  call.check();
  send_full_parts(call);  // of earlier calls: where it fails, nothing of this one was taken
  buffer_ += data;
  size_ += data.size();
}

// The last bytes stay, for the commit: a part of nothing is none.
void S3Put::send_full_parts(const sdk::Call& call) {
  for (;;) {
    const std::uint64_t wanted = part_bytes(static_cast<int>(parts_.size()) + 1, settings_.part_size);
    if (buffer_.size() <= wanted) return;
    if (parts_.size() >= kPartsMax) throw sdk::Failure(ROOST_INVALID, "archive " + name_ + " is larger than S3 takes");
    if (upload_.empty()) begin_upload(call);
    send_part(call, static_cast<std::size_t>(wanted));
  }
}

void S3Put::begin_upload(const sdk::Call& call) {
  objects_->abort_stale_uploads(call);
  S3Request request;
  request.method = "POST";
  request.key = key_;
  request.query = {{"uploads", ""}};
  request.headers = object_headers();
  if (settings_.checksum == Checksum::sha256) request.headers.emplace_back("x-amz-checksum-algorithm", "SHA256");
  const std::string upload = objects_->client().send_for_xml(call, request)["UploadId"].text;
  if (upload.empty()) throw sdk::Failure(ROOST_UNAVAILABLE, "S3: the server begins an upload without an id");
  upload_ = upload;
}

void S3Put::send_part(const sdk::Call& call, std::size_t size) {
  const std::string_view body = std::string_view(buffer_).substr(0, size);
  S3Request request;
  request.method = "PUT";
  request.key = key_;
  request.query = {{"partNumber", std::to_string(parts_.size() + 1)}, {"uploadId", upload_}};
  request.body = body;
  request.body_sha256 = sha256(body);
  request.headers = objects_->customer_key();
  for (auto& header : body_headers(request.body_sha256, body)) request.headers.push_back(header);
  const std::string checksum = settings_.checksum == Checksum::sha256 ? base64(request.body_sha256) : std::string();
  for (int tried = 1;; ++tried) {
    const HttpResponse response = objects_->client().send(call, request);
    const std::string& etag = response.header("etag");
    const std::string& stored = response.header("x-amz-checksum-sha256");
    if (!etag.empty() && (checksum.empty() || stored.empty() || stored == checksum)) {
      parts_.push_back({etag, checksum});
      break;
    }
    const std::string what =
        "S3: the server stored part " + std::to_string(parts_.size() + 1) + " of " + name_ + " with another checksum";
    if (tried >= settings_.attempts) throw sdk::Failure(ROOST_UNAVAILABLE, what);
    objects_->log().warn(what + "; it is sent again");
    objects_->client().pause(call, tried, 0, false);
  }
  buffer_.erase(0, size);
}

std::string S3Put::part_list() const {
  std::string xml = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    xml += "<Part><PartNumber>" + std::to_string(i + 1) + "</PartNumber><ETag>" + xml_escape(parts_[i].etag) + "</ETag>";
    if (!parts_[i].checksum.empty()) xml += "<ChecksumSHA256>" + parts_[i].checksum + "</ChecksumSHA256>";
    xml += "</Part>";
  }
  return xml + "</CompleteMultipartUpload>";
}

void S3Put::complete(const sdk::Call& call) {
  const std::string body = part_list();
  S3Request request;
  request.method = "POST";
  request.key = key_;
  request.query = {{"uploadId", upload_}};
  request.headers = objects_->customer_key();
  if (settings_.conditional_writes) request.headers.emplace_back("If-None-Match", "*");
  request.body = body;
  request.fresh_connection = true;
  objects_->client().send_for_xml(call, request);
}

void S3Put::put_whole(const sdk::Call& call) {
  S3Request request;
  request.method = "PUT";
  request.key = key_;
  request.body = buffer_;
  request.body_sha256 = sha256(buffer_);
  request.headers = object_headers();
  for (auto& header : body_headers(request.body_sha256, buffer_)) request.headers.push_back(header);
  if (settings_.conditional_writes) request.headers.emplace_back("If-None-Match", "*");
  request.fresh_connection = true;
  objects_->client().send(call, request);
}

void S3Put::make_visible(const sdk::Call& call) {
  if (!upload_.empty()) return complete(call);
  put_whole(call);
}

// For servers that take no notice of If-None-Match. It is not the lock, it is the belt. Keys that may not list the bucket, as a
// task's need not, are answered 403 for what is absent; keys that may do nothing hear that from the write, in better words.
bool S3Put::is_taken(const sdk::Call& call) {
  try {
    return objects_->look(call, name_).has_value();
  } catch (const S3Error& error) {
    if (error.status() == 403 && settings_.conditional_writes) return false;
    throw;
  }
}

std::string S3Put::commit(const sdk::Call& call) {
  call.check();
  send_full_parts(call);
  if (!upload_.empty() && !buffer_.empty()) send_part(call, buffer_.size());
  if (is_taken(call)) throw sdk::Failure(ROOST_EXISTS, "there is an archive " + name_ + " already; it was left as it is");
  try {
    make_visible(call);
  } catch (const S3Error& error) {
    confirm(call, &error);
    return "{\"size\":" + std::to_string(size_) + "}";
  }
  confirm(call, nullptr);
  return "{\"size\":" + std::to_string(size_) + "}";
}

// What is stored decides: after a success it must be there, after an error it may be all the same. `error`: why it may not be.
// An upload that is gone may have been completed: by this very request, where something on the way sent it twice.
void S3Put::confirm(const sdk::Call& call, const S3Error* error) {
  const bool looks = error == nullptr || error->maybe_done() || error->status() == 409 || error->status() == 412 ||
                     error->s3_code() == "NoSuchUpload";
  if (!looks) throw *error;
  std::optional<ObjectState> found;
  try {
    found = objects_->look(call, name_);
  } catch (const sdk::Failure& failure) {
    throw sdk::Failure(ROOST_OUTCOME_UNKNOWN, "whether archive " + name_ + " was stored is not known: " +
                                                  (error != nullptr ? error->what() : failure.what()));
  }
  if (!found && error != nullptr && !error->maybe_done()) throw *error;
  if (!found) {
    throw sdk::Failure(ROOST_OUTCOME_UNKNOWN, "archive " + name_ + " is not to be seen after it was stored" +
                                                  (error != nullptr ? std::string(": ") + error->what() : std::string()));
  }
  if (found->put != mark_) throw sdk::Failure(ROOST_EXISTS, "there is an archive " + name_ + " already; it was left as it is");
  upload_.clear();  // it is ended: there is nothing to abort
  const bool whole = found->size == size_;
  const bool encrypted = settings_.sse.empty() || found->sse == settings_.sse;
  if (whole && encrypted && !settings_.lock_mode.empty() && found->lock_mode != settings_.lock_mode) {
    // Not shown without the right to see it (s3:GetObjectRetention), so it cannot be an error.
    objects_->log().warn("archive " + name_ + " does not show the object lock that backup.config.object_lock asks for");
  }
  if (whole && encrypted) return;
  const std::string what_became = take_away(call);
  if (whole) {
    throw sdk::Failure(ROOST_UNSUPPORTED, "S3: the server stored archive " + name_ + " without the encryption " + settings_.sse +
                                              " that backup.config.sse asks for; " + what_became);
  }
  throw sdk::Failure(ROOST_UNAVAILABLE, "S3: of archive " + name_ + " the server stored " + std::to_string(found->size) + " of " +
                                            std::to_string(size_) + " bytes; " + what_became);
}

// Ours, and not as it must be. Where it must stay, it is still no backup: nobody has read it back.
std::string S3Put::take_away(const sdk::Call& call) {
  try {
    objects_->remove(call, name_);
    return "it was removed";
  } catch (const sdk::Failure& failure) {
    return std::string("it could not be removed: ") + failure.what();
  }
}

}  // namespace roost::backup_s3
