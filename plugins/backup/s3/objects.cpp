#include "backup/s3/objects.hpp"

#include <curl/curl.h>

#include <algorithm>
#include <cstdlib>

#include "backup/s3/hash.hpp"

namespace roost::backup_s3 {

namespace {

constexpr std::size_t kPinnedMax = 1024;
constexpr std::size_t kListBodyMax = 4u << 20;
constexpr std::uint32_t kPage = 1000;
constexpr int kCleanPages = 10;
constexpr int kVersionsMax = 100;
constexpr std::int64_t kCleanEvery_s = 3600;

// Decimal digits only; nothing for anything else.
std::optional<std::uint64_t> number(std::string_view text) {
  if (text.empty() || text.size() > 18) return std::nullopt;
  std::uint64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + static_cast<std::uint64_t>(c - '0');
  }
  return value;
}

[[noreturn]] void strange(const std::string& what) { throw sdk::Failure(ROOST_UNAVAILABLE, "S3: the server answers " + what); }

// "bytes 0-9/1234": the range's begin and the whole's size.
std::optional<std::pair<std::uint64_t, std::uint64_t>> content_range(std::string_view text) {
  const std::size_t dash = text.find('-');
  const std::size_t slash = text.find('/');
  if (text.substr(0, 6) != "bytes " || dash == text.npos || slash == text.npos) return std::nullopt;
  const auto begin = number(text.substr(6, dash - 6));
  const auto size = number(text.substr(slash + 1));
  if (!begin || !size) return std::nullopt;
  return std::pair(*begin, *size);
}

// Of an answer that has a body. A bucket that is missing is told by 404 too, and so is whatever a server that is none of S3's
// does not have: only S3's own word for it means that an archive is gone.
bool says_absent(const S3Error& error) { return error.status() == 404 && error.s3_code() == "NoSuchKey"; }

}  // namespace

// One range on its way to the host: only bytes of the wanted place in the wanted object are let through.
struct Objects::Reading {
  const std::function<bool(std::string_view)>& emit;
  std::uint64_t offset;
  std::uint64_t left;
  std::string etag;  // empty: that of the first answer
  std::uint64_t got = 0;
  bool stopped = false;  // by the host
  bool other = false;    // another object
  bool astray = false;   // another range

  bool accepts(const HttpResponse& head) {
    const auto range = content_range(head.header("content-range"));
    astray = !range || range->first != offset;
    if (etag.empty()) etag = head.header("etag");
    other = head.header("etag") != etag;
    return !astray && !other;
  }
  bool take(const HttpResponse& head, std::string_view data) {
    if (got == 0 && !accepts(head)) return false;
    const std::string_view wanted = data.substr(0, left - got);
    got += wanted.size();
    stopped = !wanted.empty() && !emit(wanted);
    return !stopped && wanted.size() == data.size();
  }
};

Pairs Objects::customer_key() const {
  if (settings_.sse_customer_key.empty()) return {};
  return {{"x-amz-server-side-encryption-customer-algorithm", "AES256"},
          {"x-amz-server-side-encryption-customer-key", base64(settings_.sse_customer_key)},
          {"x-amz-server-side-encryption-customer-key-MD5", base64(md5(settings_.sse_customer_key))}};
}

std::optional<ObjectState> Objects::look(const sdk::Call& call, std::string_view name) {
  S3Request request;
  request.method = "HEAD";
  request.key = settings_.key_of(name);
  request.headers = customer_key();
  try {
    const HttpResponse response = client_.send(call, request);
    const auto size = number(response.header("content-length"));
    if (!size) strange("an object without its size");
    const std::time_t modified = curl_getdate(response.header("last-modified").c_str(), nullptr);
    const bool customer = !response.header("x-amz-server-side-encryption-customer-algorithm").empty();
    return ObjectState{*size,
                       static_cast<std::int64_t>(std::max<std::time_t>(modified, 0)) * 1'000'000,
                       response.header("etag"),
                       response.header("x-amz-version-id"),
                       response.header(kPutHeader),
                       customer ? "customer" : response.header("x-amz-server-side-encryption"),
                       response.header("x-amz-object-lock-mode")};
  } catch (const S3Error& error) {
    if (error.status() == 404) return std::nullopt;
    throw;
  }
}

ObjectState Objects::stat(const sdk::Call& call, const std::string& name) {
  const auto found = look(call, name);
  pin(name, found ? found->etag : "");
  if (found) return *found;
  make_sure_it_is_absent(call, name);
  throw absent(name);
}

