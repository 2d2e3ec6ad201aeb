#include "api/download.hpp"

#include <atomic>
#include <utility>

namespace roost::api {
namespace {

constexpr std::size_t kPiece = 128 << 10;

}  // namespace

void read_ranges(const ReadArchive& read, const std::string& archive, std::shared_ptr<RangeReading> reading,
                 const http::Responder& client, Done<void> done) {
  const auto range = reading->wanted();
  if (!range) return done(Status{});
  if (!client.open()) return done(Status(Code::cancelled, "the client is gone"));
  const auto offset = static_cast<std::int64_t>(range->offset);
  read(archive, offset, static_cast<std::int64_t>(range->length),
       [read, archive, reading = std::move(reading), client, done = std::move(done)](const Result<std::string>& bytes) mutable {
         if (!bytes.ok()) return done(bytes.error());
         if (const Status fed = reading->feed(*bytes); !fed.ok()) return done(fed.error());
         read_ranges(read, archive, std::move(reading), client, std::move(done));
       });
}

Download::Download(ReadArchive read, What what, Done<void> ended)
    : read_(std::move(read)), what_(std::move(what)), ended_(std::move(ended)) {}

void Download::start(const http::Responder& respond, http::Response head) {
  head.stream_length = what_.length;
  stream_ = respond.stream(std::move(head));
  go_on();
}

void Download::go_on() {
  for (;;) {
    auto piece = what_.content->take(kPiece);
    if (!piece.ok()) return finish(piece.error());
    if (piece->empty()) return what_.content->ended() ? finish(check()) : fetch();
    taken_ += piece->size();
    if (taken_ > what_.length) return finish(Status(Code::data_loss, "the contents are longer than they should be"));
    sha256_.update(*piece);
    std::string before = std::exchange(held_, *std::move(piece));
    if (!before.empty() && !send(std::move(before))) return;
  }
}

void Download::fetch() {
  const auto range = what_.content->wanted();
  if (!range) return finish(Status(Code::data_loss, "the contents end too early"));
  read_(what_.archive, static_cast<std::int64_t>(range->offset), static_cast<std::int64_t>(range->length),
        [self = shared_from_this()](const Result<std::string>& bytes) {
          if (!bytes.ok()) return self->finish(bytes.error());
          if (const Status fed = self->what_.content->feed(*bytes); !fed.ok()) return self->finish(fed);
          self->go_on();
        });
}

// True: the client has it, go on here. False: it is over, or goes on when the client has read. Whoever comes second of the
// client's reading and this call goes on, so that a fast client makes no deep stack.
bool Download::send(std::string piece) {
  if (!stream_->write(std::move(piece))) {
    finish(Status(Code::cancelled, "the client is gone"));
    return false;
  }
  auto second = std::make_shared<std::atomic<bool>>(false);
  stream_->when_drained([self = shared_from_this(), second] {
    if (second->exchange(true)) self->go_on();
  });
  return second->exchange(true);
}

Status Download::check() {
  if (taken_ != what_.length) return {Code::data_loss, "the contents are shorter than they should be"};
  if (what_.sha256.empty() || to_hex(sha256_.finish()) == what_.sha256) return {};
  return {Code::data_loss, "the contents do not have their SHA-256"};
}

void Download::finish(Status status) {
  if (status.ok() && !held_.empty() && !stream_->write(std::move(held_))) status = Status(Code::cancelled, "the client is gone");
  if (status.ok())
    stream_->end();
  else
    stream_->abort();
  if (auto ended = std::exchange(ended_, nullptr)) ended(std::move(status));
}

}  // namespace roost::api
