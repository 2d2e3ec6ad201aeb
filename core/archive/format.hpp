// The records of a ZIP file (PKWARE's APPNOTE 6.3) that an archive of Roost is made of, as bytes. Writer and verifier share
// them: what one writes is what the other holds the stored bytes against. docs/backup-format.md tells the format in words.
// Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace roost {

inline constexpr std::uint16_t kStored = 0;
inline constexpr std::uint16_t kDeflated = 8;
inline constexpr std::size_t kZipNameMax = 65535;  // ZIP's length field has 16 bits
inline constexpr std::size_t kLocalHeaderSize = 30;
inline constexpr std::size_t kCentralHeaderSize = 46;
inline constexpr std::size_t kEndSize = 22;
inline constexpr std::uint32_t kEndSignature = 0x06054b50;

[[nodiscard]] std::uint32_t crc_of(std::uint32_t crc, std::string_view data);  // ZIP's CRC-32 of more bytes; 0 at the beginning

// One entry, as its local header and its record in the central directory describe it.
struct ZipEntry {
  std::string name;           // any bytes; a directory's ends with '/'
  std::uint32_t mode = 0;     // type and permissions, as in stat
  std::int64_t mtime_ns = 0;  // ZIP keeps seconds
  std::uint16_t method = kStored;
  bool descriptor = false;       // crc and sizes follow the data, because they were not known before
  bool wide_descriptor = false;  // with 64-bit sizes
  std::uint32_t crc = 0;
  std::uint64_t stored_size = 0;
  std::uint64_t size = 0;
  std::uint64_t offset = 0;  // of the local header

  bool operator==(const ZipEntry&) const = default;
};

[[nodiscard]] std::string local_header(const ZipEntry&);
[[nodiscard]] std::string data_descriptor(const ZipEntry&);  // empty where the entry has none
[[nodiscard]] std::string central_record(const ZipEntry&);

// The end: the 64-bit records where they are needed, and the last record with its comment.
struct ZipEnd {
  std::uint64_t entries = 0;
  std::uint64_t directory_offset = 0;
  std::uint64_t directory_size = 0;
  std::string comment;
};
[[nodiscard]] std::string wide_end(const ZipEnd&);  // empty where it is not needed
[[nodiscard]] std::string end_record(const ZipEnd&);

// What the comment of an archive says: whose it is, where its manifest begins, and the SHA-256 of every byte before the last
// record.
struct ArchiveComment {
  std::string session_id;
  std::string operation_id;
  std::int64_t attempt = 0;
  std::uint64_t manifest_offset = 0;
  std::string sha256;
};
[[nodiscard]] std::string to_text(const ArchiveComment&);
[[nodiscard]] Result<ArchiveComment> parse_comment(std::string_view);  // DATA_LOSS

// Little-endian numbers, as ZIP has them.
void put_u16(std::string& out, std::uint64_t value);
void put_u32(std::string& out, std::uint64_t value);
void put_u64(std::string& out, std::uint64_t value);
[[nodiscard]] std::uint16_t get_u16(std::string_view in, std::size_t at);  // REQUIRES: at + 2 <= in.size(); likewise below
[[nodiscard]] std::uint32_t get_u32(std::string_view in, std::size_t at);
[[nodiscard]] std::uint64_t get_u64(std::string_view in, std::size_t at);

// ".roost-manifest.jsonl", ".roost-manifest-N.jsonl": the number N (0 for the first), or -1 for any other name.
[[nodiscard]] std::int64_t manifest_number(std::string_view name);
[[nodiscard]] std::string manifest_name(std::int64_t number);

}  // namespace roost
