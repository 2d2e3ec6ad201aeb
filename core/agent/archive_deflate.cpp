#include "agent/archive_deflate.hpp"

#include <libdeflate.h>
#include <zlib.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <vector>

namespace roost::agent {

namespace {

constexpr std::size_t kTinyFile = 16;            // nothing so short gets shorter
constexpr std::size_t kShrinkProbe = 64u << 10;  // most of what does not shrink (images, packs, archives) shows it here
constexpr std::size_t kStoredBlockMax = 65535;

void append_stored(std::string_view data, std::string& out) {
  do {
    const std::string_view piece = data.substr(0, kStoredBlockMax);
    data.remove_prefix(piece.size());
    const auto size = static_cast<unsigned>(piece.size());
    for (const unsigned byte : {0u, size & 0xFF, size >> 8, ~size & 0xFF, (~size >> 8) & 0xFF})
      out.push_back(static_cast<char>(byte));
    out += piece;
  } while (!data.empty());
}

// A bit of a stream: a block's header begins with the one that says whether the block is the last.
struct BitPlace {
  std::size_t byte = 0;
  unsigned bit = 0;
};

}  // namespace

struct Deflater::State {
  struct Free {
    void operator()(libdeflate_compressor* compressor) const { ::libdeflate_free_compressor(compressor); }
  };
  using Compressor = std::unique_ptr<libdeflate_compressor, Free>;
  Compressor compressor;
  Compressor fast;
  z_stream inflater{};
  bool inflates = false;
  std::vector<char> scratch;
};

Deflater::Deflater(int level) : state_(std::make_unique<State>()) {
  // Without memory for them everything is stored, which is right if long.
  state_->compressor.reset(::libdeflate_alloc_compressor(level));
  state_->fast.reset(::libdeflate_alloc_compressor(kFast));
  state_->inflates = ::inflateInit2(&state_->inflater, -MAX_WBITS) == Z_OK;
}

Deflater::~Deflater() {
  if (state_->inflates) ::inflateEnd(&state_->inflater);
}

bool Deflater::shrinks(std::string_view data) {
  if (!state_->compressor || !state_->fast) return false;
  const std::string_view probe = data.substr(0, kShrinkProbe);
  state_->scratch.resize(std::max(state_->scratch.size(), probe.size()));
  // No room for more than a little less than it was: 0 where that is not enough.
  return ::libdeflate_deflate_compress(state_->fast.get(), probe.data(), probe.size(), state_->scratch.data(),
                                       probe.size() - probe.size() / 32) > 0;
}

bool Deflater::deflate(std::string_view data, std::string& out) {
  if (data.size() <= kTinyFile || !state_->compressor) return false;
  if (data.size() > kShrinkProbe && !shrinks(data)) return false;
  const std::size_t begin = out.size();
  out.resize(begin + data.size() - 1);
  const std::size_t made =
      ::libdeflate_deflate_compress(state_->compressor.get(), data.data(), data.size(), out.data() + begin, data.size() - 1);
  out.resize(begin + made);
  return made > 0;
}

void Deflater::deflate_part(std::string_view data, std::string& out) {
  assert(data.size() <= kPartMax);
  if (data.empty()) return;
  const std::size_t begin = out.size();
  if (state_->inflates && data.size() > kTinyFile && shrinks(data)) {
    out.resize(begin + data.size());
    const std::size_t made =
        ::libdeflate_deflate_compress(state_->compressor.get(), data.data(), data.size(), out.data() + begin, data.size());
    out.resize(begin + made);
    if (made > 0 && open_end(data, out, begin)) return;
    out.resize(begin);
  }
  append_stored(data, out);
}

// Makes the stream at `begin` one that goes on: its last block is marked as one among others, and an empty stored block fills the
// last byte (what zlib calls a sync flush). False where it does not inflate to the data.
bool Deflater::open_end(std::string_view data, std::string& out, std::size_t begin) {
  z_stream& stream = state_->inflater;
  state_->scratch.resize(std::max(state_->scratch.size(), kPartMax));
  ::inflateReset(&stream);
  stream.next_in = reinterpret_cast<unsigned char*>(out.data() + begin);
  stream.avail_in = static_cast<unsigned>(out.size() - begin);
  stream.next_out = reinterpret_cast<unsigned char*>(state_->scratch.data());
  stream.avail_out = static_cast<unsigned>(data.size());
  constexpr int kAtBlockEnd = 128;
  constexpr int kLastBlock = 64;
  BitPlace header{begin, 0};
  for (;;) {
    const std::size_t before = stream.total_in;
    const int answer = ::inflate(&stream, Z_BLOCK);
    // A block may end within the byte that the one before ended in, which zlib takes for no progress.
    if (answer != Z_OK && answer != Z_BUF_ERROR) return false;
    if ((stream.data_type & kAtBlockEnd) == 0) {
      if (answer == Z_BUF_ERROR || stream.total_in == before) return false;
      continue;
    }
    if ((stream.data_type & kLastBlock) != 0) break;
    const auto unused = static_cast<unsigned>(stream.data_type & 7);
    const std::size_t taken = begin + stream.total_in;
    header = unused == 0 ? BitPlace{taken, 0} : BitPlace{taken - 1, 8 - unused};
  }
  if (stream.avail_in != 0 || stream.avail_out != 0 || std::memcmp(state_->scratch.data(), data.data(), data.size()) != 0)
    return false;
  const auto unused = static_cast<unsigned>(stream.data_type & 7);
  out[header.byte] = static_cast<char>(static_cast<unsigned char>(out[header.byte]) & ~(1u << header.bit));
  out.back() = static_cast<char>(static_cast<unsigned char>(out.back()) & (0xFFu >> unused));
  if (unused < 3) out.push_back('\0');  // a header has three bits, and all of this one are 0
  out.append("\x00\x00\xFF\xFF", 4);
  return true;
}

}  // namespace roost::agent
