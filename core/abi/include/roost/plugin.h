/* roost/plugin.h: the plugin ABI of Roost, version 1. DRAFT until the conformance kit is released; frozen from then on.
 *
 * A plugin is a shared library with ONE exported symbol, roost_plugin_v1, and a manifest NAME.roost.json beside it. It is a
 * backend of one kind: compute (runs workspaces and tasks), store (keeps documents) or backup (keeps archives).
 * Pure C11; usable from C, C++, Rust and Go. C++ authors use roost/plugin.hpp.
 *
 * RULES, for both sides
 *  1. Every structure starts with `size`, set by its writer to sizeof; its reader touches nothing beyond it. Structures grow
 *     only at the end; a released field never changes its meaning or place. Arrays carry the stride of their items.
 *  2. No memory crosses to be freed. Inputs are borrowed until the call returns. Outputs go through the host's sink.
 *  3. No exception, signal handler, exit() or thread that outlives close() crosses. A plugin is never unloaded.
 *  4. Threads: [loader] the loading thread, before any other call; [worker] any of the host's workers, several at once up to
 *     the lane's max_concurrency; [any] any thread, also the plugin's own.
 *  5. A [worker] call blocks. It returns soon after `deadline_ns` or after `cancel_fd` turns readable, whichever is first.
 *  6. Mutating calls are idempotent under the caller's names and tokens: a repeated call finds its own work and succeeds.
 *  7. The sink is called on the calling thread, before the call returns, with no lock held that a host call could need.
 *  8. Text is UTF-8. Documents are JSON objects; readers ignore members that they do not know. Their schemas: schemas/. */
#ifndef ROOST_PLUGIN_H
#define ROOST_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ROOST_ABI_MAJOR 1u
#define ROOST_ABI_MINOR 0u

#if defined(__GNUC__)
#define ROOST_EXPORT __attribute__((visibility("default")))
#else
#define ROOST_EXPORT
#endif

/* ---- errors ------------------------------------------------------------------------------------------------------- */

/* What happened, and what the caller does about it. Functions return one of these as int32_t; 0 is success. */
enum roost_code {
  ROOST_OK = 0,
  ROOST_INVALID = 1,          /* the request is wrong: do not repeat it unchanged */
  ROOST_NOT_FOUND = 2,        /* no such thing */
  ROOST_EXISTS = 3,           /* it is there already, and is not the caller's */
  ROOST_CONFLICT = 4,         /* a precondition does not hold: read again, decide again */
  ROOST_DENIED = 5,           /* credentials, permissions, policy */
  ROOST_EXHAUSTED = 6,        /* a quota or disk is full: retry after retry_after_ms, or when somebody made room */
  ROOST_UNAVAILABLE = 7,      /* cannot be reached, nothing was done: retry */
  ROOST_DEADLINE = 8,         /* the deadline passed, nothing was done: retry */
  ROOST_CANCELLED = 9,        /* cancelled, nothing was done */
  ROOST_EXPIRED = 10,         /* a cursor or token is too old: begin again */
  ROOST_OUTCOME_UNKNOWN = 11, /* may or may not have been done: observe first. With retry_after_ms: it is under way */
  ROOST_UNSUPPORTED = 12,     /* this backend cannot: do not repeat */
  ROOST_DATA_LOSS = 13,       /* stored data is damaged or gone: stop, tell a human */
  ROOST_INTERNAL = 14         /* a defect of the plugin */
};

#define ROOST_ERROR_MESSAGE_MAX 512

/* Owned by the caller, who zeroes it and sets `size`; the callee fills it where it returns other than ROOST_OK. */
typedef struct roost_error {
  uint32_t size;
  int32_t code;
  uint64_t retry_after_ms;               /* 0: not stated */
  char message[ROOST_ERROR_MESSAGE_MAX]; /* NUL-terminated: what, where, what to do; never a secret */
} roost_error;

/* ---- values ------------------------------------------------------------------------------------------------------- */

/* Borrowed bytes; `data` may be NULL where `size` is 0. Not NUL-terminated. */
typedef struct roost_bytes {
  const char* data;
  size_t size;
} roost_bytes;

/* `count` items, each `stride` bytes after the one before. */
typedef struct roost_array {
  const void* items;
  uint32_t count;
  uint32_t stride;
} roost_array;

/* One piece of output. Which members mean something is said at each function. */
typedef struct roost_record {
  uint32_t size;
  uint32_t flags;
  roost_bytes key;
  roost_bytes value;
  uint64_t revision; /* opaque, compared for equality only, never reused */
} roost_record;

