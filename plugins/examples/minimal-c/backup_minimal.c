/* backup-minimal-c: a complete backup plugin in C11 without any library: a starting point for an author (docs/plugin-guide.md).
 * An archive is a file in one directory. It is written under the name ".put-..." and linked to its own name once it is durable,
 * so a reader never sees half of one, and an archive that is there already is never written over. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "roost/plugin.h"

#define NAME_BYTES_MAX 255
#define READ_BYTES_MAX (8u << 20)

/* The ABI's opaque types are ours to define. */
struct roost_instance {
  char directory[4096];
  int directory_fd;
};

struct roost_put {
  char name[NAME_BYTES_MAX + 1];
  char temporary[64];
  int fd;
  uint64_t size;
};

/* ---- errors and small helpers ------------------------------------------------------------------------------------- */

/* Fills the caller's error and answers its code: every function here ends by `return ROOST_OK` or `return fail(...)`. */
static int32_t fail(roost_error* error, int32_t code, const char* what, const char* why) {
  if (error != NULL && error->size >= sizeof *error) {
    error->code = code;
    snprintf(error->message, sizeof error->message, "%s: %s", what, why);
  }
  return code;
}

/* What an errno means for the caller; see enum roost_code for what the host does about each. */
static int32_t fail_errno(roost_error* error, const char* what) {
  const int reason = errno;
  int32_t code = ROOST_UNAVAILABLE; /* EIO too: a share that is away for now says it */
  if (reason == ENOENT) code = ROOST_NOT_FOUND;
  if (reason == EEXIST) code = ROOST_EXISTS;
  if (reason == EACCES || reason == EPERM || reason == EROFS) code = ROOST_DENIED;
  if (reason == ENOSPC || reason == EDQUOT) code = ROOST_EXHAUSTED;
  return fail(error, code, what, strerror(reason));
}

