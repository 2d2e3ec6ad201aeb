// activity: what the agent in the pod saw, asked at the pod's own address.
#include <chrono>

#include "compute/kubernetes/channel.hpp"
#include "compute/kubernetes/compute.hpp"

namespace roost::kubernetes {
namespace {

constexpr std::chrono::milliseconds kLimit{3000};
constexpr std::size_t kAnswerMax = 64u << 10;

std::int64_t now_us() {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(since_epoch).count();
}

// A pod is asked directly: its Service may lead elsewhere, and needs a name server.
Json ask(const sdk::Call& call, const std::string& address, const std::string& token) {
  Cluster pod;
  pod.url = "http://" + address;
  Identity identity;
  identity.token = token;
  Channel channel(pod, std::move(identity));
  const Request request = Request::get("/.roost/activity");
  std::vector<Transfer> transfers(1);
  transfers[0].request = &request;
  transfers[0].max_bytes = kAnswerMax;
  transfers[0].limit = kLimit;
  channel.run(call, transfers);
  const Transfer& transfer = transfers[0];
  if (!transfer.done || transfer.result != CURLE_OK || transfer.status != 200) return Json::array();
  return read_signals(transfer.body, now_us());
}

}  // namespace

// No signals: there is no pod, or it does not answer. Then nothing is known, which counts as active.
std::string Compute::activity(const sdk::Call& call, std::string_view raw_id) {
  check_id(raw_id);
  const std::string id(raw_id);
  view_->wait_until_listed(call);
  const SessionState session = view_->session(id);
  const PodState* pod = workspace_pod(session);
  const bool there = pod != nullptr && !pod->deleting && !pod->ended && !pod->address.empty() && !session.secrets.empty();
  Json signals = Json::array();
  if (there && !session.secrets.front().token.empty()) {
    try {
      signals = ask(call, pod_authority(*pod), session.secrets.front().token);
    } catch (const sdk::Failure&) {  // what came was no answer of an agent
    }
    call.check();
  }
  return Json::object({{"id", id}, {"signals", signals}}).dump();
}

}  // namespace roost::kubernetes
