// Archives as an enemy makes them: arbitrary bytes, bytes with their checksum made right, and well-formed archives of arbitrary
// entries. Verification and restoring must refuse or succeed, read nothing beyond the archive, and make nothing outside the
// directory.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include "agent/archive_reader.hpp"
#include "agent/archive_writer.hpp"
#include "agent/restore.hpp"
#include "agent/verify.hpp"
#include "agent/walk_beneath.hpp"
#include "archive/lookup.hpp"
#include "base/crypto.hpp"

namespace {

using namespace roost;         // NOLINT: a test
using namespace roost::agent;  // NOLINT

void require(bool condition) {
  if (!condition) std::abort();
}

class Bytes final : public ArchiveSource {
 public:
  explicit Bytes(std::string bytes) : bytes_(std::move(bytes)) {}
  [[nodiscard]] std::uint64_t size() const override { return bytes_.size(); }
  Result<std::string> read(std::uint64_t offset, std::size_t length) override {
    require(offset <= bytes_.size() && length <= bytes_.size() - offset);
    return bytes_.substr(offset, length);
  }

 private:
  std::string bytes_;
};

class Memory final : public ByteSink {
 public:
  Status write(std::string_view data) override {
    bytes += data;
    return {};
  }
  std::string bytes;
};

struct Place {
  Place() {
    // In memory where there is such a place: restoring waits for the disk.
    const bool memory = std::filesystem::exists("/dev/shm");
    std::string name =
        (memory ? std::filesystem::path("/dev/shm") : std::filesystem::temp_directory_path()) / "roost-fuzz-XXXXXX";
    require(::mkdtemp(name.data()) != nullptr);
    outer = name;
  }
  ~Place() { std::filesystem::remove_all(outer); }
  std::string outer;
};

TaskMonitor& monitor() {
  static TaskMonitor instance = *TaskMonitor::create("");
  return instance;
}

// Restores into outer/in and checks that nothing but that directory is in outer.
void restore_into_fresh_directory(const std::string& bytes) {
  static const Place place;
  const std::string in = place.outer + "/in";
  std::filesystem::remove_all(in);
  require(::mkdir(in.c_str(), 0700) == 0);
  const FdOwner root(::open(in.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  Bytes source(bytes);
  const auto result = extract_archive(source, root.get(), "0badcafe", monitor());
  static_cast<void>(result);
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(place.outer)) count += entry.path() == in ? 1 : 100;
  require(count == 1);
}

// Feeds a reading by ranges from the archive; it ends, asks for nothing outside it, and never for more than a piece.
template <class Reading>
Status drive(Reading& reading, const std::string& bytes) {
  while (const auto range = reading.wanted()) {
    require(range->offset <= bytes.size() && range->length <= bytes.size() - range->offset && range->length <= kReadingPiece);
    if (range->length == 0) return Status(Code::data_loss, "nothing to read");
    const Status fed = reading.feed(std::string_view(bytes).substr(range->offset, range->length));
    if (!fed.ok()) return fed;
  }
  return {};
}

// What is found by ranges is what a whole reading finds.
void look_up(const std::string& bytes, const Receipt* sound) {
  ManifestSummary summary(bytes.size());
  const Status summed = drive(summary, bytes);
  if (sound != nullptr) require(summed.ok() && summary.receipt().tree_hash == sound->tree_hash);
  FileListing listing(bytes.size(), {"", 0, 100});
  if (!drive(listing, bytes).ok()) return;
  for (const ManifestEntry& file : listing.files()) {
    EntryLookup lookup(bytes.size(), file.path);
    const Status looked = drive(lookup, bytes);
    if (sound != nullptr) require(looked.ok() && lookup.found());
    if (!looked.ok() || !lookup.found()) continue;
    const auto contents = lookup.contents();
    std::string out;
    Status read;
    while (read.ok() && !contents->ended() && out.size() < (8u << 20)) {
      auto piece = contents->take(4096);
      if (!piece.ok()) {
        read = piece.error();
      } else if (piece->empty() && !contents->ended()) {
        require(contents->wanted().has_value());
        read = drive(*contents, bytes);
      } else {
        out += *piece;
      }
    }
    // Of entries with one name, which no walk makes, it may be another one: what was found must be right.
    const bool plain = lookup.found()->type == EntryType::directory;
    if (sound != nullptr) require(read.ok() && (plain || to_hex(sha256(out)) == lookup.found()->sha256));
  }
}

void check(const std::string& bytes) {
  Bytes source(bytes);
  const auto receipt = read_archive(source, monitor());
  if (receipt.ok()) require(receipt->archive_sha256 == to_hex(sha256(bytes)));
  look_up(bytes, receipt.ok() ? &*receipt : nullptr);
  restore_into_fresh_directory(bytes);
}

std::string sealed(std::string bytes) {
  const std::size_t text = bytes.rfind("roost-backup 1 ");
  if (text == std::string::npos || text < kEndSize || bytes.size() < 64 + text) return bytes;
  bytes.replace(bytes.size() - 64, 64, to_hex(sha256(std::string_view(bytes).substr(0, text - kEndSize))));
  return bytes;
}

// Each entry: a byte for what it is, a byte for the length of its path, the path, the rest up to the next one as contents.
std::string forged(std::string_view in) {
  Memory sink;
  ManifestHeader header;
  header.session_id = "abcd1234";
  header.operation_id = "0badcafe";
  auto writer = ArchiveWriter::create("/dev/shm", header, sink);
  require(writer.ok());
  const auto take = [&](std::size_t count) {
    const std::string_view out = in.substr(0, count);
    in.remove_prefix(out.size());
    return std::string(out);
  };
  while (in.size() >= 2) {
    const unsigned kind = static_cast<unsigned char>(take(1)[0]);
    const EntryAttributes attributes{take(static_cast<unsigned char>(take(1)[0]) % 16), kind * 16u % 07777u,
                                     kind * 1'000'000'000'000'000};
    const std::string contents = take(kind / 8);
    Status status;
    switch (kind % 5) {
      case 0: status = (*writer)->add_directory(attributes); break;
      case 1: status = (*writer)->add_symlink(attributes, contents); break;
      case 2: status = (*writer)->add_file(attributes, contents, false); break;
      case 3: status = (*writer)->add_skip(ManifestSkip{attributes.path, "file", "changed"}); break;
      default:
        status = (*writer)->begin_file(attributes, contents.size());
        if (status.ok()) status = (*writer)->write_file(contents);
        if (status.ok()) status = (*writer)->end_file(kind & 128 ? ArchiveWriter::Keep::abandon : ArchiveWriter::Keep::entry);
    }
    require(status.ok());
  }
  require((*writer)->finish().ok());
  return sink.bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0 || size > 65536) return 0;
  const std::string_view in(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0: check(std::string(in)); break;
    case 1: check(sealed(std::string(in))); break;
    case 2: check(forged(in)); break;
    default: {
      const auto line = parse_line(in);
      if (!line.ok()) break;
      std::string again = to_line(*line);
      again.pop_back();
      const auto twice = parse_line(again);
      require(twice.ok() && *twice == *line);
    }
  }
  return 0;
}
