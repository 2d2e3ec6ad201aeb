#include "engine/writer.hpp"

#include <utility>

#include "engine/documents.hpp"

namespace roost {

namespace {
constexpr int kMutateTries = 24;  // conflicts and repetitions of one mutation; then its caller decides
}

void Writer::mutate(const std::string& id, Prepare prepare, Done<Written> done) {
  auto job = std::make_shared<Job>();
  job->id = id;
  job->prepare = std::move(prepare);
  job->done = std::move(done);
  add(std::move(job));
}

void Writer::refresh(const std::string& id, Done<SessionView> done) {
  auto job = std::make_shared<Job>();
  job->id = id;
  job->done = [done = std::move(done)](Result<Written> result) {
    if (!result) return done(result.error());
    done(result->view);
  };
  add(std::move(job));
}

void Writer::in_turn(const std::string& id, std::function<void(std::function<void()> over)> work) {
  auto job = std::make_shared<Job>();
  job->id = id;
  job->work = std::move(work);
  add(std::move(job));
}

void Writer::add(JobPtr job) {
  Queue& queue = queues_[job->id];
  queue.jobs.push_back(job);
  if (queue.running) return;
  queue.running = true;
  begin(job);
}

void Writer::begin(const JobPtr& job) {
  if (job->work) return std::exchange(job->work, nullptr)([this, job] { finish(job, Written{}); });
  SessionView view = context_.reads.find(job->id);
  job->cached = job->prepare && view;
  if (job->cached) return prepare(job, std::move(view));
  reload(job, [this, job](SessionView found) {
    if (!job->prepare) return finish(job, Written{std::move(found), false, {}});
    prepare(job, std::move(found));
  });
}

void Writer::reload(const JobPtr& job, std::function<void(SessionView)> then) {
  auto got = [this, job, then = std::move(then)](Result<Document> document) {
    if (!document && document.error().code == Code::not_found) {
      context_.publish(job->id, nullptr);
      return then(nullptr);
    }
    if (!document) {
      if (job->uncertain) return resolve(job);
      return finish(job, document.error());
    }
    auto view = documents::decode_session(*document);
    if (!view) return finish(job, view.error());
    context_.publish(job->id, *view);
    then(*std::move(view));
  };
  context_.get(documents::partition(job->id), documents::session_key(job->id), std::move(got));
}

void Writer::prepare(const JobPtr& job, SessionView view) {
  if (!view) return finish(job, Error{Code::not_found, "there is no session " + job->id, 0});
  if (++job->tries > kMutateTries)
    return finish(job, Error{Code::conflict, "session " + job->id + " keeps changing; try again", 0});
  job->prepare(view, context_.guard([this, job, view](Edit edit) { decided(job, view, std::move(edit)); }));
}

void Writer::decided(const JobPtr& job, const SessionView& view, Edit edit) {
  // A commit is checked by the store. To do nothing, or to refuse, is not: and another replica may have written since.
  if (edit.kind != Edit::Kind::commit && context_.replicated && std::exchange(job->cached, false))
    return reload(job, [this, job](SessionView latest) { prepare(job, std::move(latest)); });
  if (edit.kind == Edit::Kind::refuse) return finish(job, std::move(edit.error));
  if (edit.kind == Edit::Kind::nothing) return finish(job, Written{view, false, {}});
  job->edit = std::move(edit);
  job->mark = context_.mark();
  job->commits = documents::add_commit(view->commits, job->mark);
  job->expected = view->revision;
  job->commit = {};
  job->commit.partition = documents::partition(job->id);
  job->commit.conditions = job->edit.conditions;
  job->commit.conditions.push_back({Condition::Kind::revision, documents::session_key(job->id), view->revision});
  StoreOperation own;
  own.kind = job->edit.erase ? StoreOperation::Kind::remove : StoreOperation::Kind::put;
  own.key = documents::session_key(job->id);
  if (!job->edit.erase) own.value = documents::encode(job->edit.next, job->commits);
  job->commit.operations.push_back(std::move(own));
  for (auto& operation : job->edit.operations) job->commit.operations.push_back(operation);
  submit(job);
}

void Writer::submit(const JobPtr& job) {
  context_.commit(job->commit, [this, job](Result<CommitResult> result) { answered(job, std::move(result)); });
}

void Writer::answered(const JobPtr& job, Result<CommitResult> result) {
  if (result) {
    if (result->documents.empty())
      return finish(job, Error{Code::internal, "the store answered a commit without its documents", 0});
    auto snapshot = std::make_shared<SessionSnapshot>();
    snapshot->revision = result->documents.front().revision;
    if (!job->edit.erase) {
      snapshot->session = std::move(job->edit.next);
      snapshot->commits = job->commits;
    }
    std::vector<Document> others(result->documents.begin() + 1, result->documents.end());
    return landed(job, job->edit.erase ? nullptr : SessionView(std::move(snapshot)), std::move(others));
  }
  const Code code = result.error().code;
  if (code == Code::outcome_unknown) job->uncertain = true;
  if (job->uncertain) return resolve(job);
  if (code != Code::conflict) return finish(job, result.error());
  reload(job, [this, job](SessionView view) { prepare(job, std::move(view)); });
}

// The document tells whether it landed. Until that could be read the mutation is neither done nor not done.
void Writer::resolve(const JobPtr& job) {
  if (++job->tries > kMutateTries) {
    return finish(
        job, Error{Code::outcome_unknown, "the store does not say whether the change of session " + job->id + " was made", 0});
  }
  const std::int64_t wait = job->tries <= 1 ? 0 : context_.backoff_ms(std::min(job->tries, 5));
  context_.after_ms(wait, [this, job] { reload(job, [this, job](SessionView view) { resolved(job, view); }); });
}

void Writer::resolved(const JobPtr& job, const SessionView& view) {
  if (!view) {
    if (job->edit.erase) return landed(job, nullptr, {});
    return prepare(job, nullptr);
  }
  if (!job->edit.erase && documents::has_commit(view->commits, job->mark)) return landed(job, view, {});
  if (view->revision == job->expected) return submit(job);  // unchanged: should the first land after all, this one conflicts
  job->uncertain = false;
  prepare(job, view);
}

void Writer::landed(const JobPtr& job, SessionView view, std::vector<Document> documents) {
  context_.publish(job->id, view);
  finish(job, Written{std::move(view), true, std::move(documents)});
}

void Writer::finish(const JobPtr& job, Result<Written> result) {
  const std::string id = job->id;
  queues_[id].jobs.pop_front();
  if (job->done) job->done(std::move(result));
  Queue& queue = queues_[id];
  if (queue.jobs.empty()) {
    queues_.erase(id);
    return;
  }
  // Not from here: a long queue of edits that are refused at once would be as deep a stack.
  context_.post([this, next = queue.jobs.front()] { begin(next); });
}

}  // namespace roost
