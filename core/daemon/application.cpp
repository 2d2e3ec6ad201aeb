#include "daemon/application.hpp"

#include <Poco/Util/HelpFormatter.h>
#include <Poco/Util/Option.h>
#include <Poco/Util/OptionSet.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <optional>
#include <thread>

#include "base/clock.hpp"
#include "daemon/notify.hpp"
#include "daemon/recover.hpp"
#include "daemon/runtime.hpp"
#include "daemon/settings.hpp"
#include "daemon/signals.hpp"
#include "daemon/transfer.hpp"
#include "host/backends.hpp"
#include "host/loop.hpp"
#include "telemetry/log.hpp"

namespace roost::daemon {
namespace {

namespace log = telemetry::log;

constexpr std::int64_t kTickMs = 1000;
constexpr std::int64_t kStartingMs = 20;  // until it is ready: whoever waits for READY=1 should not wait for a tick

// Every connection is a descriptor; the soft limit is for programs that use select(2), and this is none.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

void reload(Runtime& runtime, const Notify& notify) {
  notify.reloading();
  const Status reloaded = runtime.reload();
  if (!reloaded.ok()) log::error("the new configuration was refused; the old one stays in force", reloaded.error());
  notify.ready(reloaded.ok() ? "running" : "running with the old configuration: the new one was refused, see the log");
}

// A stop that hangs, or a second signal, ends the process: workspaces and documents survive that by design.
void end_if_stuck(std::int64_t deadline_ms) {
  std::thread([deadline_ms] {
    const int signal = wait_for_signal(deadline_ms);
    log::error(signal == 0 ? "the stop took too long; ending at once" : "a second signal; ending at once");
    ::_exit(1);
  }).detach();
}

// None: what is wrong with it is said.
std::optional<config::Config> checked_config(const std::string& file) {
  auto config = config::Config::load(file, config::process_environment());
  const std::string faults = config.ok() ? check(*config) : config.error().message + "\n";
  std::cerr << faults;
  if (!faults.empty()) return std::nullopt;
  return *std::move(config);
}

}  // namespace

int Application::execute(int argc, char** argv) {
  try {
    setUnixOptions(true);
    init(argc, argv);
  } catch (const Poco::Exception& error) {
    std::cerr << "roostd: " << error.displayText() << "\nroostd --help lists the options\n";
    return 2;
  }
  return ServerApplication::run();
}

// Not ServerApplication's own: --daemon forks and --umask would loosen ours.
void Application::defineOptions(Poco::Util::OptionSet& options) {
  Poco::Util::Application::defineOptions(options);
  options.addOption(Poco::Util::Option("config", "", "read this configuration instead of the default one").argument("FILE"));
  options.addOption(Poco::Util::Option("check-config", "",
                                       "check the configuration, and the plugins' part of it by their manifests; run nothing"));
  options.addOption(Poco::Util::Option("version", "", "print the version"));
  options.addOption(Poco::Util::Option("help", "", "print this"));
}

void Application::handleOption(const std::string& name, const std::string& value) {
  if (name == "config") config_file_ = value;
  if (name == "check-config") mode_ = Mode::check_config;
  if (name == "version") mode_ = Mode::version;
  if (name == "help") mode_ = Mode::help;
  if (mode_ == Mode::version || mode_ == Mode::help) stopOptionsProcessing();
}

int Application::main(const std::vector<std::string>& arguments) {
  const bool transfers = arguments.size() == 2 && (arguments[0] == "export" || arguments[0] == "import");
  const bool recovers = arguments.size() == 1 && arguments[0] == "recover";
  if (!arguments.empty() && !transfers && !recovers) {
    std::cerr << "roostd: \"" << arguments[0] << "\" means nothing here\nroostd --help lists the options\n";
    return 2;
  }
  if (config_file_.empty()) config_file_ = default_config_file();
  try {
    switch (mode_) {
      case Mode::version: std::cout << "roostd " ROOST_VERSION "\n"; return 0;
      case Mode::help: {
        Poco::Util::HelpFormatter formatter(options());
        formatter.setCommand("roostd");
        formatter.setUsage("[--config FILE] [--check-config | export FILE | import FILE | recover]");
        formatter.setHeader(
            "The daemon of Roost: REST API, gateway of the workspaces, reconciler. export and import move everything that the "
            "store "
            "holds out of it and into an empty one, recover makes the catalogue of backups anew out of the archives in the "
            "backup "
            "storage; while no roostd runs.");
        formatter.format(std::cout);
        return 0;
      }
      case Mode::check_config: return check_config();
      case Mode::run:
        if (recovers) return recover();
        return transfers ? transfer(arguments[0], arguments[1]) : run_daemon();
    }
  } catch (const std::exception& error) {
    std::cerr << "roostd: " << error.what() << '\n';
  }
  return 1;
}

int Application::check_config() {
  const auto config = checked_config(config_file_);
  if (!config) return 1;
  for (const std::string& warning : config->warnings) std::cerr << "warning: " << warning << '\n';
  std::cout << config_file_ << ": fine\n";
  return 0;
}

// Runs `work` on the configured backends as `open` opens them, without a daemon; answers the exit code.
int Application::with_backends(OpenBackends open, const std::function<Status(const config::Config&, Backends&)>& work) {
  const auto config = checked_config(config_file_);
  if (!config) return 1;
  log::register_secrets(config->secret_values());
  log::configure(log_options(*config));
  Loop loop;
  loop.start();
  auto backends = open(backends_spec(*config), host_api(), loop);
  if (!backends.ok()) {
    std::cerr << "roostd: " << backends.error().message << '\n';
    return 1;
  }
  const Status done = work(*config, **backends);
  (void)(*backends)->drain(system_clock().monotonic_ns() + 5'000'000'000);
  loop.stop();
  if (!done.ok()) std::cerr << "roostd: " << done.error().message << '\n';
  return done.ok() ? 0 : 1;
}

// Everything that the configured store holds, into the file or out of it.
int Application::transfer(const std::string& what, const std::string& file) {
  return with_backends(Backends::open_store, [&](const config::Config& config, Backends& backends) -> Status {
    const EngineOptions engine = engine_options(config);
    const TransferOptions options{what + "-" + std::to_string(::getpid()), engine.tombstone_ms, engine.history_ms,
                                  engine.idempotency_ms, [](const std::string& line) { std::cout << line << std::endl; }};
    Store& store = backends.store();
    const auto done = what == "export" ? export_store(store, system_clock(), file, options)
                                       : import_store(store, system_clock(), file, options);
    if (!done.ok()) return done.error().context(what);
    std::cout << what << "ed " << done->sessions << " sessions in " << done->documents << " documents and " << done->sequences
              << " queues; SHA-256 of the file's lines " << done->sha256 << '\n';
    return {};
  });
}

// The catalogue out of the archives, where the store was lost.
int Application::recover() {
  return with_backends(Backends::open_storage, [](const config::Config&, Backends& backends) -> Status {
    const RecoverOptions options{"recover-" + std::to_string(::getpid()),
                                 [&](const std::string& archive, std::int64_t offset, std::int64_t length) {
                                   return backends.read_archive(archive, offset, length);
                                 },
                                 [](const std::string& line) { std::cout << line << std::endl; }};
    const auto done = recover_catalogue(backends.store(), backends.backup(), system_clock(), options);
    if (!done.ok()) {
      Error error = done.error().context("recover");
      error.message += "\nwhat was recovered stays; run it again to go on";
      return error;
    }
    std::cout << "recovered " << done->made << " backups, " << done->known << " were known already; " << done->damaged
              << " damaged archives and " << done->strangers << " strangers were left alone\n";
    return {};
  });
}

int Application::run_daemon() {
  auto config = checked_config(config_file_);
  if (!config) return 1;
  log::register_secrets(config->secret_values());
  log::configure(log_options(*config));
  for (const std::string& warning : config->warnings) log::warn(warning);
  raise_descriptor_limit();
  const bool loopback = config->http.loopback;
  auto runtime = Runtime::start(*std::move(config));
  if (!runtime.ok()) {
    log::error("roostd cannot start", runtime.error());
    return 1;
  }
  if (loopback) std::cout << (*runtime)->banner() << std::flush;
  const int code = serve(**runtime);
  if (code != 0) {  // a call into a plugin may not return: its thread cannot be ended, so the process is
    std::cout.flush();
    ::_exit(code);
  }
  return 0;
}

int Application::serve(Runtime& runtime) {
  const Notify notify;
  const Clock& clock = system_clock();
  const std::int64_t watchdog_ns = notify.watchdog_ms() * 1'000'000;
  const std::int64_t every_ms = notify.watchdog_ms() > 0 ? std::min(kTickMs, notify.watchdog_ms()) : kTickMs;
  std::int64_t ticked_ns = 0, fed_ns = 0;
  bool announced = false, refused = false;
  while (!refused) {
    const int signal = wait_for_signal(announced ? every_ms : kStartingMs);
    if (signal == SIGHUP) reload(runtime, notify);
    if (signal == SIGTERM || signal == SIGINT) {
      log::info("stopping", Json::object({{"signal", signal == SIGINT ? "INT" : "TERM"}}));
      break;
    }
    const std::int64_t now_ns = clock.monotonic_ns();
    const Status ready = announced ? Status{} : runtime.ready();
    if (!announced && ready.ok()) {
      announced = true;
      log::info("ready");
      notify.ready("running");
    }
    refused = !ready.ok() && ready.error().code == Code::data_loss;
    if (refused) log::error("roostd cannot start", ready.error());
    if (now_ns - ticked_ns >= kTickMs * 1'000'000) {
      ticked_ns = now_ns;
      runtime.tick();
    }
    if (watchdog_ns > 0 && now_ns - fed_ns >= watchdog_ns) {
      fed_ns = now_ns;
      if (runtime.alive()) notify.watchdog();
    }
  }
  notify.stopping("answering what is under way");
  end_if_stuck(runtime.stop_deadline_ms());
  const bool clean = runtime.stop();
  if (!clean)
    log::error("a call into a plugin did not return; ending without it");
  else
    log::info("stopped");
  return clean && !refused ? 0 : 1;
}

}  // namespace roost::daemon
