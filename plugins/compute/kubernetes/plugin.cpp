// compute-kubernetes: the plugin's entry. See compute.hpp.
#include "compute/kubernetes/compute.hpp"

ROOST_COMPUTE_PLUGIN(roost::kubernetes::Compute, "compute-kubernetes", ROOST_PLUGIN_VERSION)
