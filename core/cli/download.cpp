#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <optional>

#include "base/crypto.hpp"
#include "cli/interrupt.hpp"
#include "cli/parts.hpp"
#include "cli/text.hpp"

namespace roost::cli {
namespace {

constexpr int kMostFruitless = 8;  // tries in a row that brought nothing
constexpr std::int64_t kLongestPauseMs = 5'000;

Error local_error(const std::string& what) { return {Code::internal, what + ": " + std::strerror(errno), 0}; }

// The SHA-256 that an ETag is, in lower case; "" where it is something else.
std::string sha256_of_etag(const HttpResponse& head) {
  std::string_view tag = head.header("etag");
  if (tag.size() != 66 || tag.front() != '"' || tag.back() != '"') return "";
  const auto bytes = from_hex(tag.substr(1, 64));
  return bytes ? to_hex(*bytes) : "";
}

// "bytes FIRST-LAST/TOTAL".
struct ContentRange {
  std::int64_t first = -1, total = 0;
};
ContentRange content_range(const HttpResponse& head) {
  ContentRange range;
  long long first = 0, last = 0, total = 0;
  if (std::sscanf(head.header("content-range").c_str(), "bytes %lld-%lld/%lld", &first, &last, &total) == 3)
    range = {first, total};
  return range;
}

std::int64_t content_length(const HttpResponse& head) {
  const std::string& text = head.header("content-length");
  std::int64_t length = 0;
  std::from_chars(text.data(), text.data() + text.size(), length);
  return std::max<std::int64_t>(0, length);
}

// FILE.part: what is there already, and what is added. Invariant: the hash is of the file's first `size` bytes.
class Part {
 public:
  Part() = default;
  ~Part() {
    if (fd_ >= 0) ::close(fd_);
  }
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;

  // CONFLICT where another download is at it.
  Status open(const std::string& path) {
    path_ = path;
    fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    struct stat status {};
    if (fd_ < 0 || ::fstat(fd_, &status) != 0) return local_error("cannot write " + path);
    if (!S_ISREG(status.st_mode)) return Error{Code::invalid, path + " is not a file", 0};
    if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) return Error{Code::conflict, "another download is writing " + path, 0};
    return keep(status.st_size);
  }

  // Keeps the first `size` bytes, which are read for the hash.
  Status keep(std::int64_t size) {
    if (::ftruncate(fd_, size) != 0 || ::lseek(fd_, 0, SEEK_SET) < 0) return local_error("cannot write " + path_);
    hash_.emplace();
    size_ = 0;
    std::string buffer(1 << 20, '\0');
    while (size_ < size && !interrupted()) {
      const ssize_t n = ::read(fd_, buffer.data(), static_cast<std::size_t>(std::min<std::int64_t>(size - size_, 1 << 20)));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return local_error("cannot read " + path_);
      hash_->update({buffer.data(), static_cast<std::size_t>(n)});
      size_ += n;
    }
    return interrupted() ? Status{interruption()} : Status{};
  }

  Status append(std::string_view piece) {
    hash_->update(piece);
    while (!piece.empty()) {
      const ssize_t n = ::write(fd_, piece.data(), piece.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return local_error("cannot write " + path_);
      piece.remove_prefix(static_cast<std::size_t>(n));
      size_ += n;
    }
    return {};
  }

  // REQUIRES: nothing is appended after it.
  std::string digest() { return to_hex(hash_->finish()); }

  Status become(const std::string& to, Replace replace) {
    if (::fsync(fd_) != 0) return local_error("cannot write " + path_);
    const unsigned flags = replace == Replace::yes ? 0 : RENAME_NOREPLACE;
    int done = ::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, to.c_str(), flags);
    if (done != 0 && errno == EINVAL && flags != 0)
      done = ::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, to.c_str(), 0);  // not there on this file system
    if (done == 0) return {};
    if (errno == EEXIST) return Error{Code::conflict, to + " exists; --force replaces it. What was downloaded is " + path_, 0};
    return local_error("cannot make " + to);
  }

  void remove() { ::unlink(path_.c_str()); }
  [[nodiscard]] std::int64_t size() const { return size_; }

 private:
  std::string path_;
  int fd_ = -1;
  std::int64_t size_ = 0;
  std::optional<Sha256Stream> hash_;
};

class Downloader {
 public:
  Downloader(Run& run, std::string target, std::string to)
      : run_(run), target_(std::move(target)), to_(std::move(to)), reporter_(run.terminal(), run.options().quiet) {}

  Status fetch(Replace replace) {
    struct stat there {};
    if (replace == Replace::no && ::lstat(to_.c_str(), &there) == 0)
      return Error{Code::conflict, to_ + " exists; --force replaces it", 0};
    ROOST_TRY(Client* const client, run_.client());
    ROOST_CHECK(part_.open(to_ + ".part"));
    resumed_ = part_.size() > 0;
    ROOST_CHECK(bytes(*client));
    if (!matches() && resumed_) {  // what was there was of something else
      run_.note("what was left of an earlier try does not fit; beginning anew");
      resumed_ = false;
      ROOST_CHECK(part_.keep(0));
      ROOST_CHECK(bytes(*client));
      (void)matches();
    }
    reporter_.clear();
    if (!fits_) {
      part_.remove();
      return Error{Code::data_loss, "what came is not what the server says it is (SHA-256 " + wanted_ + "); nothing was kept", 0};
    }
    if (wanted_.empty()) run_.note("warning: the server gave no SHA-256, so nothing but the length was checked");
    ROOST_CHECK(part_.become(to_, replace));
    report();
    return {};
  }

