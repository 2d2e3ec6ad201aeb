// roostd: see application.hpp.
#include <malloc.h>
#include <sys/stat.h>

#include "daemon/application.hpp"
#include "daemon/signals.hpp"

int main(int argc, char** argv) {
  roost::daemon::block_signals();
  ::umask(077);
  ::mallopt(M_ARENA_MAX, 4);  // an arena for each of the plugins' many idle threads would be most of the memory
  roost::daemon::Application application;
  return application.execute(argc, argv);
}
