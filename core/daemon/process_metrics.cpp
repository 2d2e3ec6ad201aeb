#include "daemon/process_metrics.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.hpp"

namespace roost::daemon {
namespace {

using telemetry::Counter;
using telemetry::Gauge;
using telemetry::Metrics;

// A counter that follows a number which somebody else counts.
class Following {
 public:
  explicit Following(Counter counter) : counter_(counter) {}
  void follow(std::int64_t now) {
    if (now > seen_) counter_.add(static_cast<double>(now - seen_));
    seen_ = now;
  }

 private:
  Counter counter_;
  std::int64_t seen_ = 0;
};

double resident_bytes() {
  long pages = 0;
  if (std::FILE* file = std::fopen("/proc/self/statm", "re")) {
    if (std::fscanf(file, "%*s %ld", &pages) != 1) pages = 0;
    std::fclose(file);
  }
  return static_cast<double>(pages) * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

double open_descriptors() {
  std::error_code failed;
  double count = -1;  // the one that reads the directory
  for (auto it = std::filesystem::directory_iterator("/proc/self/fd", failed);
       !failed && it != std::filesystem::directory_iterator(); it.increment(failed)) {
    ++count;
  }
  return count;
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

constexpr std::array kPhases{Phase::pending,  Phase::starting,       Phase::running,     Phase::stopping, Phase::asleep,
                             Phase::deleting, Phase::delete_blocked, Phase::volume_lost, Phase::failed};

constexpr std::array kBackupStates{"started", "verified", "damaged", "missing", "deleting"};

class Collector {
 public:
  Collector(Metrics& metrics, MetricSources sources)
      : sources_(std::move(sources)),
        steps_(metrics.counter("roost_engine_steps_total", "Steps that the engine took")),
        failures_(metrics.counter("roost_engine_step_failures_total", "Steps that failed and are tried again")),
        conflicts_(metrics.counter("roost_engine_conflicts_total", "Commits that found another revision")),
        overdue_(metrics.counter("roost_engine_calls_overdue_total", "Calls of backends that overran their deadline")),
        orphans_(metrics.gauge("roost_engine_orphans", "Resources without a session, as last seen")),
        queue_(metrics.gauge("roost_engine_queue_depth", "Sessions that wait for the engine")),
        in_flight_(metrics.gauge("roost_engine_calls_in_flight", "Calls of backends under way")),
        strangers_(metrics.gauge("roost_backups_strangers", "Archives in the storage that no backup names")),
        unlisted_(metrics.gauge("roost_backups_unlisted_parts",
                                "Parts of the storage, of 256, that could not be listed whole: nothing is judged there")),
        oldest_proof_(metrics.gauge("roost_backup_oldest_proof_seconds",
                                    "How long ago the backup was read back that waits longest for it")),
        proven_(metrics.counter("roost_backup_drills_total", "Backups that were read again", {{"result", "proven"}})),
        rotten_(metrics.counter("roost_backup_drills_total", "Backups that were read again", {{"result", "damaged"}})),
        drills_failed_(metrics.counter("roost_backup_drills_total", "Backups that were read again", {{"result", "failed"}})),
        missing_(metrics.counter("roost_backups_missing_total", "Archives that were found to be gone")),
        removed_(metrics.counter("roost_backups_removed_total", "Backups that were removed")),
        unsaved_(metrics.gauge("roost_backup_oldest_unsaved_seconds",
                               "How old the last good backup is of the session that may have changed since and waits longest")),
        leader_(metrics.gauge("roost_engine_leader", "1 where this daemon reconciles")),
        ready_(metrics.gauge("roost_ready", "1 where /ready says yes")),
        accepted_(metrics.counter("roost_http_connections_total", "Accepted connections")),
        rejected_(metrics.counter("roost_http_rejected_total", "Connections and requests refused by a limit")),
        timeouts_(metrics.counter("roost_http_timeouts_total", "Requests that did not arrive in time")),
        connections_(metrics.gauge("roost_http_connections", "Open connections")),
        requests_(metrics.gauge("roost_http_requests_in_flight", "Requests that are not answered yet")),
        tunnels_(metrics.gauge("roost_http_tunnels", "WebSockets and other tunnels to workspaces")),
        streams_(metrics.gauge("roost_event_streams", "Open event streams")),
        resident_(metrics.gauge("roost_process_resident_bytes", "Memory of this process")),
        descriptors_(metrics.gauge("roost_process_open_fds", "Open file descriptors")),
        cpu_(metrics.gauge("roost_process_cpu_seconds", "Processor time of this process since its start")) {
    for (const Phase phase : kPhases) {
      phases_.push_back(metrics.gauge("roost_sessions", "Sessions by phase", {{"phase", std::string(to_string(phase))}}));
    }
    for (const char* state : kBackupStates) {
      backups_.push_back(metrics.gauge("roost_backups", "Backups by state, as the leader last counted them", {{"state", state}}));
    }
    for (const char* result : {"started", "succeeded", "failed", "postponed", "cancelled"}) {
      scheduled_.emplace_back(metrics.counter("roost_backup_schedule_total",
                                              "Backups that the schedule began, and how they ended", {{"result", result}}));
    }
    for (const char* backend : {"store", "compute", "backup"}) {
      running_.push_back(metrics.gauge("roost_backend_calls_running", "Calls inside a plugin", {{"backend", backend}}));
      queued_.push_back(
          metrics.gauge("roost_backend_calls_queued", "Calls that wait for a plugin's worker", {{"backend", backend}}));
    }
    metrics.gauge("roost_build_info", "1; the version is a label", {{"version", sources_.version}}).set(1);
  }

  void collect() {
    const auto by_phase = sources_.engine->reads().count_by_phase();
    for (std::size_t i = 0; i < kPhases.size(); ++i) {
      const auto index = static_cast<std::size_t>(kPhases[i]);
      phases_[i].set(index < by_phase.size() ? static_cast<double>(by_phase[index]) : 0);
    }
    const Engine::Statistics engine = sources_.engine->statistics();
    steps_.follow(engine.steps);
    failures_.follow(engine.step_failures);
    conflicts_.follow(engine.conflicts);
    overdue_.follow(engine.calls_overdue);
    orphans_.set(static_cast<double>(engine.orphans));
    queue_.set(static_cast<double>(engine.queue_depth));
    in_flight_.set(static_cast<double>(engine.in_flight));
    leader_.set(engine.leader ? 1 : 0);
    collect_backups();
    ready_.set(sources_.engine->ready().ok() ? 1 : 0);
    const http::ServerStatistics server = sources_.server->statistics();
    accepted_.follow(server.accepted);
    rejected_.follow(server.rejected);
    timeouts_.follow(server.timeouts);
    connections_.set(static_cast<double>(server.open_connections));
    requests_.set(static_cast<double>(server.in_flight));
    tunnels_.set(static_cast<double>(server.tunnels));
    streams_.set(static_cast<double>(sources_.event_streams()));
    const Backends::Statistics backends = sources_.backends->statistics();
    const Lanes::Statistics lanes[] = {backends.store, backends.compute, backends.backup};
    for (std::size_t i = 0; i < running_.size(); ++i) {
      running_[i].set(static_cast<double>(lanes[i].running));
      queued_[i].set(static_cast<double>(lanes[i].queued));
    }
    resident_.set(resident_bytes());
    count_descriptors();
    cpu_.set(cpu_seconds());
  }

 private:
  // Of a replica that does not lead: nothing.
  void collect_backups() {
    Engine::BackupStatistics now = sources_.engine->backup_statistics();
    for (std::size_t i = 0; i < kBackupStates.size(); ++i) backups_[i].set(static_cast<double>(now.states[kBackupStates[i]]));
    strangers_.set(static_cast<double>(now.strangers));
    unlisted_.set(static_cast<double>(now.unlisted));
    const std::int64_t age_us = now.oldest_proof_us == 0 ? 0 : system_clock().wall_us() - now.oldest_proof_us;
    oldest_proof_.set(static_cast<double>(age_us) / 1e6);
    proven_.follow(now.proven);
    rotten_.follow(now.damaged);
    drills_failed_.follow(now.drills_failed);
    missing_.follow(now.missing);
    removed_.follow(now.removed);
    const Engine::ScheduleStatistics schedule = sources_.engine->schedule_statistics();
    const std::int64_t ends[] = {schedule.started, schedule.succeeded, schedule.failed, schedule.postponed, schedule.cancelled};
    for (std::size_t i = 0; i < scheduled_.size(); ++i) scheduled_[i].follow(ends[i]);
    const std::int64_t unsaved_us = schedule.unsaved_since_us == 0 ? 0 : system_clock().wall_us() - schedule.unsaved_since_us;
    unsaved_.set(static_cast<double>(unsaved_us) / 1e6);
  }

  // With thousands of connections the directory takes milliseconds to read, on an event loop: once a second is enough.
  void count_descriptors() {
    const std::int64_t now_ns = system_clock().monotonic_ns();
    if (counted_ns_ != 0 && now_ns - counted_ns_ < 1'000'000'000) return;
    counted_ns_ = now_ns;
    descriptors_.set(open_descriptors());
  }

  const MetricSources sources_;
  std::int64_t counted_ns_ = 0;
  std::vector<Gauge> phases_, backups_, running_, queued_;
  Following steps_, failures_, conflicts_, overdue_;
  Gauge orphans_, queue_, in_flight_, strangers_, unlisted_, oldest_proof_;
  Following proven_, rotten_, drills_failed_, missing_, removed_;
  std::vector<Following> scheduled_;
  Gauge unsaved_;
  Gauge leader_, ready_;
  Following accepted_, rejected_, timeouts_;
  Gauge connections_, requests_, tunnels_, streams_, resident_, descriptors_, cpu_;
};

}  // namespace

void register_process_metrics(Metrics& metrics, MetricSources sources) {
  auto collector = std::make_shared<Collector>(metrics, std::move(sources));
  metrics.on_collect([collector] { collector->collect(); });
}

}  // namespace roost::daemon