// A HEAD's 404 has no body to say of what.
void Objects::make_sure_it_is_absent(const sdk::Call& call, const std::string& name) {
  S3Request request;
  request.method = "GET";
  request.key = settings_.key_of(name);
  request.headers = customer_key();
  request.headers.emplace_back("Range", "bytes=0-0");
  try {
    client_.send(call, request);
  } catch (const S3Error& error) {
    if (says_absent(error)) return;
    if (error.status() == 404 && error.code() == ROOST_NOT_FOUND) throw no_s3(error);
    if (error.status() != 416) throw;
  }
  throw sdk::Failure(ROOST_UNAVAILABLE, "archive " + name + " is there for one request and not for another: look at it again");
}

sdk::Failure Objects::absent(const std::string& name) const {
  return sdk::Failure(ROOST_NOT_FOUND, "there is no archive " + name + " in " + settings_.bucket + "/" + settings_.prefix);
}

sdk::Failure Objects::no_s3(const S3Error& error) {
  return {ROOST_UNAVAILABLE, std::string(error.what()) + ", but not S3's word for what is absent (NoSuchKey): is " +
                                 "backup.config.endpoint the address of an S3 server?"};
}

std::string Objects::pinned(const std::string& name) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = etags_.find(name);
  return found == etags_.end() ? std::string() : found->second;
}

void Objects::pin(const std::string& name, const std::string& etag) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (etags_.size() >= kPinnedMax) etags_.clear();
  if (etag.empty()) {
    etags_.erase(name);
  } else {
    etags_[name] = etag;
  }
}

void Objects::list(const sdk::Call& call, std::string_view prefix, std::string_view after, std::uint32_t limit,
                   const std::function<bool(std::string_view, const ObjectState&)>& item) {
  std::string token;
  std::string last = settings_.key_of(after);
  for (std::uint32_t count = 0; count < limit;) {
    S3Request request;
    request.method = "GET";
    request.max_body = kListBodyMax;
    request.query = {{"list-type", "2"},
                     {"prefix", settings_.key_of(prefix)},
                     {"delimiter", "/"},
                     {"max-keys", std::to_string(std::min(kPage, limit - count))}};
    if (!token.empty()) request.query.emplace_back("continuation-token", token);
    if (token.empty() && !after.empty()) request.query.emplace_back("start-after", settings_.key_of(after));
    const Xml page = client_.send_for_xml(call, request);
    if (page.name != "ListBucketResult") strange("something else than a list");
    for (const Xml& entry : page.children) {
      if (entry.name != "Contents") continue;
      const std::string& key = entry["Key"].text;
      if (key.compare(0, settings_.prefix.size(), settings_.prefix) != 0) strange("a list of other keys than were asked for");
      const std::string_view name = std::string_view(key).substr(settings_.prefix.size());
      if (!good_name(name)) continue;  // a stranger's
      if (key <= last) strange("a list that is not in order");
      last = key;
      const auto size = number(entry["Size"].text);
      const std::int64_t modified = parse_time(entry["LastModified"].text);
      if (!size || modified < 0) strange("a list without sizes and times");
      if (!item(name, {*size, modified * 1'000'000, entry["ETag"].text, {}, {}, {}, {}}) || ++count == limit) return;
    }
    const std::string next = page["NextContinuationToken"].text;
    if (page["IsTruncated"].text != "true") return;
    if (next.empty() || next == token) strange("a list that does not go on");
    token = next;
  }
}

void Objects::read(const sdk::Call& call, const std::string& name, std::uint64_t offset, std::uint64_t length,
                   const std::function<bool(std::string_view)>& emit) {
  Reading reading{emit, offset, length, pinned(name)};
  for (int tried = 1; reading.left > 0;) {
    try {
      const std::uint64_t size = read_piece(call, name, reading);
      if (!reading.other && (reading.stopped || reading.offset + reading.got >= size)) return;
    } catch (const S3Error& error) {
      if (error.status() == 416) return;  // it ends before
      if (says_absent(error)) throw absent(name);
      if (error.status() == 404 && error.code() == ROOST_NOT_FOUND) throw no_s3(error);
      if (error.status() == 404) throw;
      if (error.status() == 412) reading.other = true;
      if (!reading.other && error.code() != ROOST_UNAVAILABLE) throw;
      if (!reading.other && reading.got == 0 && tried >= settings_.attempts) throw;
      if (reading.got > 0) tried = 1;
      if (!reading.other) client_.pause(call, tried++, error.retry_after_ms(), false);
    }
    if (reading.other) {
      pin(name, "");
      throw sdk::Failure(ROOST_CONFLICT, "archive " + name + " is another object than before: look at it again");
    }
    reading.offset += reading.got;
    reading.left -= reading.got;
    reading.got = 0;
  }
}

