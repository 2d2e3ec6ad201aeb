// A compute plugin that logs each request and answers a document that belongs to it; some ids get a wrong one.
#include <string>

#include "roost/plugin.hpp"

namespace {

using namespace roost::sdk;

std::string member(std::string_view text, std::string_view name) {
  const std::string key = "\"" + std::string(name) + "\":\"";
  const auto at = text.find(key);
  if (at == std::string_view::npos) return {};
  const auto begin = at + key.size();
  return std::string(text.substr(begin, text.find('"', begin) - begin));
}

std::string workspace(const std::string& id) {
  if (id == "0000bad0") return R"({"id":"0000bad0","volume":{"state":"fancy"},"workload":{"state":"none"}})";
  if (id == "0000bad1") return R"({"id":"another","volume":{"state":"missing"},"workload":{"state":"none"}})";
  if (id == "0000bad2") return "no JSON";
  if (id == "0000bad3") return R"({"id":"0000bad3","volume":{"state":"present"},"workload":{"state":"none"}})";
  return R"({"id":")" + id +
         R"(","generation":3,"volume":{"state":"present","uid":"u-1"},"workload":{"state":"running","ready":true,)" +
         R"("incarnation":"i-1","size":{"cpu_millis":1000,"memory_bytes":1024}},"endpoint":"unix:/run/x.sock",)" +
         R"("isolation":{"kind":"none"},"unknown":[1]})";
}

class Scripted : public ComputePlugin {
 public:
  Scripted(const Call&, const OpenArgs& args) : log_(args.log) {}
  std::string apply(const Call&, std::string_view spec) override {
    log_.info("apply", spec);
    return workspace(member(spec, "id"));
  }
  std::string observe(const Call&, std::string_view id, std::uint32_t flags) override {
    log_.info("observe", flags == ROOST_OBSERVE_LIVE ? "live" : "cached");
    return workspace(std::string(id));
  }
  void list(const Call&, std::string_view after, std::uint32_t limit, Sink& sink) override {
    for (const char* id : {"00000001", "00000002", "00000003"}) {
      if (id <= after || limit-- == 0) continue;
      sink.emit(id, workspace(id));
    }
  }
  void watch(const Call&, std::string_view resume, Sink& sink) override {
    sink.emit("00000001", {});
    sink.resume(std::string(resume) + "+");
  }
  void remove(const Call&, std::string_view request) override {
    log_.info("remove", request);
    if (member(request, "incarnation") == "other") throw Failure(ROOST_CONFLICT, "another incarnation runs");
  }
  std::string task_start(const Call&, std::string_view spec) override {
    log_.info("task_start", spec);
    return R"({"state":"running","progress":{"bytes":5,"files":2,"total_bytes":50}})";
  }
  std::string task_observe(const Call&, std::string_view request) override {
    log_.info("task_observe", request);
    if (member(request, "operation") == "00000bad") return R"({"state":"succeeded"})";
    if (member(request, "operation") == "0000fa11")
      return R"({"state":"failed","reason":"NoSpace","message":"the disk is full"})";
    return R"({"state":"succeeded","receipt":{"archive":"a.zip","session_id":"00000001","operation_id":"0000000a","files":3,"bytes":10,)"
           R"("archive_bytes":20,"archive_sha256":"aa","tree_hash":"bb","volume_uid":"u-1","backup_id":"b","made_at_us":1,)"
           R"("verified_at_us":2}})";
  }
  void task_remove(const Call&, std::string_view request) override { log_.info("task_remove", request); }
  std::string activity(const Call&, std::string_view) override { return "{}"; }

 private:
  Log log_;
};

}  // namespace

ROOST_COMPUTE_PLUGIN(Scripted, "compute-scripted", "1.0.0")
