/* A library whose typed symbols reach every type of plugin.h, for abidiff: it compares what symbols reach, and sees nothing
 * behind an untyped pointer. Enumerations cross as int32_t in the header, so each has a symbol of its own here. */
#include <roost/plugin.h>

const roost_plugin* roost_plugin_v1(const roost_negotiation* negotiation, roost_error* error) {
  (void)negotiation;
  (void)error;
  return 0;
}

#define REACHES(kind, name)                            \
  ROOST_EXPORT kind name* probe_##name(kind name* it); \
  kind name* probe_##name(kind name* it) { return it; }
REACHES(enum, roost_code)
REACHES(enum, roost_log_level)
REACHES(enum, roost_condition_kind)
REACHES(enum, roost_operation_kind)
REACHES(enum, roost_lease_action)
REACHES(enum, roost_observe_flags)
REACHES(enum, roost_kind)
REACHES(struct, roost_record)
REACHES(struct, roost_secret)
REACHES(struct, roost_condition)
REACHES(struct, roost_operation)
