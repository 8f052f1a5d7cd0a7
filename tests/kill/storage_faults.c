// A library for LD_PRELOAD that counts the calls which change files below a folder, and lets one of them end the process or
// fail. It stands between a program and the C library: what that library writes by itself (stdio, and so limn.log) it does
// not see.
//
//   LIMN_FAULT_FOLDER=/RUN   the folder, absolute; without it nothing happens
//   LIMN_FAULT_NAME=TEXT     only calls on paths that contain it count
//   LIMN_FAULT=ACTION:N      what happens at the N-th call, counted from 1:
//     kill     the process dies by SIGKILL before the call, that is, after the one before it
//     tear     a write writes half of what it was given, then the process dies; other calls as with kill
//     short    a write writes half and says so; other calls are made as they are
//     EIO      the call fails with this error
//     ENOSPC   this call and all later ones that need room fail with this error
//   LIMN_FAULT_TRACE=FILE    a line for each call is appended: number, call, path below the folder (FROM>TO where there are two),
//                            and the action where one was taken
#define _GNU_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

// What a call asks of the disk.
enum Need { NEEDS_ROOM, NEEDS_NO_ROOM };

static char folder[PATH_MAX];
static const char* name = "";
static char action[16];
static long long action_at = -1;
static int trace = -1;
static atomic_llong num_calls;

__attribute__((constructor)) static void read_environment(void) {
  const char* text = getenv("LIMN_FAULT_FOLDER");
  if (text == NULL) return;
  snprintf(folder, sizeof folder, "%s", text);
  if (getenv("LIMN_FAULT_NAME") != NULL) name = getenv("LIMN_FAULT_NAME");
  text = getenv("LIMN_FAULT");
  if (text != NULL && sscanf(text, "%15[^:]:%lld", action, &action_at) != 2) abort();
  text = getenv("LIMN_FAULT_TRACE");
  if (text != NULL) trace = (int)syscall(SYS_openat, AT_FDCWD, text, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
}

static bool counts(const char* path) {
  const size_t length = strlen(folder);
  const bool is_below = strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == '\0');
  return length > 0 && is_below && strstr(path + length, name) != NULL;
}

// The absolute path of what a call names, not resolved any further. False: it does not fit.
static bool absolute_path(const char* path, char* result) {
  if (path[0] == '/') return snprintf(result, PATH_MAX, "%s", path) < PATH_MAX;
  char here[PATH_MAX];
  return getcwd(here, sizeof here) != NULL && snprintf(result, PATH_MAX, "%s/%s", here, path) < PATH_MAX;
}

static bool path_of(int descriptor, char* result) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t length = readlink(link, result, PATH_MAX - 1);
  result[length < 0 ? 0 : length] = '\0';
  return length >= 0;
}

static void die(void) {
  syscall(SYS_kill, getpid(), SIGKILL);
  while (true) pause();
}

static bool takes(const char* wanted) {
  return strcmp(action, wanted) == 0;
}

struct Verdict {
  int error;        // 0: the call is made
  size_t size;      // of what is written
  bool dies_after;  // once it is made
};

// `from`: the other path of a call that has two, or NULL.
static struct Verdict judge(const char* call, const char* from, const char* path, enum Need need, size_t size) {
  struct Verdict verdict = {.error = 0, .size = size, .dies_after = false};
  if (!counts(path)) return verdict;
  const long long number = atomic_fetch_add(&num_calls, 1) + 1;
  const bool is_hit = number == action_at;
  const bool is_full = takes("ENOSPC") && action_at >= 0 && number >= action_at && need == NEEDS_ROOM;
  if (trace >= 0) {
    char line[2 * PATH_MAX + 64];
    const int length = snprintf(
        line, sizeof line, "%lld %s %s%s%s%s%s\n", number, call, from != NULL && counts(from) ? from + strlen(folder) : "",
        from != NULL ? ">" : "", path + strlen(folder), is_hit || is_full ? " " : "", is_hit || is_full ? action : "");
    syscall(SYS_write, trace, line, (size_t)length);
  }
  if (is_full || (is_hit && takes("ENOSPC"))) verdict.error = ENOSPC;
  if (!is_hit) return verdict;
  if (takes("EIO")) verdict.error = EIO;
  if (takes("kill") || (takes("tear") && size < 2)) die();
  if ((takes("tear") || takes("short")) && size > 1) verdict.size = size / 2;
  verdict.dies_after = takes("tear");
  return verdict;
}

static struct Verdict judge_paths(const char* call, const char* from, const char* path, enum Need need) {
  const int error = errno;
  char absolute[PATH_MAX];
  char absolute_from[PATH_MAX];
  const bool fits = absolute_path(path, absolute) && (from == NULL || absolute_path(from, absolute_from));
  const struct Verdict verdict = judge(call, from == NULL ? NULL : absolute_from, fits ? absolute : "", need, 0);
  errno = verdict.error != 0 ? verdict.error : error;
  return verdict;
}