 private:
  // Until all of it is there, from where it broke off each time.
  Status bytes(Client& client) {
    int fruitless = 0;
    while (true) {
      const std::int64_t before = part_.size();
      const Status once = ask(client);
      if (once.ok()) return {};
      const Code code = once.error().code;
      const bool passing =
          code == Code::unavailable || code == Code::outcome_unknown || code == Code::deadline || code == Code::exhausted;
      fruitless = part_.size() > before ? 1 : fruitless + 1;
      if (!passing || fruitless > kMostFruitless || client.left_ms(1) == 0) {
        reporter_.clear();
        if (part_.size() == 0) part_.remove();
        return part_.size() > 0 ? once.error().context("the download is not whole; the same command continues it") : once.error();
      }
      ROOST_CHECK(run_.pause(std::max(once.error().retry_after_ms, std::min<std::int64_t>(200LL << fruitless, kLongestPauseMs))));
    }
  }

  // One request. The last byte is asked for again, so that a range is never empty.
  Status ask(Client& client) {
    HttpRequest request;
    request.target = target_;
    if (part_.size() > 0) {
      ROOST_CHECK(part_.keep(part_.size() - 1));
      if (part_.size() > 0) request.headers.push_back("Range: bytes=" + std::to_string(part_.size()) + "-");
    }
    constexpr std::int64_t kForever = 365LL * 86'400'000;
    const std::int64_t left_ms = client.left_ms(kForever);
    request.timeout_ms = left_ms == kForever ? 0 : left_ms;
    request.stall_ms = 30'000;
    request.opened = [&](const HttpResponse& head) { return begin(head); };
    request.sink = [&](const HttpResponse&, std::string_view piece) -> Status {
      ROOST_CHECK(part_.append(piece));
      progress_.bytes = part_.size();
      reporter_.show(progress_, run_.now_ns());
      return {};
    };
    const auto answer = client.http().send(request);
    if (!answer.ok()) return answer.error();
    if (answer->status == 416 && part_.size() > 0) {  // more than there is: of something else
      ROOST_CHECK(part_.keep(0));
      return Error{Code::outcome_unknown, "the part that was there does not fit", 0};
    }
    if (answer->status < 200 || answer->status > 299) return run_.refusal(*answer);
    return {};
  }

  Status begin(const HttpResponse& head) {
    const std::string tag = sha256_of_etag(head);
    const bool changed = !wanted_.empty() && tag != wanted_;
    if (head.status == 206) {
      const ContentRange range = content_range(head);
      if (range.first != part_.size() || changed) {
        wanted_.clear();
        ROOST_CHECK(part_.keep(0));
        return Error{Code::outcome_unknown, "the server answered another range than was asked for", 0};
      }
      progress_.total_bytes = range.total;
    } else {
      ROOST_CHECK(part_.keep(0));
      progress_.total_bytes = content_length(head);
    }
    wanted_ = tag;
    progress_.what = to_;
    return {};
  }

  bool matches() { return fits_ = wanted_.empty() || part_.digest() == wanted_; }

  void report() {
    const Json json = Json::object({{"file", to_}, {"bytes", part_.size()}, {"sha256", wanted_}});
    const Document document{200, json.dump() + "\n", json};
    run_.show(
        document, [&] { return printable(to_) + "\n"; },
        [&](const Style&) {
          return printable(to_) + "  " + human_bytes(part_.size()) + (wanted_.empty() ? "" : "  sha256 " + wanted_) + "\n";
        });
  }

  Run& run_;
  const std::string target_, to_;
  Part part_;
  Reporter reporter_;
  Progress progress_;
  std::string wanted_;  // SHA-256; empty: the server says none
  bool resumed_ = false, fits_ = false;
};

}  // namespace

Status download(Run& run, const std::string& target, const std::string& to, Replace replace) {
  return Downloader(run, target, to).fetch(replace);
}

Status copy_to_stdout(Run& run, const std::string& target) {
  ROOST_TRY(Client* const client, run.client());
  Sha256Stream hash;
  std::string wanted;
  HttpRequest request;
  request.target = target;
  constexpr std::int64_t kForever = 365LL * 86'400'000;
  request.timeout_ms = client->left_ms(kForever);
  request.opened = [&](const HttpResponse& head) -> Status {
    wanted = sha256_of_etag(head);
    return {};
  };
  std::string begun;  // of a character, at the end of the last piece
  request.sink = [&](const HttpResponse&, std::string_view piece) -> Status {
    if (run.terminal().out_is_tty && !run.options().force) {
      const std::string text = begun + std::string(piece);
      if (!is_plain_text(text)) {
        return Error{Code::invalid,
                     "this is not plain text, and a terminal would obey it: send it to a file or a program, or use --force", 0};
      }
      begun = cut_character(text);
    }
    hash.update(piece);
    run.terminal().out(piece);
    return run.terminal().written();
  };
  ROOST_TRY(const HttpResponse answer, client->call(std::move(request), Repeat::once));
  if (answer.status < 200 || answer.status > 299) return run.refusal(answer);
  if (!wanted.empty() && to_hex(hash.finish()) != wanted) {
    return Error{Code::data_loss, "what came is not what the server says it is (SHA-256 " + wanted + ")", 0};
  }
  return {};
}

}  // namespace roost::cli
