// `roost-agent serve`: the hand-over to a supervisor that outlives its caller. The caller's process returns when the supervisor
// can be spoken to; the supervisor itself is a session leader without a terminal, with nothing inherited.
#include "agent/serve_handover.hpp"
#include "agent/serve_supervisor.hpp"

#include "agent/commands.hpp"

namespace roost::agent {

int serve(int argc, char** argv) {
  return hand_over(argc, argv, [](const HandOver& given) {
    auto spec = ServeSpec::load(given.spec);
    if (!spec) return given.refuse(spec.error());
    if (const auto locked = take_lock(spec->run + "/lock", spec->run); !locked) return given.refuse(locked.error());
    // The run directory may be another than it was: that no two workloads share a volume is told by the volume.
    if (!spec->volume_lock.empty()) {
      if (const auto locked = take_lock(spec->volume_lock, spec->run); !locked) return given.refuse(locked.error());
    }
    Supervisor supervisor(std::move(*spec));
    if (const auto prepared = supervisor.prepare(); !prepared) return given.refuse(prepared.error());
    given.ready();
    supervisor.run();
    return 0;
  });
}

}  // namespace roost::agent