/* The host's receiver of output. emit copies what it needs before it returns; a non-zero answer means STOP: the plugin
 * emits nothing more and returns ROOST_OK. */
typedef struct roost_sink {
  uint32_t size;
  uint32_t reserved;
  void* context;
  int32_t (*emit)(const struct roost_sink* sink, const roost_record* record);
} roost_sink;

/* ---- the host ----------------------------------------------------------------------------------------------------- */

enum roost_log_level { ROOST_LOG_DEBUG = 0, ROOST_LOG_INFO = 1, ROOST_LOG_WARN = 2, ROOST_LOG_ERROR = 3 };

struct roost_call;

/* Lives as long as the process. */
typedef struct roost_host {
  uint32_t size;
  uint32_t abi_minor;
  void* context;
  /* [any] message: one line, no secret. fields: a JSON object, or empty. */
  void (*log)(const struct roost_host* host, int32_t level, roost_bytes message, roost_bytes fields);
  /* [worker] 1 once the call was cancelled or its deadline passed; for code that cannot poll cancel_fd. */
  int32_t (*cancelled)(const struct roost_host* host, const struct roost_call* call);
} roost_host;

/* The circumstances of one call; valid until it returns. */
typedef struct roost_call {
  uint32_t size;
  int32_t cancel_fd;    /* for poll(POLLIN) only; -1: none */
  uint64_t deadline_ns; /* absolute, CLOCK_MONOTONIC */
  roost_bytes trace_id; /* 32 hex digits (W3C trace context), or empty */
  const roost_host* host;
} roost_call;

/* ---- opening ------------------------------------------------------------------------------------------------------ */

typedef struct roost_secret {
  uint32_t size;
  uint32_t reserved;
  roost_bytes name;
  roost_bytes value;
} roost_secret;

typedef struct roost_open_args {
  uint32_t size;
  uint32_t reserved;
  roost_bytes name;    /* the instance's name, for logs */
  roost_bytes config;  /* a JSON object, valid by the manifest's schema */
  roost_array secrets; /* of roost_secret; never logged, never written into a document */
} roost_open_args;

typedef struct roost_instance roost_instance; /* the plugin's own */

/* ---- kind: store --------------------------------------------------------------------------------------------------
 * Documents with revisions, in partitions. A partition is an opaque key of at most 64 bytes; keys are at most 512 bytes of
 * printable ASCII, values at most 1 MiB of any bytes. A commit is atomic and durable when ROOST_OK is returned. */

enum roost_condition_kind {
  ROOST_IF_ABSENT = 1,  /* no such key */
  ROOST_IF_EXISTS = 2,  /* any revision */
  ROOST_IF_REVISION = 3 /* exactly `revision` */
};

typedef struct roost_condition {
  uint32_t size;
  int32_t kind;
  roost_bytes key;
  uint64_t revision;
} roost_condition;

enum roost_operation_kind {
  ROOST_PUT = 1,    /* makes or replaces */
  ROOST_DELETE = 2, /* absent is success */
  ROOST_APPEND = 3  /* stores `value` under `key` (a prefix) + a sequence number of 16 lower-case hex digits. Numbers of one
                       prefix in one partition start at 1, only grow, and are never used again, whatever is deleted. */
};

typedef struct roost_operation {
  uint32_t size;
  int32_t kind;
  roost_bytes key;
  roost_bytes value;
  uint64_t ttl_ms; /* 0: forever; else the document is absent from then on, by the store's clock */
} roost_operation;

enum roost_lease_action { ROOST_LEASE_ACQUIRE = 1, ROOST_LEASE_RENEW = 2, ROOST_LEASE_RELEASE = 3 };

