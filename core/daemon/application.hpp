// Application: roostd as a program: its options, its signals, its exit codes. It stays in the foreground; a service manager is
// told by sd_notify. Thread safety: the main thread only. REQUIRES: TERM, INT and HUP are blocked before any thread starts.
#pragma once

#include <Poco/Util/ServerApplication.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "host/backends.hpp"

namespace roost::daemon {

class Application : public Poco::Util::ServerApplication {
 public:
  // 0: it ran and was stopped, or the configuration is fine; 1: it could not start, or the configuration is wrong; 2: wrong
  // options.
  int execute(int argc, char** argv);

 protected:
  void defineOptions(Poco::Util::OptionSet& options) override;
  void handleOption(const std::string& name, const std::string& value) override;
  int main(const std::vector<std::string>& arguments) override;

 private:
  int run_daemon();
  int check_config();
  using OpenBackends = Result<std::unique_ptr<Backends>> (*)(const BackendsSpec&, const HostApi&, Scheduler&);
  int with_backends(OpenBackends open, const std::function<Status(const config::Config&, Backends&)>& work);
  int recover();
  int transfer(const std::string& what, const std::string& file);
  int serve(class Runtime& runtime);

  enum class Mode { run, check_config, version, help };
  Mode mode_ = Mode::run;
  std::string config_file_;
};

}  // namespace roost::daemon
