#include "archive/format.hpp"

#include <libdeflate.h>
#include <sys/stat.h>

#include <cassert>
#include <charconv>
#include <ctime>
#include <vector>

#include "base/crypto.hpp"

namespace roost {

namespace {

constexpr std::uint32_t kLocalSignature = 0x04034b50;
constexpr std::uint32_t kDescriptorSignature = 0x08074b50;
constexpr std::uint32_t kCentralSignature = 0x02014b50;
constexpr std::uint32_t kWideEndSignature = 0x06064b50;
constexpr std::uint32_t kWideLocatorSignature = 0x07064b50;
constexpr std::uint64_t kMax16 = 0xFFFF;
constexpr std::uint64_t kMax32 = 0xFFFFFFFF;
constexpr std::uint16_t kFlagDescriptor = 1u << 3;
constexpr std::uint16_t kFlagUtf8 = 1u << 11;
constexpr std::uint16_t kExtraWide = 0x0001;
constexpr std::uint16_t kExtraTime = 0x5455;  // Info-ZIP's "UT"
constexpr std::uint16_t kMadeByUnix = (3u << 8) | 45u;
constexpr std::string_view kManifestStem = ".roost-manifest";
constexpr std::string_view kManifestEnd = ".jsonl";
constexpr std::string_view kCommentMagic = "roost-backup 1 ";

std::int64_t seconds_of(std::int64_t mtime_ns) {
  return mtime_ns >= 0 ? mtime_ns / 1'000'000'000 : (mtime_ns - 999'999'999) / 1'000'000'000;
}

// MS-DOS time in UTC; the field "UT" beside it is what readers prefer.
std::uint32_t dos_time(std::int64_t mtime_ns) {
  const std::time_t seconds = seconds_of(mtime_ns);
  std::tm parts{};
  if (gmtime_r(&seconds, &parts) == nullptr || parts.tm_year < 80) return (1u << 21) | (1u << 16);
  if (parts.tm_year > 207) return 0xFF9FBF7D;
  return static_cast<std::uint32_t>(((parts.tm_year - 80) << 25) | ((parts.tm_mon + 1) << 21) | (parts.tm_mday << 16) |
                                    (parts.tm_hour << 11) | (parts.tm_min << 5) | (parts.tm_sec / 2));
}

std::string time_extra(std::int64_t mtime_ns) {
  const std::int64_t seconds = seconds_of(mtime_ns);
  std::string out;
  if (seconds < INT32_MIN || seconds > INT32_MAX) return out;  // the manifest has it
  put_u16(out, kExtraTime);
  put_u16(out, 5);
  out.push_back(1);  // only the modification time
  put_u32(out, static_cast<std::uint32_t>(seconds));
  return out;
}

// Only names that are UTF-8 are marked so: one wrong mark, and some readers refuse the whole archive.
std::uint16_t flags_of(const ZipEntry& entry) {
  const std::uint16_t utf8 = valid_utf8(entry.name) ? kFlagUtf8 : 0;
  return static_cast<std::uint16_t>(utf8 | (entry.descriptor ? kFlagDescriptor : 0));
}

bool is_wide(const ZipEntry& entry) { return entry.size >= kMax32 || entry.stored_size >= kMax32 || entry.offset >= kMax32; }

void put_common(std::string& out, const ZipEntry& entry, bool wide) {
  put_u16(out, wide ? 45 : 20);
  put_u16(out, flags_of(entry));
  put_u16(out, entry.method);
  put_u32(out, dos_time(entry.mtime_ns));
}

std::string_view next_word(std::string_view& text) {
  const std::size_t end = std::min(text.find(' '), text.size());
  const std::string_view word = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return word;
}

template <class Number>
bool read_number(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

std::uint32_t crc_of(std::uint32_t crc, std::string_view data) {
  return data.empty() ? crc : ::libdeflate_crc32(crc, data.data(), data.size());
}

void put_u16(std::string& out, std::uint64_t value) {
  for (int shift = 0; shift < 16; shift += 8) out.push_back(static_cast<char>(value >> shift));
}
void put_u32(std::string& out, std::uint64_t value) {
  for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(value >> shift));
}
void put_u64(std::string& out, std::uint64_t value) {
  for (int shift = 0; shift < 64; shift += 8) out.push_back(static_cast<char>(value >> shift));
}
std::uint16_t get_u16(std::string_view in, std::size_t at) {
  assert(at + 2 <= in.size());
  return static_cast<std::uint16_t>(static_cast<unsigned char>(in[at]) | static_cast<unsigned char>(in[at + 1]) << 8);
}
std::uint32_t get_u32(std::string_view in, std::size_t at) {
  return get_u16(in, at) | static_cast<std::uint32_t>(get_u16(in, at + 2)) << 16;
}
std::uint64_t get_u64(std::string_view in, std::size_t at) {
  return get_u32(in, at) | static_cast<std::uint64_t>(get_u32(in, at + 4)) << 32;
}

std::string local_header(const ZipEntry& entry) {
  std::string out;
  const bool wide = entry.descriptor && entry.wide_descriptor;
  put_u32(out, kLocalSignature);
  put_common(out, entry, wide);
  put_u32(out, entry.descriptor ? 0 : entry.crc);
  put_u32(out, wide ? kMax32 : entry.descriptor ? 0 : entry.stored_size);
  put_u32(out, wide ? kMax32 : entry.descriptor ? 0 : entry.size);
  std::string extra = time_extra(entry.mtime_ns);
  if (wide) {
    put_u16(extra, kExtraWide);
    put_u16(extra, 16);
    put_u64(extra, 0);
    put_u64(extra, 0);
  }
  put_u16(out, entry.name.size());
  put_u16(out, extra.size());
  return out + entry.name + extra;
}

std::string data_descriptor(const ZipEntry& entry) {
  std::string out;
  if (!entry.descriptor) return out;
  put_u32(out, kDescriptorSignature);
  put_u32(out, entry.crc);
  const auto put_size = entry.wide_descriptor ? put_u64 : put_u32;
  put_size(out, entry.stored_size);
  put_size(out, entry.size);
  return out;
}

std::string central_record(const ZipEntry& entry) {
  std::string out;
  const bool wide = is_wide(entry);
  put_u32(out, kCentralSignature);
  put_u16(out, kMadeByUnix);
  put_common(out, entry, wide || (entry.descriptor && entry.wide_descriptor));
  put_u32(out, entry.crc);
  put_u32(out, std::min(entry.stored_size, kMax32));
  put_u32(out, std::min(entry.size, kMax32));
  std::string extra = time_extra(entry.mtime_ns);
  if (wide) {
    std::string numbers;
    if (entry.size >= kMax32) put_u64(numbers, entry.size);
    if (entry.stored_size >= kMax32) put_u64(numbers, entry.stored_size);
    if (entry.offset >= kMax32) put_u64(numbers, entry.offset);
    put_u16(extra, kExtraWide);
    put_u16(extra, numbers.size());
    extra += numbers;
  }
  put_u16(out, entry.name.size());
  put_u16(out, extra.size());
  put_u16(out, 0);  // no comment
  put_u16(out, 0);  // the first disk
  put_u16(out, 0);  // binary
  put_u32(out, (entry.mode & 0xFFFFu) << 16 | (S_ISDIR(entry.mode) ? 0x10u : 0u));
  put_u32(out, std::min(entry.offset, kMax32));
  return out + entry.name + extra;
}

std::string wide_end(const ZipEnd& end) {
  std::string out;
  if (end.entries < kMax16 && end.directory_offset < kMax32 && end.directory_size < kMax32) return out;
  put_u32(out, kWideEndSignature);
  put_u64(out, 44);
  put_u16(out, kMadeByUnix);
  put_u16(out, 45);
  put_u32(out, 0);
  put_u32(out, 0);
  put_u64(out, end.entries);
  put_u64(out, end.entries);
  put_u64(out, end.directory_size);
  put_u64(out, end.directory_offset);
  put_u32(out, kWideLocatorSignature);
  put_u32(out, 0);
  put_u64(out, end.directory_offset + end.directory_size);
  put_u32(out, 1);
  return out;
}

std::string end_record(const ZipEnd& end) {
  std::string out;
  put_u32(out, kEndSignature);
  put_u32(out, 0);  // one disk
  put_u16(out, std::min(end.entries, kMax16));
  put_u16(out, std::min(end.entries, kMax16));
  put_u32(out, std::min(end.directory_size, kMax32));
  put_u32(out, std::min(end.directory_offset, kMax32));
  put_u16(out, end.comment.size());
  return out + end.comment;
}

std::string to_text(const ArchiveComment& comment) {
  return std::string(kCommentMagic) + "session=" + comment.session_id + " operation=" + comment.operation_id +
         " attempt=" + std::to_string(comment.attempt) + " manifest=" + std::to_string(comment.manifest_offset) +
         " sha256=" + comment.sha256;
}

Result<ArchiveComment> parse_comment(std::string_view text) {
  ArchiveComment comment;
  std::string_view rest = text;
  bool good = rest.substr(0, kCommentMagic.size()) == kCommentMagic;
  rest.remove_prefix(good ? kCommentMagic.size() : 0);
  const auto field = [&](std::string_view key) {
    std::string_view word = next_word(rest);
    good = good && word.substr(0, key.size()) == key;
    word.remove_prefix(good ? key.size() : 0);
    return word;
  };
  comment.session_id = field("session=");
  comment.operation_id = field("operation=");
  good = good && read_number(field("attempt="), comment.attempt);
  good = good && read_number(field("manifest="), comment.manifest_offset);
  comment.sha256 = field("sha256=");
  // Written again it must be the same text: nothing is lenient here.
  if (!good || to_text(comment) != text) return {Code::data_loss, "not an archive of Roost, or its end is damaged"};
  return comment;
}

std::int64_t manifest_number(std::string_view name) {
  if (name.size() < kManifestStem.size() + kManifestEnd.size() || name.substr(0, kManifestStem.size()) != kManifestStem ||
      name.substr(name.size() - kManifestEnd.size()) != kManifestEnd) {
    return -1;
  }
  name = name.substr(kManifestStem.size(), name.size() - kManifestStem.size() - kManifestEnd.size());
  if (name.empty()) return 0;
  std::int64_t number = -1;
  if (name.front() != '-' || name.size() > 16 || !read_number(name.substr(1), number) || number < 1) return -1;
  return manifest_name(number).size() == kManifestStem.size() + name.size() + kManifestEnd.size() ? number : -1;
}

std::string manifest_name(std::int64_t number) {
  return std::string(kManifestStem) + (number == 0 ? "" : "-" + std::to_string(number)) + std::string(kManifestEnd);
}

}  // namespace roost
