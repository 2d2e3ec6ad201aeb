// From the checked document to the typed Config, with the rules that no schema says: what must fit together, which files hold
// secrets, where the guide's key is accepted. Reads secret files; otherwise pure.
#pragma once

#include <string>
#include <vector>

#include "config/config.hpp"
#include "config/schema.hpp"

namespace roost::config {

// Fills `config` from its tree. REQUIRES: the tree is completed and check() found nothing. `directory`: of the configuration
// file.
void interpret(Config& config, const std::string& directory, const Environment& environment, std::vector<Fault>& faults);

// The port of "HOST:PORT" in [0, 65535], or -1; and whether HOST is reachable from this machine only.
[[nodiscard]] int port_of(std::string_view listen);
[[nodiscard]] bool is_loopback(std::string_view listen);

}  // namespace roost::config
