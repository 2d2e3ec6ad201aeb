#include "daemon/transfer.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "base/crypto.hpp"
#include "daemon/blocking_store.hpp"
#include "engine/documents.hpp"

namespace roost::daemon {
namespace {

constexpr const char* kFormat = "roost-export";
constexpr std::int64_t kVersion = 1;
constexpr std::uint32_t kPage = BlockingStore::kScanPage;
constexpr std::size_t kLineMax = 16U << 20;    // a document of 1 MiB, each byte escaped
constexpr std::size_t kBatchBytes = 4U << 20;  // of one commit
constexpr std::size_t kBatch = 100;
constexpr std::int64_t kBurntMs = 60'000;
constexpr std::int64_t kLookMs = 1'000;
constexpr int kWatches = 64;        // on the way
constexpr int kWatchesMax = 8'192;  // at the end: for all that a store remembers of changes, were it one at a time

// ---- the file -----------------------------------------------------------------------------------------------------------

struct Line {
  enum class Kind { document, sequence } kind = Kind::document;
  std::string partition, key, value;
  std::int64_t ttl_ms = 0;   // of a document; 0: forever
  std::uint64_t number = 0;  // of a sequence: the last that was seen
};

std::string hex16(std::uint64_t number) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(number));
  return text;
}

class Writer {
 public:
  explicit Writer(std::string path) : path_(std::move(path)), partial_(path_ + ".partial") {}
  ~Writer() {
    if (fd_ >= 0) ::close(fd_);
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  Status open() {
    if (::access(path_.c_str(), F_OK) == 0) return Error{Code::exists, path_ + " is there already: name another file", 0};
    fd_ = ::open(partial_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd_ >= 0 ? Status{} : failed("cannot make");
  }
  Status line(const Json& json) {
    std::string text = json.dump() + "\n";
    hash_.update(text);
    buffer_ += text;
    return buffer_.size() < (1U << 20) ? Status{} : flush();
  }
  // The last line is not hashed: it holds the hash.
  Status finish(Json last, TransferReport& report) {
    report.sha256 = to_hex(hash_.finish());
    last.set("sha256", report.sha256);
    buffer_ += last.dump() + "\n";
    ROOST_CHECK(flush());
    if (::fsync(fd_) != 0) return failed("cannot sync");
    if (::rename(partial_.c_str(), path_.c_str()) != 0) return failed("cannot rename");
    return sync_directory();
  }

 private:
  Status flush() {
    std::string_view left = buffer_;
    while (!left.empty()) {
      const ssize_t n = ::write(fd_, left.data(), left.size());
      if (n < 0 && errno != EINTR) return failed("cannot write");
      if (n > 0) left.remove_prefix(static_cast<std::size_t>(n));
    }
    buffer_.clear();
    return {};
  }
  // Who has exported may remove the store: the file's name is to outlive a power cut too.
  Status sync_directory() const {
    const std::string parent = std::filesystem::absolute(path_).parent_path().string();
    const int fd = ::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool synced = fd >= 0 && ::fsync(fd) == 0;
    const Status done = synced ? Status{} : failed("cannot sync the directory of");
    if (fd >= 0) ::close(fd);
    return done;
  }
  [[nodiscard]] Error failed(const char* what) const {
    return Error{Code::unavailable, std::string(what) + " " + partial_ + ": " + std::strerror(errno), 0};
  }
  const std::string path_, partial_;
  int fd_ = -1;
  std::string buffer_;
  Sha256Stream hash_;
};

Error damaged(const std::string& file, std::int64_t line, const std::string& what) {
  return Error{Code::data_loss, file + ":" + std::to_string(line) + ": " + what + "; nothing was imported from here on", 0};
}

Result<Line> line_of(const Json& json) {
  Line line;
  line.partition = json["p"].as_string();
  line.key = json["k"].as_string();
  if (const Json* number = json.find("n")) {
    line.kind = Line::Kind::sequence;
    line.number = static_cast<std::uint64_t>(number->as_int());
  } else {
    line.value = json["v"].as_string();
    line.ttl_ms = json["t"].as_int();
  }
  if (line.partition.empty() || line.key.empty()) return Error{Code::data_loss, "a line without its partition or key", 0};
  return line;
}

// One line without its end, of at most kLineMax bytes: the rest of a longer one is not read. False: there is none.
bool read_line(std::istream& in, std::string& text) {
  text.clear();
  for (int byte = in.get(); byte != EOF; byte = in.get()) {
    if (byte == '\n') return true;
    if (text.size() > kLineMax) return true;  // too long for JSON's limit
    text.push_back(static_cast<char>(byte));
  }
  return !text.empty();
}

// Reads the whole file and gives each line to `take`, in order; the hash and the counts are held against its end.
Result<TransferReport> read_file(const std::string& file, const std::function<Status(const Line&, std::int64_t number)>& take) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return Error{Code::not_found, "cannot open " + file, 0};
  TransferReport report;
  Sha256Stream hash;
  std::string text;
  std::int64_t number = 0;
  bool ended = false;
  while (read_line(in, text)) {
    ++number;
    if (ended || in.eof()) return damaged(file, number, ended ? "something follows the end" : "it is cut off");
    auto json = Json::parse(text, {kLineMax, 16});
    if (!json) return damaged(file, number, "it is no line of JSON");
    if (number == 1) {
      if ((*json)["format"].as_string() != kFormat || (*json)["version"].as_int() != kVersion)
        return Error{Code::invalid, file + " is no export of Roost that this version can read", 0};
      hash.update(text + "\n");
      continue;
    }
    if (json->find("end")) {
      ended = true;
      report.sha256 = to_hex(hash.finish());
      const bool same = (*json)["sha256"].as_string() == report.sha256 && (*json)["documents"].as_int() == report.documents &&
                        (*json)["sequences"].as_int() == report.sequences;
      if (!same) return damaged(file, number, "the file is not as it was written: its hash or counts differ");
      continue;
    }
    hash.update(text + "\n");
    auto line = line_of(*json);
    if (!line) return damaged(file, number, line.error().message);
    (line->kind == Line::Kind::document ? report.documents : report.sequences) += 1;
    report.sessions += line->key.rfind("session/", 0) == 0 ? 1 : 0;
    ROOST_CHECK(take(*line, number));
  }
  if (!ended) return damaged(file, number, "its end is missing");
  return report;
}

// ---- export -------------------------------------------------------------------------------------------------------------

// What is left of a document's life: the store does not tell, but who gave it the life can be asked. 0: forever.
std::int64_t life_of(const Document& document, const TransferOptions& options, std::int64_t now_us) {
  const auto left = [&](std::int64_t began_us, std::int64_t whole_ms) {
    return std::clamp<std::int64_t>(whole_ms - (now_us - began_us) / 1000, 1'000, whole_ms);
  };
  if (document.key.rfind("idempotency/", 0) == 0)
    return options.idempotency_ms;  // its age is not written down: all of it, once more
  if (document.key.rfind("tombstone/", 0) == 0) {
    auto tombstone = documents::decode_tombstone(document);
    return tombstone ? left(tombstone->deleted_at_us, options.tombstone_ms) : options.tombstone_ms;
  }
  if (document.key.rfind("history/", 0) == 0) {
    auto stored = documents::decode_message(document);
    return stored ? left(stored->message.answered_at_us, options.history_ms) : options.history_ms;
  }
  if (document.key.rfind("backup/", 0) == 0) {
    auto record = documents::decode_backup(document);
    if (record && record->state == "deleted") return left(record->note ? record->note->at_us : now_us, options.tombstone_ms);
  }
  return 0;
}

// Whether the store removes such documents by itself, at the end of their life, and nobody else does.
bool expires(const std::string& key) {
  for (const char* prefix : {"idempotency/", "tombstone/", "history/", "backup/"}) {
    if (key.rfind(prefix, 0) == 0) return true;
  }
  return false;
}

// Whether the store stays as it is while it is read. That a document's life ends is no change: the file may hold it or not.
class Stillness {
 public:
  Stillness(BlockingStore& store, Clock& clock) : store_(store), clock_(clock) {}

  Status begin() {
    ROOST_TRY(const Watched now, store_.watch(""));
    resume_ = now.resume;
    looked_ms_ = now_ms();
    return {};
  }
  // On the way: a store remembers its last changes only.
  Status look() { return now_ms() - looked_ms_ < kLookMs ? Status{} : follow(kWatches); }
  // All that changed until now. What goes on changing is later, and does not keep this from ending.
  Status end() { return follow(kWatchesMax); }

 private:
  [[nodiscard]] std::int64_t now_ms() const { return clock_.monotonic_ns() / 1'000'000; }
  Status follow(int watches) {
    for (int i = 0; i < watches; ++i) {
      const auto seen = store_.watch(resume_);
      if (!seen)
        return Error{
            Code::conflict,
            "whether the store changed while it was being exported is not known (" + seen.error().message + "): export again", 0};
      resume_ = seen->resume;
      for (const Change& change : seen->changes) ROOST_CHECK(judge(change));
      if (seen->changes.empty() && !seen->behind) break;
    }
    looked_ms_ = now_ms();
    return {};
  }

  Status judge(const Change& change) {
    if (change.partition == documents::kLeaderPartition) return {};
    const auto now = store_.get(change.partition, change.key);
    if (!now && now.error().code != Code::not_found) return now.error();
    if (!now && expires(change.key)) return {};
    return Error{
        Code::conflict,
        "the store changed while it was being exported (" + change.key + "): stop every roostd that uses it, then export again",
        0};
  }

  BlockingStore& store_;
  Clock& clock_;
  std::string resume_;
  std::int64_t looked_ms_ = 0;
};

// "message/{id}/" of a message in the queue or the history; empty for anything else.
std::string queue_of(const std::string& key) {
  const bool is_message = key.rfind("message/", 0) == 0 || key.rfind("history/", 0) == 0;
  if (!is_message || key.size() != 8 + 8 + 1 + 16) return {};
  return "message/" + key.substr(8, 9);
}

class Exporter {
 public:
  Exporter(BlockingStore& store, Stillness& still, Clock& clock, Writer& writer, const TransferOptions& options)
      : store_(store), still_(still), clock_(clock), writer_(writer), options_(options) {}

  Status run() {
    for (const std::string& partition : documents::fixed_partitions()) ROOST_CHECK(partition_out(partition));
    for (const std::string& partition : users_) ROOST_CHECK(partition_out(partition));
    return {};
  }
  TransferReport report;

 private:
  Status partition_out(const std::string& partition) {
    std::map<std::string, std::uint64_t> last;  // by prefix
    std::vector<Json> lines;
    std::string after;
    for (;;) {
      ROOST_CHECK(still_.look());
      ROOST_TRY(const std::vector<Document> page, store_.scan(partition, after));
      for (const Document& document : page) {
        note(document, last);
        Json line = Json::object({{"p", partition}, {"k", document.key}, {"v", document.value}});
        if (const std::int64_t life = life_of(document, options_, clock_.wall_us()); life != 0) line.set("t", life);
        lines.push_back(std::move(line));
      }
      if (page.size() < kPage) break;
      after = page.back().key;
    }
    for (const auto& [prefix, number] : last) {  // first: what is taken by an append can be put over later
      ROOST_CHECK(writer_.line(Json::object({{"p", partition}, {"k", prefix}, {"n", static_cast<std::int64_t>(number)}})));
      ++report.sequences;
    }
    for (const Json& line : lines) ROOST_CHECK(writer_.line(line));
    report.documents += static_cast<std::int64_t>(lines.size());
    return {};
  }
  void note(const Document& document, std::map<std::string, std::uint64_t>& last) {
    if (const std::string queue = queue_of(document.key); !queue.empty()) {
      const std::uint64_t number = std::strtoull(document.key.c_str() + document.key.size() - 16, nullptr, 16);
      last[queue] = std::max(last[queue], number);
    }
    if (document.key.rfind("session/", 0) == 0) ++report.sessions;
    const bool named = document.key.rfind("session/", 0) == 0 || document.key.rfind("tombstone/", 0) == 0;
    if (!named) return;
    auto json = Json::parse(document.value, {2U << 20, 64});
    if (json && (*json)["user_id"].is_string()) users_.insert(documents::user_partition((*json)["user_id"].as_string()));
  }

  BlockingStore& store_;
  Stillness& still_;
  Clock& clock_;
  Writer& writer_;
  const TransferOptions& options_;
  std::set<std::string> users_;
};

// ---- import -------------------------------------------------------------------------------------------------------------

class Importer {
 public:
  Importer(BlockingStore& store, std::string sha256) : store_(store), sha256_(std::move(sha256)) {}

  // The store is empty, or holds what an earlier, interrupted import of this very file has brought.
  Status begin() {
    auto marker = store_.get(documents::kTransferPartition, documents::kImportKey);
    if (marker) {
      auto json = Json::parse(marker->value);
      if (!json || (*json)["sha256"].as_string() != sha256_)
        return Error{Code::exists,
                     "the import of another file into this store was begun and not finished: finish it, or take an empty store",
                     0};
      done_ = (*json)["line"].as_int();
      return {};
    }
    if (marker.error().code != Code::not_found) return marker.error();
    for (const std::string& partition : documents::fixed_partitions()) {
      ROOST_TRY(const std::vector<Document> page, store_.scan(partition, "", 1));
      if (!page.empty())
        return Error{
            Code::exists,
            "this store is not empty: it holds " + page.front().key + " in " + partition + "; an import wants an empty one", 0};
    }
    return mark(0);
  }
  [[nodiscard]] std::int64_t resumed_at() const { return done_; }

  Status take(const Line& line, std::int64_t number) {
    if (number <= done_) return {};
    if (line.partition != batch_.partition || batch_.operations.size() >= kBatch || bytes_ >= kBatchBytes) ROOST_CHECK(flush());
    batch_.partition = line.partition;
    last_ = number;
    if (line.kind == Line::Kind::sequence) return burn(line);
    bytes_ += line.key.size() + line.value.size();
    batch_.operations.push_back({StoreOperation::Kind::put, line.key, line.value, line.ttl_ms});
    return {};
  }
  Status flush() {
    if (batch_.operations.empty()) return {};
    ROOST_CHECK(commit(batch_));
    batch_ = {};
    bytes_ = 0;
    return ++commits_ % 16 == 0 ? mark(last_) : Status{};
  }
  Status end() {
    Commit commit_marker;
    commit_marker.partition = documents::kTransferPartition;
    commit_marker.operations.push_back({StoreOperation::Kind::remove, documents::kImportKey, "", 0});
    return commit(commit_marker);
  }

 private:
  Status mark(std::int64_t line) {
    Commit marker;
    marker.partition = documents::kTransferPartition;
    marker.operations.push_back(
        {StoreOperation::Kind::put, documents::kImportKey, Json::object({{"sha256", sha256_}, {"line", line}}).dump(), 0});
    return commit(marker);
  }
  // Repeated as it is: what it puts it may put twice.
  Status commit(const Commit& what) {
    Status last;
    for (int i = 0; i < 5; ++i) {
      auto result = store_.commit(what);
      if (result) return {};
      last = result.error();
      if (last.error().code != Code::outcome_unknown && last.error().code != Code::unavailable) break;
    }
    return last;
  }
  // A queue's numbers go on behind the last one: those before it are taken, and their places are free for what is put there.
  Status burn(const Line& line) {
    ROOST_CHECK(flush());
    std::uint64_t number = 0;
    while (number < line.number) {
      Commit taken;
      taken.partition = line.partition;
      const std::uint64_t more = std::min<std::uint64_t>(kBatch, line.number - number);
      for (std::uint64_t i = 0; i < more; ++i)
        taken.operations.push_back({StoreOperation::Kind::append, line.key, "{}", kBurntMs});
      ROOST_TRY(const CommitResult result, store_.commit(taken));
      number = std::strtoull(result.documents.back().key.c_str() + line.key.size(), nullptr, 16);
    }
    // All of them, and not only those of now: an import that was interrupted here has left some.
    for (std::uint64_t first = 1; first <= number; first += kBatch) {
      Commit gone;
      gone.partition = line.partition;
      for (std::uint64_t i = first; i <= number && i < first + kBatch; ++i)
        gone.operations.push_back({StoreOperation::Kind::remove, line.key + hex16(i), "", 0});
      ROOST_CHECK(commit(gone));
    }
    batch_.partition = line.partition;
    return {};
  }

  BlockingStore& store_;
  const std::string sha256_;
  std::int64_t done_ = 0, last_ = 0, commits_ = 0;
  std::size_t bytes_ = 0;
  Commit batch_;
};

// Everything is there as the file has it, and nothing else.
class Comparer {
 public:
  explicit Comparer(BlockingStore& store) : store_(store) {}
  Status take(const Line& line, std::int64_t) {
    if (line.partition != partition_) {
      ROOST_CHECK(compare());
      partition_ = line.partition;
    }
    if (line.kind == Line::Kind::document) expected_[line.key] = {to_hex(sha256(line.value)), line.ttl_ms};
    return {};
  }
  Status compare() {
    if (partition_.empty()) return {};
    std::string after;
    for (;;) {
      ROOST_TRY(const std::vector<Document> page, store_.scan(partition_, after));
      for (const Document& document : page) {
        const auto it = expected_.find(document.key);
        if (it == expected_.end()) return differs(document.key, "is there and should not be");
        if (it->second.first != to_hex(sha256(document.value))) return differs(document.key, "is not what the file holds");
        expected_.erase(it);
      }
      if (page.size() < kPage) break;
      after = page.back().key;
    }
    for (const auto& [key, what] : expected_) {
      constexpr std::int64_t kMayBeOverMs = 24LL * 3600 * 1000;
      if (what.second == 0 || what.second > kMayBeOverMs) return differs(key, "is missing");
    }
    expected_.clear();
    return {};
  }

 private:
  [[nodiscard]] Error differs(const std::string& key, const char* how) const {
    return Error{Code::data_loss, "after the import " + key + " in " + partition_ + " " + how, 0};
  }
  BlockingStore& store_;
  std::string partition_;
  std::map<std::string, std::pair<std::string, std::int64_t>> expected_;
};

}  // namespace

Result<TransferReport> export_store(Store& store, Clock& clock, const std::string& file, const TransferOptions& options) {
  BlockingStore blocking(store, clock, options.holder);
  ROOST_CHECK(blocking.begin());
  ROOST_CHECK(blocking.check_whole());
  Writer writer(file);
  ROOST_CHECK(writer.open());
  Stillness still(blocking, clock);
  ROOST_CHECK(still.begin());
  ROOST_CHECK(writer.line(Json::object({{"format", kFormat}, {"version", kVersion}, {"made_at", format_time(clock.wall_us())}})));
  Exporter exporter(blocking, still, clock, writer, options);
  ROOST_CHECK(exporter.run());
  ROOST_CHECK(still.end());
  ROOST_CHECK(writer.finish(
      Json::object({{"end", true}, {"documents", exporter.report.documents}, {"sequences", exporter.report.sequences}}),
      exporter.report));
  return exporter.report;
}

Result<TransferReport> check_export(const std::string& file) {
  return read_file(file, [](const Line&, std::int64_t) { return Status{}; });
}

Result<TransferReport> import_store(Store& store, Clock& clock, const std::string& file, const TransferOptions& options) {
  ROOST_TRY(const TransferReport sound, check_export(file));
  BlockingStore blocking(store, clock, options.holder);
  ROOST_CHECK(blocking.begin());
  Importer importer(blocking, sound.sha256);
  ROOST_CHECK(importer.begin());
  if (importer.resumed_at() > 0 && options.say)
    options.say("going on after line " + std::to_string(importer.resumed_at()) + " of an import that was interrupted");
  ROOST_TRY(const TransferReport written,
            read_file(file, [&](const Line& line, std::int64_t number) { return importer.take(line, number); }));
  ROOST_CHECK(importer.flush());
  if (written.sha256 != sound.sha256) return Error{Code::data_loss, file + " changed while it was imported", 0};
  Comparer comparer(blocking);
  ROOST_TRY(const TransferReport compared,
            read_file(file, [&](const Line& line, std::int64_t number) { return comparer.take(line, number); }));
  ROOST_CHECK(comparer.compare());
  ROOST_CHECK(importer.end());
  return compared;
}

}  // namespace roost::daemon
