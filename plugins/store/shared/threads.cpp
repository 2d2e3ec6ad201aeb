#include "store/shared/threads.hpp"

#include <signal.h>

#include <system_error>

#include "roost/plugin.hpp"

namespace roost::store {
namespace {

struct SignalsBlocked {
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;
  sigset_t before;
};

}  // namespace

std::thread start_thread(const std::string& plugin, std::function<void()> run) {
  const SignalsBlocked blocked;  // a thread inherits them
  try {
    return std::thread(std::move(run));
  } catch (const std::system_error& e) {
    throw sdk::Failure(ROOST_EXHAUSTED, plugin + ": no thread can be started: " + e.what(), 1'000);
  }
}

}  // namespace roost::store
