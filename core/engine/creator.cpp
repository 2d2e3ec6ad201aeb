#include "engine/creator.hpp"

#include <algorithm>
#include <utility>

#include "engine/documents.hpp"
#include "engine/operations.hpp"

namespace roost {

namespace {

constexpr int kReserveTries = 16;
constexpr int kWaits = 5;
constexpr std::int64_t kHalfMadeUs = 10LL * 60 * 1'000'000;  // an older reservation without a session is freed
constexpr std::uint32_t kScanMore = 64;

Error is_full(std::int64_t limit, const char* whose) {
  return {Code::exhausted, "the limit of " + std::to_string(limit) + " sessions " + whose + " is reached; delete one first",
          30'000};
}

}  // namespace

void Creator::create(const std::string& user_id, const CommandOptions& options, Done<SessionView> done,
                     std::optional<Receipt> source) {
  if (Status valid = validate_user_id(user_id); !valid) return done(valid.error());
  auto job = std::make_shared<Job>();
  job->user_id = user_id;
  job->options = options;
  job->done = std::move(done);
  job->source = std::move(source);
  job->partition = documents::user_partition(user_id);
  begin(job);
}

void Creator::begin(const JobPtr& job) {
  if (++job->tries > kReserveTries) return job->done(Error{Code::conflict, "the user's sessions keep changing; try again", 1000});
  if (job->options.idempotency_key.empty()) return read_user(job);
  context_.get(job->partition, documents::user_idempotency_key(job->options.idempotency_key),
               [this, job](Result<Document> found) {
                 if (!found && found.error().code == Code::not_found) return read_user(job);
                 if (!found) return job->done(found.error());
                 auto json = Json::parse(found->value);
                 const std::string id = json ? (*json)["id"].as_string() : std::string();
                 if (!valid_session_id(id) || std::count(job->drop.begin(), job->drop.end(), id)) return read_user(job);
                 replay(job, id);
               });
}

// The key was used before: its session is the answer, or is finished now.
void Creator::replay(const JobPtr& job, const std::string& id) {
  writer_.refresh(id, [this, job, id](Result<SessionView> found) {
    if (!found) return job->done(found.error());
    if (!*found) return replay_missing(job, id);
    if ((*found)->session.user_id != job->user_id) return another_id(job, id);
    job->done(*std::move(found));
  });
}

void Creator::replay_missing(const JobPtr& job, const std::string& id) {
  context_.get(documents::partition(id), documents::tombstone_key(id), [this, job, id](Result<Document> tombstone) {
    if (tombstone) {
      return job->done(
          Error{Code::not_found, "this idempotency key made session " + id + ", which was deleted; use another key", 0});
    }
    if (tombstone.error().code != Code::not_found) return job->done(tombstone.error());
    context_.get(job->partition, documents::reservation_key(id), [this, job, id](Result<Document> reservation) {
      if (!reservation && reservation.error().code == Code::not_found) return read_user(job);
      if (!reservation) return job->done(reservation.error());
      fill(job, id);
      take_turn(job);
    });
  });
}

void Creator::read_user(const JobPtr& job) {
  context_.get(job->partition, std::string(documents::kUserKey), [this, job](Result<Document> user) {
    if (!user && user.error().code != Code::not_found) return job->done(user.error());
    job->user_revision.reset();
    if (user) job->user_revision = user->revision;
    read_reservations(job);
  });
}

void Creator::read_reservations(const JobPtr& job) {
  const auto limit = static_cast<std::uint32_t>(context_.options.sessions_per_user) + kScanMore;
  context_.scan(job->partition, "reservation/", "", limit, [this, job](Result<std::vector<Document>> found) {
    if (!found) return job->done(found.error());
    job->doubtful.clear();
    job->reserved = 0;
    for (const Document& document : *found) {
      const std::string id = document.key.substr(document.key.rfind('/') + 1);
      if (std::count(job->drop.begin(), job->drop.end(), id)) continue;
      ++job->reserved;
      auto json = Json::parse(document.value);
      const std::int64_t age_us = context_.wall_us() - (json ? (*json)["at_us"].as_int() : 0);
      if (!context_.reads.find(id) && age_us > kHalfMadeUs) job->doubtful.push_back(id);
    }
    check_doubtful(job);
  });
}

void Creator::check_doubtful(const JobPtr& job) {
  if (job->doubtful.empty()) return choose(job);
  const std::string id = job->doubtful.back();
  job->doubtful.pop_back();
  context_.get(documents::partition(id), documents::session_key(id), [this, job, id](Result<Document> found) {
    if (!found && found.error().code == Code::not_found) {
      job->drop.push_back(id);
      --job->reserved;
      context_.log(1, "freed the reservation of a session that was never made", Json::object({{"id", id}}));
    }
    check_doubtful(job);
  });
}

void Creator::fill(const JobPtr& job, const std::string& id) {
  Session& session = job->session;
  session = {};
  session.id = id;
  session.user_id = job->user_id;
  session.created_at_us = session.last_activity_us = context_.wall_us();
  session.wanted_size = context_.options.size_small;
  session.secret_nonce = context_.ports.random->hex(8);
  session.volume.name = "pvc-" + id;
  session.volume.token = context_.ports.random->hex(16);
  session.volume.size_bytes = context_.options.volume_bytes;
  session.observed.size = session.wanted_size;
  if (job->source)
    operations::begin_restored(session, id.substr(0, 2) + context_.ports.random->hex(3), *job->source, context_.wall_us());
}

void Creator::choose(const JobPtr& job) {
  if (job->reserved >= context_.options.sessions_per_user)
    return job->done(is_full(context_.options.sessions_per_user, "for this user"));
  if (static_cast<std::int64_t>(context_.reads.size()) >= context_.options.sessions_total) {
    return job->done(is_full(context_.options.sessions_total, "in all"));
  }
  std::string id = context_.ports.random->hex(4);
  while (context_.reads.find(id)) id = context_.ports.random->hex(4);
  fill(job, id);
  if (job->options.dry_run) {
    auto preview = std::make_shared<SessionSnapshot>();
    preview->session = job->session;
    return job->done(SessionView(std::move(preview)));
  }
  // An id that a backup bears is never used again.
  context_.scan(documents::backup_partition(id), documents::backup_key(id) + "-", "", 1,
                [this, job](Result<std::vector<Document>> backups) {
                  if (!backups) return job->done(backups.error());
                  if (!backups->empty()) return begin(job);
                  reserve(job);
                });
}

void Creator::reserve(const JobPtr& job) {
  const std::string& id = job->session.id;
  Commit commit;
  commit.partition = job->partition;
  const std::string user_key(documents::kUserKey);
  if (job->user_revision) commit.conditions.push_back({Condition::Kind::revision, user_key, *job->user_revision});
  if (!job->user_revision) commit.conditions.push_back({Condition::Kind::absent, user_key, 0});
  commit.conditions.push_back({Condition::Kind::absent, documents::reservation_key(id), 0});
  const Json user = Json::object({{"user_id", job->user_id}, {"sessions", job->reserved + 1}});
  commit.operations.push_back({StoreOperation::Kind::put, user_key, user.dump(), 0});
  const Json reservation = Json::object({{"id", id}, {"at_us", context_.wall_us()}});
  commit.operations.push_back({StoreOperation::Kind::put, documents::reservation_key(id), reservation.dump(), 0});
  for (const std::string& stale : job->drop) {
    commit.operations.push_back({StoreOperation::Kind::remove, documents::reservation_key(stale), "", 0});
  }
  if (!job->options.idempotency_key.empty()) {
    commit.operations.push_back({StoreOperation::Kind::put, documents::user_idempotency_key(job->options.idempotency_key),
                                 Json::object({{"id", id}}).dump(), context_.options.idempotency_ms});
  }
  context_.commit(std::move(commit), [this, job](Result<CommitResult> result) {
    if (result) return take_turn(job);
    if (result.error().code == Code::conflict) return begin(job);
    if (result.error().code != Code::outcome_unknown) return job->done(result.error());
    context_.get(job->partition, documents::reservation_key(job->session.id), [this, job](Result<Document> landed) {
      if (landed) return take_turn(job);
      if (landed.error().code == Code::not_found) return begin(job);  // should it land after all, it conflicts or is freed later
      job->done(Error{Code::outcome_unknown,
                      "the store does not say whether the session was reserved; try again with the same key", 0});
    });
  });
}

// An answer that comes late must not put back what was changed, or deleted, since: nobody else reads the session meanwhile.
void Creator::take_turn(const JobPtr& job) {
  writer_.in_turn(job->session.id, [this, job](std::function<void()> over) {
    job->over = std::move(over);
    insert(job);
  });
}

void Creator::insert(const JobPtr& job) {
  const Session& session = job->session;
  Commit commit;
  commit.partition = documents::partition(session.id);
  commit.conditions.push_back({Condition::Kind::absent, documents::session_key(session.id), 0});
  commit.conditions.push_back({Condition::Kind::absent, documents::tombstone_key(session.id), 0});
  Document document{documents::session_key(session.id), documents::encode(session, ""), 0};
  commit.operations.push_back({StoreOperation::Kind::put, document.key, document.value, 0});
  context_.commit(std::move(commit), [this, job, document = std::move(document)](Result<CommitResult> result) mutable {
    if (!result) return inserted(job, result.error());
    document.revision = result->documents.empty() ? 0 : result->documents.front().revision;
    finish(job, document);
  });
}

// It did not go well, or nobody knows. Whatever stands in the store now decides.
void Creator::inserted(const JobPtr& job, const Error& error) {
  const bool look = error.code == Code::conflict || error.code == Code::outcome_unknown;
  const bool wait = look || error.code == Code::unavailable || error.code == Code::deadline;
  if (!wait || (error.code != Code::conflict && ++job->waits > kWaits)) return end(job, error);
  if (!look) {
    context_.after_ms(context_.backoff_ms(job->waits), [this, job] { insert(job); });
    return;
  }
  context_.get(documents::partition(job->session.id), documents::session_key(job->session.id),
               [this, job, error](Result<Document> found) {
                 if (found) {
                   auto view = documents::decode_session(*found);
                   if (view && (*view)->session.user_id == job->user_id) return finish(job, *found);
                   return another_id(job, job->session.id);
                 }
                 if (found.error().code != Code::not_found) return inserted(job, found.error());
                 if (error.code == Code::conflict) return another_id(job, job->session.id);  // the id has a tombstone
                 context_.after_ms(context_.backoff_ms(job->waits), [this, job] { insert(job); });
               });
}

void Creator::another_id(const JobPtr& job, const std::string& taken) {
  if (auto over = std::exchange(job->over, nullptr)) over();
  job->drop.push_back(taken);
  begin(job);
}

void Creator::finish(const JobPtr& job, const Document& document) {
  auto view = documents::decode_session(document);
  if (view) context_.publish(job->session.id, *view, job->options.actor);
  end(job, std::move(view));
}

void Creator::end(const JobPtr& job, Result<SessionView> result) {
  if (auto over = std::exchange(job->over, nullptr)) over();
  job->done(std::move(result));
}

void Creator::release(const std::string& user_id, const std::string& id, Done<void> done) {
  const std::string partition = documents::user_partition(user_id);
  context_.get(partition, std::string(documents::kUserKey), [this, partition, id, done = std::move(done)](Result<Document> user) {
    if (!user && user.error().code == Code::not_found) return done(Status{});
    if (!user) return done(user.error());
    auto json = Json::parse(user->value);
    Json next = json ? *json : Json::object();
    next.set("sessions", std::max<std::int64_t>(0, next["sessions"].as_int() - 1));
    Commit commit;
    commit.partition = partition;
    commit.conditions.push_back({Condition::Kind::revision, user->key, user->revision});
    commit.conditions.push_back({Condition::Kind::exists, documents::reservation_key(id), 0});
    commit.operations.push_back({StoreOperation::Kind::put, user->key, next.dump(), 0});
    commit.operations.push_back({StoreOperation::Kind::remove, documents::reservation_key(id), "", 0});
    context_.commit(std::move(commit), [this, partition, id, done](Result<CommitResult> result) {
      if (result) return done(Status{});
      const Error error = result.error();
      context_.get(partition, documents::reservation_key(id), [done, error](Result<Document> reservation) {
        if (!reservation && reservation.error().code == Code::not_found) return done(Status{});
        done(error);
      });
    });
  });
}

}  // namespace roost
