/* The layout of plugin ABI 1.0, frozen: these numbers never change. A field that is appended in a later minor version is added at
 * the end of its structure here, with the size that the structure then has; a line that has to be changed is an ABI break.
 * It is C11 and compiled with -pedantic, as plugin.h promises. (x86-64 and arm64, the LP64 platforms that Roost is built for.) */
#include "roost/plugin.h"

#define FIELD(type, field, offset, bytes)                                                     \
  _Static_assert(offsetof(type, field) == (offset), #type "." #field " moved: an ABI break"); \
  _Static_assert(sizeof(((type*)0)->field) == (bytes), #type "." #field " changed its size: an ABI break")
#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type " changed its size: add the new fields here")
#define VALUE(name, number) _Static_assert((name) == (number), #name " changed its value: an ABI break")

FIELD(roost_error, size, 0, 4);
FIELD(roost_error, code, 4, 4);
FIELD(roost_error, retry_after_ms, 8, 8);
FIELD(roost_error, message, 16, 512);
SIZE(roost_error, 528);

FIELD(roost_bytes, data, 0, 8);
FIELD(roost_bytes, size, 8, 8);
SIZE(roost_bytes, 16);

FIELD(roost_array, items, 0, 8);
FIELD(roost_array, count, 8, 4);
FIELD(roost_array, stride, 12, 4);
SIZE(roost_array, 16);

FIELD(roost_record, size, 0, 4);
FIELD(roost_record, flags, 4, 4);
FIELD(roost_record, key, 8, 16);
FIELD(roost_record, value, 24, 16);
FIELD(roost_record, revision, 40, 8);
SIZE(roost_record, 48);

FIELD(roost_sink, size, 0, 4);
FIELD(roost_sink, reserved, 4, 4);
FIELD(roost_sink, context, 8, 8);
FIELD(roost_sink, emit, 16, 8);
SIZE(roost_sink, 24);

FIELD(roost_host, size, 0, 4);
FIELD(roost_host, abi_minor, 4, 4);
FIELD(roost_host, context, 8, 8);
FIELD(roost_host, log, 16, 8);
FIELD(roost_host, cancelled, 24, 8);
SIZE(roost_host, 32);

FIELD(roost_call, size, 0, 4);
FIELD(roost_call, cancel_fd, 4, 4);
FIELD(roost_call, deadline_ns, 8, 8);
FIELD(roost_call, trace_id, 16, 16);
FIELD(roost_call, host, 32, 8);
SIZE(roost_call, 40);

FIELD(roost_secret, size, 0, 4);
FIELD(roost_secret, reserved, 4, 4);
FIELD(roost_secret, name, 8, 16);
FIELD(roost_secret, value, 24, 16);
SIZE(roost_secret, 40);

FIELD(roost_open_args, size, 0, 4);
FIELD(roost_open_args, reserved, 4, 4);
FIELD(roost_open_args, name, 8, 16);
FIELD(roost_open_args, config, 24, 16);
FIELD(roost_open_args, secrets, 40, 16);
SIZE(roost_open_args, 56);

FIELD(roost_condition, size, 0, 4);
FIELD(roost_condition, kind, 4, 4);
FIELD(roost_condition, key, 8, 16);
FIELD(roost_condition, revision, 24, 8);
SIZE(roost_condition, 32);

FIELD(roost_operation, size, 0, 4);
FIELD(roost_operation, kind, 4, 4);
FIELD(roost_operation, key, 8, 16);
FIELD(roost_operation, value, 24, 16);
FIELD(roost_operation, ttl_ms, 40, 8);
SIZE(roost_operation, 48);

FIELD(roost_store, size, 0, 4);
FIELD(roost_store, max_concurrency, 4, 4);
FIELD(roost_store, get, 8, 8);
FIELD(roost_store, scan, 16, 8);
FIELD(roost_store, commit, 24, 8);
FIELD(roost_store, count, 32, 8);
FIELD(roost_store, lease, 40, 8);
FIELD(roost_store, watch, 48, 8);
SIZE(roost_store, 56);

FIELD(roost_compute, size, 0, 4);
FIELD(roost_compute, max_concurrency, 4, 4);
FIELD(roost_compute, apply, 8, 8);
FIELD(roost_compute, observe, 16, 8);
FIELD(roost_compute, list, 24, 8);
FIELD(roost_compute, watch, 32, 8);
FIELD(roost_compute, remove, 40, 8);
FIELD(roost_compute, task_start, 48, 8);
FIELD(roost_compute, task_observe, 56, 8);
FIELD(roost_compute, task_remove, 64, 8);
FIELD(roost_compute, activity, 72, 8);
SIZE(roost_compute, 80);

FIELD(roost_backup, size, 0, 4);
FIELD(roost_backup, max_concurrency, 4, 4);
FIELD(roost_backup, describe, 8, 8);
FIELD(roost_backup, put_begin, 16, 8);
FIELD(roost_backup, put_part, 24, 8);
FIELD(roost_backup, put_commit, 32, 8);
FIELD(roost_backup, put_abort, 40, 8);
FIELD(roost_backup, list, 48, 8);
FIELD(roost_backup, stat, 56, 8);
FIELD(roost_backup, read, 64, 8);
FIELD(roost_backup, remove, 72, 8);
SIZE(roost_backup, 80);

FIELD(roost_plugin, size, 0, 4);
FIELD(roost_plugin, abi_minor, 4, 4);
FIELD(roost_plugin, kind, 8, 4);
FIELD(roost_plugin, reserved, 12, 4);
FIELD(roost_plugin, name, 16, 8);
FIELD(roost_plugin, version, 24, 8);
FIELD(roost_plugin, open, 32, 8);
FIELD(roost_plugin, close, 40, 8);
FIELD(roost_plugin, compute, 48, 8);
FIELD(roost_plugin, store, 56, 8);
FIELD(roost_plugin, backup, 64, 8);
SIZE(roost_plugin, 72);

FIELD(roost_negotiation, size, 0, 4);
FIELD(roost_negotiation, min_minor, 4, 4);
FIELD(roost_negotiation, max_minor, 8, 4);
FIELD(roost_negotiation, reserved, 12, 4);
FIELD(roost_negotiation, host, 16, 8);
SIZE(roost_negotiation, 24);

VALUE(ROOST_OK, 0);
VALUE(ROOST_INVALID, 1);
VALUE(ROOST_NOT_FOUND, 2);
VALUE(ROOST_EXISTS, 3);
VALUE(ROOST_CONFLICT, 4);
VALUE(ROOST_DENIED, 5);
VALUE(ROOST_EXHAUSTED, 6);
VALUE(ROOST_UNAVAILABLE, 7);
VALUE(ROOST_DEADLINE, 8);
VALUE(ROOST_CANCELLED, 9);
VALUE(ROOST_EXPIRED, 10);
VALUE(ROOST_OUTCOME_UNKNOWN, 11);
VALUE(ROOST_UNSUPPORTED, 12);
VALUE(ROOST_DATA_LOSS, 13);
VALUE(ROOST_INTERNAL, 14);
VALUE(ROOST_LOG_DEBUG, 0);
VALUE(ROOST_LOG_INFO, 1);
VALUE(ROOST_LOG_WARN, 2);
VALUE(ROOST_LOG_ERROR, 3);
VALUE(ROOST_IF_ABSENT, 1);
VALUE(ROOST_IF_EXISTS, 2);
VALUE(ROOST_IF_REVISION, 3);
VALUE(ROOST_PUT, 1);
VALUE(ROOST_DELETE, 2);
VALUE(ROOST_APPEND, 3);
VALUE(ROOST_LEASE_ACQUIRE, 1);
VALUE(ROOST_LEASE_RENEW, 2);
VALUE(ROOST_LEASE_RELEASE, 3);
VALUE(ROOST_OBSERVE_LIVE, 1);
VALUE(ROOST_KIND_COMPUTE, 1);
VALUE(ROOST_KIND_STORE, 2);
VALUE(ROOST_KIND_BACKUP, 3);
VALUE(ROOST_RECORD_RESUME, 1);
VALUE(ROOST_ABI_MAJOR, 1);
VALUE(ROOST_ABI_MINOR, 0);
VALUE(ROOST_ERROR_MESSAGE_MAX, 512);

/* The entry is typed, so that tools see what hangs on it (abidiff is blind behind a const void*). */
_Static_assert(_Generic(&roost_plugin_v1, const roost_plugin* (*)(const roost_negotiation*, roost_error*) : 1, default : 0),
               "the entry changed its type: an ABI break");