typedef struct roost_store {
  uint32_t size;
  uint32_t max_concurrency; /* of the short lane; 0: the host's default */
  /* [worker] One record {key, value, revision}; ROOST_NOT_FOUND where absent or expired. */
  int32_t (*get)(roost_instance*, const roost_call*, roost_bytes partition, roost_bytes key, const roost_sink*, roost_error*);
  /* [worker] Up to `limit` records {key, value, revision} whose key starts with `prefix` and is greater than `after` (empty:
   * from the first), in byte order of the key. */
  int32_t (*scan)(roost_instance*, const roost_call*, roost_bytes partition, roost_bytes prefix, roost_bytes after,
                  uint32_t limit, const roost_sink*, roost_error*);
  /* [worker] All conditions hold and all operations are done, or nothing is: ROOST_CONFLICT, the message naming the key. One
   * record {key, revision} an operation, in order; of an append the key is the whole key, of a delete the revision is 0. */
  int32_t (*commit)(roost_instance*, const roost_call*, roost_bytes partition, roost_array conditions, roost_array operations,
                    const roost_sink*, roost_error*);
  /* [worker] How many documents there are under a prefix. */
  int32_t (*count)(roost_instance*, const roost_call*, roost_bytes partition, roost_bytes prefix, uint64_t* count, roost_error*);
  /* [worker] A lease by name. ACQUIRE: if free, expired or the holder's own; a new holder gets a greater epoch. RENEW and
   * RELEASE: ROOST_CONFLICT where it is not the holder's any more. One record {key: holder, value: JSON
   * {"epoch":n,"remaining_ms":n}}; on ROOST_CONFLICT too, about the present holder. */
  int32_t (*lease)(roost_instance*, const roost_call*, roost_bytes name, roost_bytes holder, int32_t action, uint64_t ttl_ms,
                   const roost_sink*, roost_error*);
  /* [worker, watch lane] Hints of what changed since `resume` (empty: from now): records {key: partition + '\n' + key,
   * revision}, in any order, at least once. Returns at the deadline, or earlier, with a last record whose flags have
   * ROOST_RECORD_RESUME and whose value is the next token. ROOST_EXPIRED: scan again, then watch from "". */
  int32_t (*watch)(roost_instance*, const roost_call*, roost_bytes resume, const roost_sink*, roost_error*);
} roost_store;

#define ROOST_RECORD_RESUME 1u

/* ---- kind: compute -------------------------------------------------------------------------------------------------
 * Requests and answers are JSON documents by schemas/{workspace-spec,workspace,task-spec,task}.json: one record, in `value`.
 * A volume has an identity: name, token (the caller's, known before the first call) and uid (the platform's). A call that
 * carries a uid touches no other volume; a call that would make one finds its own by the token. */

enum roost_observe_flags { ROOST_OBSERVE_LIVE = 1 /* read the platform itself, not a cached view */ };

typedef struct roost_compute {
  uint32_t size;
  uint32_t max_concurrency;
  /* [worker] Makes the workspace as the spec says: volume, workload, size. Answers the workspace as it is then; it does not wait
   * for it to become ready. ROOST_CONFLICT: spec.generation is older than one already applied, or the volume is not the one that
   * was expected. */
  int32_t (*apply)(roost_instance*, const roost_call*, roost_bytes spec, const roost_sink*, roost_error*);
  /* [worker] The workspace as it is. A workspace of which nothing exists is not an error: its parts say "none" and "missing". */
  int32_t (*observe)(roost_instance*, const roost_call*, roost_bytes id, uint32_t flags, const roost_sink*, roost_error*);
  /* [worker] Up to `limit` workspaces of which anything exists, ordered by id, from after `after`: {key: id, value:
   * workspace}. */
  int32_t (*list)(roost_instance*, const roost_call*, roost_bytes after, uint32_t limit, const roost_sink*, roost_error*);
  /* [worker, watch lane] As the store's watch; {key: id}: observe it again. */
  int32_t (*watch)(roost_instance*, const roost_call*, roost_bytes resume, const roost_sink*, roost_error*);
  /* [worker] request: {"id","part":"workload"|"volume","incarnation"|"uid"}. Gone already is success. ROOST_CONFLICT: another
   * incarnation or uid, or a volume that is still used. ROOST_OK: gone, and of a workload no process is left. What takes more
   * than seconds: ROOST_OUTCOME_UNKNOWN with retry_after_ms, and it is asked for again. So it is with task_remove. */
  int32_t (*remove)(roost_instance*, const roost_call*, roost_bytes request, const roost_sink*, roost_error*);
  /* [worker] Starts a task (backup, verify, restore) beside the volume; its (operation, attempt) names it, so a repeated start
   * finds it. Does not wait for its end. ROOST_CONFLICT: the volume is not the one expected. */
  int32_t (*task_start)(roost_instance*, const roost_call*, roost_bytes spec, const roost_sink*, roost_error*);
  /* [worker] request: {"id","operation","attempt"}. A task of which nothing is known answers {"state":"none"}. */
  int32_t (*task_observe)(roost_instance*, const roost_call*, roost_bytes request, const roost_sink*, roost_error*);
  /* [worker] Stops it if it runs and forgets it. Unknown is success; ROOST_OK means that nothing of it runs any more. */
  int32_t (*task_remove)(roost_instance*, const roost_call*, roost_bytes request, const roost_sink*, roost_error*);
  /* [worker] Signs of use: {"id","signals":[{"name","at":microseconds}]}. */
  int32_t (*activity)(roost_instance*, const roost_call*, roost_bytes id, const roost_sink*, roost_error*);
} roost_compute;

