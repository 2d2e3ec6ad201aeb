#include "engine/sweep.hpp"

#include <algorithm>
#include <map>

#include "engine/documents.hpp"
#include "engine/operations.hpp"

namespace roost {

// ---- watching -----------------------------------------------------------------------------------------------------------

void Sweep::watch() { watch_compute(""); }

void Sweep::watch_compute(const std::string& resume) {
  if (context_.stopping) return;
  const std::int64_t began = context_.mono_ms();
  context_.ports.compute->watch(resume, context_.guard([this, resume, began](Result<Watched> watched) {
    if (watched) {
      compute_failures_ = 0;
      for (const Change& change : watched->changes) reconciler_.hint(change.key);
      const std::int64_t spent = context_.mono_ms() - began;
      const std::int64_t rest = watched->changes.empty() ? std::max<std::int64_t>(0, kQuietMs - spent) : 0;
      context_.after_ms(rest, [this, next = watched->resume] { watch_compute(next); });
      return;
    }
    const bool expired = watched.error().code == Code::expired;
    if (expired) resync();
    const std::int64_t wait = watched.error().code == Code::unsupported ? 60'000 : context_.backoff_ms(++compute_failures_);
    context_.after_ms(wait, [this, next = expired ? "" : resume] { watch_compute(next); });
  }));
}

// ---- the sweep ----------------------------------------------------------------------------------------------------------

// A merge of two lists in order of id: the platform's, a page at a time, and the sessions.
struct Sweep::Pass {
  std::string listed_to;    // the platform was listed up to here
  std::string compared_to;  // sessions were compared up to here
  std::map<std::string, Workspace> page;
  bool last = false;
};

void Sweep::resync() {
  if (context_.stopping) return;
  if (timer_) context_.ports.scheduler->cancel(std::exchange(timer_, 0));
  if (sweeping_) {
    again_ = true;
    return;
  }
  timer_ = context_.after_ms(context_.options.resync_ms, [this] {
    timer_ = 0;
    resync();
  });
  if (!leader_.valid()) return;
  sweeping_ = true;
  seen_orphans_.clear();
  list(std::make_shared<Pass>());
}

void Sweep::list(const std::shared_ptr<Pass>& pass) {
  context_.ports.compute->list(
      pass->listed_to, documents::kPage,
      context_.counted<std::vector<Workspace>>(context_.compute_ok, [this, pass](Result<std::vector<Workspace>> page) {
        if (page) {
          list_failures_ = 0;
          return listed(pass, *std::move(page));
        }
        sweeping_ = false;
        const std::int64_t wait = context_.backoff_ms(++list_failures_);
        context_.log(2, "the workspaces cannot be listed", Json::object({{"detail", page.error().message}, {"retry_ms", wait}}));
        context_.after_ms(wait, [this] { resync(); });
      }));
}

void Sweep::listed(const std::shared_ptr<Pass>& pass, std::vector<Workspace> page) {
  pass->last = page.size() < documents::kPage;
  pass->page.clear();
  for (Workspace& workspace : page) {
    if (!context_.reads.find(workspace.id)) check_orphan(workspace.id);
    pass->listed_to = std::max(pass->listed_to, workspace.id);
    pass->page[workspace.id] = std::move(workspace);
  }
  compare(pass);
}

void Sweep::compare(const std::shared_ptr<Pass>& pass) {
  if (context_.stopping) return;
  auto views = context_.reads.list(pass->compared_to, kListed);
  for (const SessionView& view : views) {
    const std::string& id = view->session.id;
    if (!pass->last && id > pass->listed_to) return list(pass);
    pass->compared_to = id;
    auto it = pass->page.find(id);
    Workspace nothing;
    nothing.id = id;
    if (!reconciler_.is_settled(*view, it == pass->page.end() ? nothing : it->second)) reconciler_.hint(id);
  }
  if (views.size() >= kListed) return context_.post([this, pass] { compare(pass); });
  if (!pass->last) return list(pass);
  finish(pass);
}

void Sweep::check_orphan(const std::string& id) {
  if (!valid_session_id(id) || drill_.reads_for(id)) return;  // the task that reads a deleted session's backup is no orphan
  if (orphans_.count(id)) {  // known as one; were it made a session since, it would be in the read model
    seen_orphans_.insert(id);
    return;
  }
  context_.get(documents::partition(id), documents::session_key(id), [this, id](Result<Document> found) {
    if (found) {  // made by another replica
      writer_.refresh(id, [](Result<SessionView>) {});
      return;
    }
    if (found.error().code != Code::not_found || context_.reads.find(id)) return;
    clear_grave(id);
  });
}

// A task of the delete itself that began when that was over: it has done all it can do, and nobody else will remove it.
void Sweep::clear_grave(const std::string& id) {
  context_.get(documents::partition(id), documents::tombstone_key(id), [this, id](const Result<Document>& found) {
    const auto tombstone = found ? documents::decode_tombstone(*found) : Result<Tombstone>(found.error());
    if (!tombstone) return report(id);
    const Operation& operation = tombstone->operation;
    for (std::int64_t at = std::max<std::int64_t>(1, operation.attempt - operations::kAttemptsBack); at <= operation.attempt;
         ++at)
      context_.ports.compute->task_remove(id, operation.id, at,
                                          context_.counted<void>(context_.compute_ok, [](const Status&) {}));
    if (!cleared_.insert(id).second) report(id);  // it is something else
  });
}

void Sweep::report(const std::string& id) {
  seen_orphans_.insert(id);
  if (!orphans_.insert(id).second) return;
  context_.counters.orphans = static_cast<std::int64_t>(orphans_.size());
  context_.log(2, "the platform holds something of no session; it is left alone", Json::object({{"id", id}}));
}

void Sweep::finish(const std::shared_ptr<Pass>&) {
  sweeping_ = false;
  // Orphans of an earlier pass that this one did not meet are gone; those of this pass may still be on their way to be checked.
  std::erase_if(orphans_, [this](const std::string& id) { return !seen_orphans_.count(id); });
  context_.counters.orphans = static_cast<std::int64_t>(orphans_.size());
  if (std::exchange(again_, false)) context_.post([this] { resync(); });
}

}  // namespace roost