/* A copy of an archive's name as C text; ROOST_INVALID for one that could lead out of the directory. */
static int32_t copy_name(roost_bytes from, char to[NAME_BYTES_MAX + 1], roost_error* error) {
  if (from.size == 0 || from.size > NAME_BYTES_MAX || from.data[0] == '.') {
    return fail(error, ROOST_INVALID, "name", "1 to 255 characters, not beginning with a dot");
  }
  for (size_t i = 0; i < from.size; ++i) {
    const char c = from.data[i];
    const int allowed =
        (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
    if (!allowed) return fail(error, ROOST_INVALID, "name", "a character that is not one of A-Z a-z 0-9 . _ -");
  }
  memcpy(to, from.data, from.size);
  to[from.size] = '\0';
  return ROOST_OK;
}

static roost_bytes text(const char* value) {
  const roost_bytes bytes = {value, strlen(value)};
  return bytes;
}

/* Non-zero: STOP; then return ROOST_OK and emit nothing more. */
static int32_t emit(const roost_sink* sink, roost_bytes key, roost_bytes value) {
  const roost_record record = {sizeof record, 0, key, value, 0};
  return sink->emit(sink, &record);
}

static int32_t emit_object(const roost_sink* sink, const char* name, const struct stat* status) {
  char json[128];
  snprintf(json, sizeof json, "{\"size\":%lld,\"modified\":%lld}", (long long)status->st_size,
           (long long)status->st_mtime * 1000000);
  return emit(sink, text(name), text(json));
}

/* Long work asks now and then. Nothing was done yet where this is called, so CANCELLED is the truth. */
static int32_t check_cancelled(const roost_call* call, roost_error* error) {
  if (!call->host->cancelled(call->host, call)) return ROOST_OK;
  return fail(error, ROOST_CANCELLED, "cancelled", "nothing was done");
}

/* ---- opening ------------------------------------------------------------------------------------------------------ */

/* The configuration was checked against the manifest's schema before we were loaded: exactly one member, {"directory":"/..."},
 * without quotes or backslashes. With a richer configuration, use a JSON library here. */
static int32_t directory_of(roost_bytes config, char out[4096], roost_error* error) {
  static const char key[] = "\"directory\":\"";
  const char* begin = memmem(config.data, config.size, key, sizeof key - 1);
  if (begin == NULL) return fail(error, ROOST_INVALID, "config", "\"directory\" is missing");
  begin += sizeof key - 1;
  const char* end = memchr(begin, '"', config.size - (size_t)(begin - config.data));
  if (end == NULL || end - begin >= 4096) return fail(error, ROOST_INVALID, "config", "\"directory\" is too long");
  memcpy(out, begin, (size_t)(end - begin));
  out[end - begin] = '\0';
  return ROOST_OK;
}

static int32_t open_instance(const roost_call* call, const roost_open_args* args, roost_instance** instance, roost_error* error) {
  roost_instance* made = calloc(1, sizeof *made);
  if (made == NULL) return fail(error, ROOST_EXHAUSTED, "open", "no memory");
  int32_t code = directory_of(args->config, made->directory, error);
  if (code == ROOST_OK) {
    made->directory_fd = open(made->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (made->directory_fd < 0) code = fail_errno(error, made->directory);
  }
  if (code != ROOST_OK) {
    free(made);
    return code;
  }
  call->host->log(call->host, ROOST_LOG_INFO, text("backup-minimal-c is open"), text(""));
  *instance = made;
  return ROOST_OK;
}

static void close_instance(roost_instance* instance) {
  close(instance->directory_fd);
  free(instance);
}

/* ---- backup ------------------------------------------------------------------------------------------------------- */

/* A task beside a volume opens this plugin again, there: with this configuration, and with the directory mounted. */
static int32_t describe(roost_instance* self, const roost_call* call, roost_bytes request, const roost_sink* sink,
                        roost_error* error) {
  (void)call;
  (void)request;
  (void)error;
  char json[3 * 4096];
  snprintf(json, sizeof json,
           "{\"config\":{\"directory\":\"%s\"},\"secrets\":[],\"mounts\":[{\"path\":\"%s\",\"writable\":true}]}", self->directory,
           self->directory);
  emit(sink, text(""), text(json));
  return ROOST_OK;
}

static int32_t put_begin(roost_instance* self, const roost_call* call, roost_bytes name, roost_put** put, roost_error* error) {
  roost_put* made = calloc(1, sizeof *made);
  if (made == NULL) return fail(error, ROOST_EXHAUSTED, "put_begin", "no memory");
  int32_t code = copy_name(name, made->name, error);
  if (code == ROOST_OK) code = check_cancelled(call, error);
  if (code == ROOST_OK) {
    snprintf(made->temporary, sizeof made->temporary, ".put-%ld-%p", (long)getpid(), (void*)made);
    made->fd = openat(self->directory_fd, made->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (made->fd < 0) code = fail_errno(error, made->temporary);
  }
  if (code != ROOST_OK) {
    free(made);
    return code;
  }
  *put = made;
  return ROOST_OK;
}

static int32_t put_part(roost_instance* self, const roost_call* call, roost_put* put, roost_bytes data, roost_error* error) {
  (void)self;
  (void)call;
  size_t written = 0;
  while (written < data.size) {
    const ssize_t n = write(put->fd, data.data + written, data.size - written);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(error, put->name);
    written += (size_t)n;
  }
  put->size += data.size;
  return ROOST_OK;
}

static void put_abort(roost_instance* self, roost_put* put) {
  unlinkat(self->directory_fd, put->temporary, 0);
  close(put->fd);
  free(put);
}

/* Durable first (fsync of the file), then visible (link, which fails where the name is taken), then durably visible. */
static int32_t put_commit(roost_instance* self, const roost_call* call, roost_put* put, const roost_sink* sink,
                          roost_error* error) {
  (void)call;
  int32_t code = ROOST_OK;
  if (fsync(put->fd) != 0 || linkat(self->directory_fd, put->temporary, self->directory_fd, put->name, 0) != 0 ||
      fsync(self->directory_fd) != 0) {
    code = fail_errno(error, put->name);
  }
  if (code == ROOST_OK) {
    char json[64];
    snprintf(json, sizeof json, "{\"size\":%llu}", (unsigned long long)put->size);
    emit(sink, text(put->name), text(json));
  }
  put_abort(self, put); /* the temporary name goes; the archive, if it was linked, stays */
  return code;
}

static int compare_names(const void* a, const void* b) { return strcmp(*(char* const*)a, *(char* const*)b); }

static void free_names(char** names, size_t count) {
  for (size_t i = 0; i < count; ++i) free(names[i]);
  free(names);
}

/* The archives' names after `after` that begin with `prefix`, sorted by bytes; freed by free_names. */
static int32_t collect_names(roost_instance* self, roost_bytes prefix, roost_bytes after, char*** names, size_t* count,
                             roost_error* error) {
  const int fd = openat(self->directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* directory = fd < 0 ? NULL : fdopendir(fd);
  if (directory == NULL) return fail_errno(error, self->directory);
  int32_t code = ROOST_OK;
  size_t capacity = 0;
  const struct dirent* entry;
  while (code == ROOST_OK && (entry = readdir(directory)) != NULL) {
    const roost_bytes name = text(entry->d_name);
    const size_t shared = name.size < after.size ? name.size : after.size;
    const int order = shared == 0 ? 0 : memcmp(name.data, after.data, shared);
    if (name.data[0] == '.' || order < 0 || (order == 0 && name.size <= after.size)) continue;
    if (name.size < prefix.size || (prefix.size != 0 && memcmp(name.data, prefix.data, prefix.size) != 0)) continue;
    if (*count == capacity) {
      capacity = capacity == 0 ? 64 : capacity * 2;
      char** grown = realloc(*names, capacity * sizeof *grown);
      if (grown != NULL) *names = grown;
      if (grown == NULL) code = fail(error, ROOST_EXHAUSTED, "list", "no memory");
    }
    if (code == ROOST_OK && ((*names)[*count] = strdup(entry->d_name)) != NULL) ++*count;
  }
  closedir(directory);
  if (*count != 0) qsort(*names, *count, sizeof **names, compare_names);
  return code;
}

static int32_t list(roost_instance* self, const roost_call* call, roost_bytes prefix, roost_bytes after, uint32_t limit,
                    const roost_sink* sink, roost_error* error) {
  char** names = NULL;
  size_t count = 0;
  uint32_t sent = 0;
  int32_t code = collect_names(self, prefix, after, &names, &count, error);
  for (size_t i = 0; code == ROOST_OK && i < count && sent < limit; ++i) {
    struct stat status;
    code = check_cancelled(call, error);
    if (code != ROOST_OK || fstatat(self->directory_fd, names[i], &status, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(status.st_mode))
      continue;
    if (emit_object(sink, names[i], &status) != 0) break;
    ++sent;
  }
  free_names(names, count);
  return code;
}

static int32_t stat_object(roost_instance* self, const roost_call* call, roost_bytes name, const roost_sink* sink,
                           roost_error* error) {
  (void)call;
  char file[NAME_BYTES_MAX + 1];
  struct stat status;
  const int32_t code = copy_name(name, file, error);
  if (code != ROOST_OK) return code;
  if (fstatat(self->directory_fd, file, &status, AT_SYMLINK_NOFOLLOW) != 0) return fail_errno(error, file);
  emit_object(sink, file, &status);
  return ROOST_OK;
}

static int32_t read_object(roost_instance* self, const roost_call* call, roost_bytes name, uint64_t offset, uint64_t length,
                           const roost_sink* sink, roost_error* error) {
  char file[NAME_BYTES_MAX + 1];
  char block[64 * 1024];
  int32_t code = copy_name(name, file, error);
  if (code != ROOST_OK) return code;
  if (length > READ_BYTES_MAX || offset > INT64_MAX - READ_BYTES_MAX)
    return fail(error, ROOST_INVALID, file, "a range that is too large");
  const int fd = openat(self->directory_fd, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return fail_errno(error, file);
  uint64_t done = 0;
  while (code == ROOST_OK && done < length) {
    const size_t wanted = length - done < sizeof block ? (size_t)(length - done) : sizeof block;
    code = check_cancelled(call, error);
    if (code != ROOST_OK) break;
    const ssize_t n = pread(fd, block, wanted, (off_t)(offset + done));
    if (n < 0) code = fail_errno(error, file);
    const roost_bytes bytes = {block, n > 0 ? (size_t)n : 0};
    if (n <= 0 || emit(sink, text(""), bytes) != 0) break;
    done += (uint64_t)n;
  }
  close(fd);
  return code;
}

static int32_t remove_object(roost_instance* self, const roost_call* call, roost_bytes name, roost_error* error) {
  (void)call;
  char file[NAME_BYTES_MAX + 1];
  const int32_t code = copy_name(name, file, error);
  if (code != ROOST_OK) return code;
  if (unlinkat(self->directory_fd, file, 0) != 0 && errno != ENOENT) return fail_errno(error, file);
  return ROOST_OK;
}

/* ---- the entry ---------------------------------------------------------------------------------------------------- */

static const roost_backup backup = {
    sizeof backup, 4 /* calls at once */, describe,    put_begin,     put_part, put_commit, put_abort,
    list,          stat_object,           read_object, remove_object,
};

static const roost_plugin plugin = {
    sizeof plugin, 0 /* ABI minor */, ROOST_KIND_BACKUP, 0, "backup-minimal-c", "0.1.0", open_instance, close_instance, NULL,
    NULL,          &backup,
};

const roost_plugin* roost_plugin_v1(const roost_negotiation* negotiation, roost_error* error) {
  if (negotiation->min_minor > 0) {
    fail(error, ROOST_UNSUPPORTED, "backup-minimal-c", "speaks plugin ABI 1.0 only");
    return NULL;
  }
  return &plugin;
}
