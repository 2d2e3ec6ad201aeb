#include "daemon/exposure.hpp"

namespace roost::daemon {

bool shares_host_network(const Json& isolation) { return isolation["network"].as_string().starts_with("host"); }

bool settings_share_host_network(const Json& compute_config) {
  return compute_config["network"].as_string() == "host" || compute_config["sandbox"].as_string() == "none";
}

bool any_shares_host_network(const ReadModel& sessions) {
  constexpr std::size_t kPage = 1000;
  std::string after;
  for (;;) {
    const auto page = sessions.list(after, kPage);
    for (const SessionView& view : page) {
      if (shares_host_network(view->session.observed.isolation)) return true;
    }
    if (page.size() < kPage) return false;
    after = page.back()->session.id;
  }
}

}  // namespace roost::daemon
