// Reading a stored archive by ranges, without reading it: each class says what to fetch next (wanted) and is given it (feed), so
// that the caller decides how bytes come and on which thread. Nothing is believed: DATA_LOSS for whatever does not agree.
// Thread safety: one thread at a time. Invariant: memory is bounded by a few pieces, whatever an archive says.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "archive/format.hpp"
#include "archive/manifest.hpp"
#include "base/result.hpp"

struct z_stream_s;

namespace roost {

struct ByteRange {
  std::uint64_t offset = 0;
  std::size_t length = 0;
  bool operator==(const ByteRange&) const = default;
};

inline constexpr std::size_t kReadingPiece = 256u << 10;  // the most that is wanted at once

// Where the parts of an archive lie, as its last bytes say.
struct ArchiveLayout {
  std::uint64_t size = 0;        // of the archive
  std::uint64_t end_offset = 0;  // of the last record
  ZipEnd end;
  ArchiveComment comment;
};
// The last bytes that read_layout() needs of an archive of `size` bytes.
[[nodiscard]] ByteRange layout_range(std::uint64_t size);
// Both end records are written again from what was read and must come out as they are stored.
[[nodiscard]] Result<ArchiveLayout> read_layout(std::uint64_t size, std::string_view tail);

class RangeReading {
 public:
  virtual ~RangeReading() = default;
  // What to fetch next; none: what was asked for is known, or nothing more is needed now.
  [[nodiscard]] virtual std::optional<ByteRange> wanted() const = 0;
  // Exactly the bytes of wanted(); DATA_LOSS where there are fewer.
  virtual Status feed(std::string_view bytes) = 0;
};

// Bytes for a client, piece by piece.
class ContentReading : public RangeReading {
 public:
  // Up to `most` of them; empty: feed more, or ended().
  virtual Result<std::string> take(std::size_t most) = 0;
  [[nodiscard]] virtual bool ended() const = 0;
};

// The archive's own bytes.
class RawReading final : public ContentReading {
 public:
  RawReading(std::uint64_t begin, std::uint64_t end) : next_(begin), end_(end) {}
  [[nodiscard]] std::optional<ByteRange> wanted() const override;
  Status feed(std::string_view bytes) override;
  Result<std::string> take(std::size_t most) override;
  [[nodiscard]] bool ended() const override { return next_ == end_ && buffer_.empty(); }

 private:
  std::uint64_t next_;
  const std::uint64_t end_;
  std::string buffer_;
};

// One entry's contents, decoded, from its local header on.
class EntryReading final : public ContentReading {
 public:
  // limit: where its bytes end at the latest. stored_size: of its data, where that is known; else it must be deflated, or its
  // header must say so.
  EntryReading(std::uint64_t offset, std::uint64_t limit, std::string name, std::optional<std::uint64_t> stored_size);
  ~EntryReading() override;
  EntryReading(const EntryReading&) = delete;
  EntryReading& operator=(const EntryReading&) = delete;

  [[nodiscard]] std::optional<ByteRange> wanted() const override;
  Status feed(std::string_view bytes) override;
  Result<std::string> take(std::size_t most) override;
  [[nodiscard]] bool ended() const override { return state_ == State::ended; }

 private:
  enum class State { header, stored, deflated, ended };
  Status begin();
  Result<std::string> take_stored(std::size_t most);
  Result<std::string> inflate(std::size_t most);

  State state_ = State::header;
  std::uint64_t next_;  // what was not fetched yet
  const std::uint64_t limit_;
  const std::string name_;  // empty: any
  std::optional<std::uint64_t> stored_left_;
  std::string input_;
  std::size_t used_ = 0;
  std::size_t piece_;
  bool filled_ = false;  // the last piece had no room for more: zlib may hold bytes back that it has taken the input of
  std::unique_ptr<z_stream_s> stream_;
};

// The lines of a manifest, in order. The first is checked against the archive's end record.
class ManifestReading final : public RangeReading {
 public:
  explicit ManifestReading(const ArchiveLayout& layout);
  [[nodiscard]] std::optional<ByteRange> wanted() const override;
  Status feed(std::string_view bytes) override;
  // none: feed more, or, after its last line, ended().
  Result<std::optional<ManifestLine>> next();
  [[nodiscard]] bool ended() const { return ended_; }
  // The line that next() answered last, as it is stored, with its '\n'.
  [[nodiscard]] const std::string& text() const { return line_; }

 private:
  Status check_header(const ManifestHeader& header) const;

  const ArchiveComment comment_;
  EntryReading entry_;
  std::string buffer_;
  std::size_t used_ = 0;      // of it, in lines that were taken
  std::size_t searched_ = 0;  // of it, for the end of a line
  std::string line_;
  bool dry_ = true;  // the buffer holds no whole line, and the entry nothing that was not taken
  bool begun_ = false;
  bool ended_ = false;
};

// The records of a central directory, in order, as far as a reader needs them: name, method, CRC, sizes, offset.
class DirectoryReading final : public RangeReading {
 public:
  explicit DirectoryReading(const ArchiveLayout& layout);
  [[nodiscard]] std::optional<ByteRange> wanted() const override;
  Status feed(std::string_view bytes) override;
  Result<std::optional<ZipEntry>> next();  // none: feed more, or ended()
  [[nodiscard]] bool ended() const { return next_ == end_ && used_ == buffer_.size(); }

 private:
  std::uint64_t next_;
  const std::uint64_t end_;
  const std::uint64_t manifest_offset_;
  std::size_t piece_;
  std::string buffer_;
  std::size_t used_ = 0;
  bool dry_ = true;
};

}  // namespace roost