// What is left of the range, as far as one answer brings it; the object's size.
std::uint64_t Objects::read_piece(const sdk::Call& call, const std::string& name, Reading& reading) {
  S3Request request;
  request.method = "GET";
  request.key = settings_.key_of(name);
  request.headers = customer_key();
  const std::string last = std::to_string(reading.offset + reading.left - 1);
  request.headers.emplace_back("Range", "bytes=" + std::to_string(reading.offset) + "-" + last);
  if (!reading.etag.empty()) request.headers.emplace_back("If-Match", reading.etag);
  request.sink = [&reading](const HttpResponse& head, std::string_view data) { return reading.take(head, data); };
  const HttpResponse response = client_.send(call, request);
  if (reading.stopped || reading.other) return 0;
  if (response.status == 200 && response.header("content-length") == "0") return 0;
  // A server that gives the whole object for a range would give wrong bytes for it.
  if (response.status != 206) throw sdk::Failure(ROOST_UNSUPPORTED, "S3: the server does not do range requests");
  if (reading.astray) strange("another range than was asked for");
  const auto range = content_range(response.header("content-range"));
  if (!range) strange("a range without Content-Range");
  if (reading.got == 0) strange("a range without its bytes");  // however often it is asked
  return range->second;
}

// By version, so that the bytes are gone and not only hidden behind a marker; a marker of somebody else's is left.
void Objects::remove(const sdk::Call& call, const std::string& name) {
  pin(name, "");
  for (int round = 0; round < kVersionsMax; ++round) {
    const auto found = look(call, name);
    if (!found && round == 0) make_sure_it_is_absent(call, name);
    if (!found) return;
    S3Request request;
    request.method = "DELETE";
    request.key = settings_.key_of(name);
    if (settings_.remove_versions && !found->version.empty()) request.query = {{"versionId", found->version}};
    try {
      client_.send(call, request);
    } catch (const S3Error& error) {
      if (error.status() == 404 && error.code() == ROOST_NOT_FOUND) return;
      if (error.code() == ROOST_DENIED) {
        throw sdk::Failure(ROOST_DENIED, std::string(error.what()) + ". Is archive " + name + " still under object lock?");
      }
      throw;
    }
  }
  throw sdk::Failure(ROOST_CONFLICT, "archive " + name + " is there again each time that it was removed");
}

void Objects::abort_upload(const sdk::Call& call, const std::string& key, const std::string& upload) {
  S3Request request;
  request.method = "DELETE";
  request.key = key;
  request.query = {{"uploadId", upload}};
  client_.send(call, request);
}

void Objects::abort_stale_uploads(const sdk::Call& call) {
  const std::int64_t now = client_.now_s();
  // Without a prefix of our own there is no telling whose they are.
  if (settings_.stale_after_s == 0 || settings_.prefix.empty() || now - cleaned_at_s_ < kCleanEvery_s) return;
  cleaned_at_s_ = now;
  try {
    std::string key_marker;
    std::string upload_marker;
    for (int page_number = 0; page_number < kCleanPages; ++page_number) {
      S3Request request;
      request.method = "GET";
      request.max_body = kListBodyMax;
      request.query = {{"uploads", ""}, {"prefix", settings_.prefix}};
      if (!key_marker.empty())
        request.query.insert(request.query.end(), {{"key-marker", key_marker}, {"upload-id-marker", upload_marker}});
      const Xml page = client_.send_for_xml(call, request);
      for (const Xml& entry : page.children) {
        const std::string& key = entry["Key"].text;
        const bool ours = entry.name == "Upload" && key.compare(0, settings_.prefix.size(), settings_.prefix) == 0 &&
                          good_name(std::string_view(key).substr(std::min(settings_.prefix.size(), key.size())));
        const std::int64_t begun = parse_time(entry["Initiated"].text);
        if (!ours || begun < 0 || begun + settings_.stale_after_s > now) continue;
        abort_upload(call, key, entry["UploadId"].text);
        log_.warn("ended the upload of " + key + ", which was begun " + std::to_string(now - begun) +
                  " s ago and never finished");
      }
      if (page["IsTruncated"].text != "true") return;
      key_marker = page["NextKeyMarker"].text;
      upload_marker = page["NextUploadIdMarker"].text;
      if (key_marker.empty()) return;
    }
  } catch (const sdk::Failure& failure) {
    log_.info(std::string("unfinished uploads could not be cleared away: ") + failure.what());
  }
}

}  // namespace roost::backup_s3