static struct Verdict judge_path(const char* call, const char* path, enum Need need) {
  return judge_paths(call, NULL, path, need);
}

static struct Verdict judge_descriptor(const char* call, int descriptor, enum Need need, size_t size) {
  const int error = errno;
  char absolute[PATH_MAX];
  const struct Verdict verdict = judge(call, NULL, path_of(descriptor, absolute) ? absolute : "", need, size);
  errno = verdict.error != 0 ? verdict.error : error;
  return verdict;
}

// The function that would have been called without this library.
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static ssize_t finish(struct Verdict verdict, ssize_t result) {
  if (verdict.dies_after) die();
  return result;
}

// ---- Writes ----

ssize_t write(int descriptor, const void* bytes, size_t size) {
  const struct Verdict verdict = judge_descriptor("write", descriptor, NEEDS_ROOM, size);
  return verdict.error != 0 ? -1 : finish(verdict, NEXT(write)(descriptor, bytes, verdict.size));
}

ssize_t pwrite(int descriptor, const void* bytes, size_t size, off_t offset) {
  const struct Verdict verdict = judge_descriptor("pwrite", descriptor, NEEDS_ROOM, size);
  return verdict.error != 0 ? -1 : finish(verdict, NEXT(pwrite)(descriptor, bytes, verdict.size, offset));
}

ssize_t pwrite64(int descriptor, const void* bytes, size_t size, off64_t offset) {
  const struct Verdict verdict = judge_descriptor("pwrite", descriptor, NEEDS_ROOM, size);
  return verdict.error != 0 ? -1 : finish(verdict, NEXT(pwrite64)(descriptor, bytes, verdict.size, offset));
}

// Scattered writes are made whole or not at all.
ssize_t writev(int descriptor, const struct iovec* pieces, int num_pieces) {
  const struct Verdict verdict = judge_descriptor("writev", descriptor, NEEDS_ROOM, 0);
  return verdict.error != 0 ? -1 : NEXT(writev)(descriptor, pieces, num_pieces);
}

int ftruncate(int descriptor, off_t size) {
  const struct Verdict verdict = judge_descriptor("ftruncate", descriptor, NEEDS_ROOM, 0);
  return verdict.error != 0 ? -1 : NEXT(ftruncate)(descriptor, size);
}

int ftruncate64(int descriptor, off64_t size) {
  const struct Verdict verdict = judge_descriptor("ftruncate", descriptor, NEEDS_ROOM, 0);
  return verdict.error != 0 ? -1 : NEXT(ftruncate64)(descriptor, size);
}

int fsync(int descriptor) {
  const struct Verdict verdict = judge_descriptor("fsync", descriptor, NEEDS_ROOM, 0);
  return verdict.error != 0 ? -1 : NEXT(fsync)(descriptor);
}

int fdatasync(int descriptor) {
  const struct Verdict verdict = judge_descriptor("fdatasync", descriptor, NEEDS_ROOM, 0);
  return verdict.error != 0 ? -1 : NEXT(fdatasync)(descriptor);
}

// ---- Names ----

static bool may_change(int flags) {
  return (flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) != 0;
}

static enum Need need_of_open(int flags) {
  return (flags & O_CREAT) != 0 ? NEEDS_ROOM : NEEDS_NO_ROOM;
}

#define MODE_OF(flags)                       \
  __extension__({                            \
    mode_t mode_ = 0;                        \
    if (((flags) & (O_CREAT | O_TMPFILE))) { \
      va_list arguments_;                    \
      va_start(arguments_, flags);           \
      mode_ = va_arg(arguments_, mode_t);    \
      va_end(arguments_);                    \
    }                                        \
    mode_;                                   \
  })

int open(const char* path, int flags, ...) {
  const mode_t mode = MODE_OF(flags);
  if (may_change(flags) && judge_path("open", path, need_of_open(flags)).error != 0) return -1;
  return NEXT(open)(path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  const mode_t mode = MODE_OF(flags);
  if (may_change(flags) && judge_path("open", path, need_of_open(flags)).error != 0) return -1;
  return NEXT(open64)(path, flags, mode);
}

int rename(const char* from, const char* to) {
  return judge_paths("rename", from, to, NEEDS_ROOM).error != 0 ? -1 : NEXT(rename)(from, to);
}

int link(const char* from, const char* to) {
  return judge_paths("link", from, to, NEEDS_ROOM).error != 0 ? -1 : NEXT(link)(from, to);
}

int unlink(const char* path) {
  return judge_path("unlink", path, NEEDS_NO_ROOM).error != 0 ? -1 : NEXT(unlink)(path);
}

int mkdir(const char* path, mode_t mode) {
  return judge_path("mkdir", path, NEEDS_ROOM).error != 0 ? -1 : NEXT(mkdir)(path, mode);
}