/* ---- kind: backup --------------------------------------------------------------------------------------------------
 * Archives: immutable objects under a name of at most 255 bytes out of [A-Za-z0-9._-]. An object is visible only when it is
 * whole and durable. */

typedef struct roost_put roost_put; /* the plugin's own; ended by exactly one put_commit or put_abort */

typedef struct roost_backup {
  uint32_t size;
  uint32_t max_concurrency; /* of the bulk lane */
  /* [worker] What a task needs to use this plugin beside the volume: {"config":{..},"secrets":["name"..],"mounts":[..]}, by
   * schemas/backup-description.json. */
  int32_t (*describe)(roost_instance*, const roost_call*, roost_bytes request, const roost_sink*, roost_error*);
  /* [worker] Begins an object. Nothing is visible yet. */
  int32_t (*put_begin)(roost_instance*, const roost_call*, roost_bytes name, roost_put** put, roost_error*);
  /* [worker] Appends bytes, at most 8 MiB a call. */
  int32_t (*put_part)(roost_instance*, const roost_call*, roost_put* put, roost_bytes data, roost_error*);
  /* [worker] Makes it durable, then visible, and answers {key: name, value: JSON {"size":n,..}}; `put` is gone whatever is
   * answered. ROOST_EXISTS: an object of that name is there; it is left as it was. */
  int32_t (*put_commit)(roost_instance*, const roost_call*, roost_put* put, const roost_sink*, roost_error*);
  /* [worker] Throws away what was begun. */
  void (*put_abort)(roost_instance*, roost_put* put);
  /* [worker] Up to `limit` objects in byte order of the name, from after `after`: {key: name, value: JSON
   * {"size":n,"modified":us}}. */
  int32_t (*list)(roost_instance*, const roost_call*, roost_bytes prefix, roost_bytes after, uint32_t limit, const roost_sink*,
                  roost_error*);
  /* [worker] One such record; ROOST_NOT_FOUND. */
  int32_t (*stat)(roost_instance*, const roost_call*, roost_bytes name, const roost_sink*, roost_error*);
  /* [worker] The bytes [offset, offset+length) as records {value}, from the storage itself where it can (not from a cache of what
   * was just written). Fewer only at the object's end. length at most 8 MiB. */
  int32_t (*read)(roost_instance*, const roost_call*, roost_bytes name, uint64_t offset, uint64_t length, const roost_sink*,
                  roost_error*);
  /* [worker] Absent is success. */
  int32_t (*remove)(roost_instance*, const roost_call*, roost_bytes name, roost_error*);
} roost_backup;

/* ---- the entry ---------------------------------------------------------------------------------------------------- */

enum roost_kind { ROOST_KIND_COMPUTE = 1, ROOST_KIND_STORE = 2, ROOST_KIND_BACKUP = 3 };

/* What a plugin answers; lives as long as the process. */
typedef struct roost_plugin {
  uint32_t size;
  uint32_t abi_minor; /* the one it chose, within what it was offered */
  int32_t kind;
  uint32_t reserved;
  const char* name;    /* as in the manifest, e.g. "store-sqlite" */
  const char* version; /* semantic version */
  /* [worker] One instance with this configuration. Repeated calls make independent instances. */
  int32_t (*open)(const roost_call*, const roost_open_args*, roost_instance** instance, roost_error*);
  /* [worker] No call is under way, none follows. Its threads have ended when it returns. */
  void (*close)(roost_instance*);
  const roost_compute* compute; /* the one of `kind` is set, the others are NULL */
  const roost_store* store;
  const roost_backup* backup;
} roost_plugin;

typedef struct roost_negotiation {
  uint32_t size;
  uint32_t min_minor; /* the host takes a plugin whose abi_minor is within [min_minor, max_minor] */
  uint32_t max_minor;
  uint32_t reserved;
  const roost_host* host;
} roost_negotiation;

/* [loader] The one exported symbol. NULL with the error filled where no common version exists. */
ROOST_EXPORT const roost_plugin* roost_plugin_v1(const roost_negotiation* negotiation, roost_error* error);
typedef const roost_plugin* (*roost_plugin_v1_function)(const roost_negotiation*, roost_error*);

#ifdef __cplusplus
}
#endif
#endif
