/* A plugin that was linked without one of its libraries: the loader must say so when it loads, not when it first calls. */
#include "roost/plugin.h"

extern const roost_plugin* roost_test_function_that_exists_nowhere(void);

const roost_plugin* roost_plugin_v1(const roost_negotiation* negotiation, roost_error* error) {
  (void)negotiation;
  (void)error;
  return roost_test_function_that_exists_nowhere();
}
