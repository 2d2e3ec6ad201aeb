// How far a task is: the last line of its pod's log, where the agent prints it every other second. A courtesy: it is not asked
// often, not waited for long, and where the right to read logs or the kubelet is missing, nothing is known. And that it cannot
// begin: a Job whose pods are refused says so in events only.
#include "compute/kubernetes/compute.hpp"

namespace roost::kubernetes {
namespace {

constexpr std::chrono::milliseconds kAnswerLimit{1000};
constexpr std::chrono::seconds kEvery{2}, kAfterFailure{30};
constexpr std::size_t kLogMax = 4096;
constexpr std::size_t kToldMax = 1'000;        // pods, or Jobs; more than tasks at a time
constexpr std::chrono::seconds kPodLimit{20};  // more than a busy cluster takes to make a Job's pod

// The numbers of progress, as core/abi/schemas/task.json has them; null: the line is something else.
Json parse_progress(std::string_view line) {
  Json progress;
  try {
    const Json told = Json::parse(line, "progress");
    for (const char* name : {"bytes", "files", "total_bytes", "total_files"}) {
      if (told.has(name) && told[name].integer(-1) >= 0) progress.set(name, told[name].integer());
    }
  } catch (const sdk::Failure&) {
    return {};
  }
  return progress;
}

}  // namespace

bool Compute::lacks_pod(const JobState& job, bool has_pod) {
  const auto now = std::chrono::steady_clock::now();
  const std::lock_guard<std::mutex> lock(told_mutex_);
  if (has_pod || job.succeeded || job.failed) {
    podless_.erase(job.uid);
    return false;
  }
  if (podless_.size() > kToldMax) podless_.clear();
  return now - podless_.emplace(job.uid, now).first->second >= kPodLimit;
}

Json Compute::progress(const sdk::Call& call, const PodState& pod) {
  const auto now = std::chrono::steady_clock::now();
  {
    const std::lock_guard<std::mutex> lock(told_mutex_);
    if (told_.size() > kToldMax) told_.clear();
    Told& told = told_[pod.uid];
    if (now < told.next) return told.progress;
    told.next = now + kAfterFailure;  // whoever comes meanwhile does not ask as well
  }
  const auto text =
      client_->text(call, path(Kind::pod, pod.name) + "/log?container=task&tailLines=1&limitBytes=" + std::to_string(kLogMax),
                    kLogMax, kAnswerLimit);
  const std::lock_guard<std::mutex> lock(told_mutex_);
  Told& told = told_[pod.uid];
  if (!text) return told.progress;
  told.next = std::chrono::steady_clock::now() + kEvery;
  if (Json read = parse_progress(*text); !read.is_null()) told.progress = std::move(read);
  return told.progress;
}

}  // namespace roost::kubernetes
