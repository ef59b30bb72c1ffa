/* Preloaded into a program: fails, shortens or dies at its Nth call of a kind that touches files below a folder, whichever
 * thread makes it. A page shared with the test (FAULT_PAGE names its file) counts the calls, outlives the program, and says
 * what shall happen; FAULT_UNDER is the folder. Unlike an injection by strace, a short write really writes what it says, and
 * the count is one over all threads. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* tests/lib/fault.py has the same names. */
enum kind { WRITE, PWRITE, PWRITEV, SYNC, RENAME, OPEN, UNLINK, TRUNCATE, ALLOCATE, MKDIR, KINDS };
enum action { NONE, KILL, SHORT, FAIL };
enum { SHORT_BYTES = 3 };

struct page {
    _Atomic uint32_t counts[KINDS];
    uint32_t kind, at, times, action, error; /* at the call number `at` (from 1) and `times` - 1 behind it */
    _Atomic uint32_t hits;
};

static struct page nobody, *page = &nobody;
static char under[PATH_MAX];
static size_t under_size;

static void *next(const char *name) {
    void *function = dlsym(RTLD_NEXT, name);
    if (function == NULL) abort();
    return function;
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULT_PAGE"), *folder = getenv("FAULT_UNDER");
    if (path == NULL || folder == NULL || realpath(folder, under) == NULL) return;
    under_size = strlen(under);
    int (*real_open)(const char *, int, ...) = (int (*)(const char *, int, ...))next("open64");
    int fd = real_open(path, O_RDWR | O_CLOEXEC);
    void *map = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) abort();
    close(fd);
    page = map;
}

static int is_under(const char *path) {
    return under_size > 0 && strncmp(path, under, under_size) == 0 &&
           (path[under_size] == '/' || path[under_size] == '\0');
}

static int file_is_under(int fd) {
    char link[64], path[PATH_MAX];
    if (under_size == 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size <= 0) return 0;
    path[size] = '\0';
    return is_under(path);
}

/* What is to be done at this call; FAIL with errno set. */
static enum action at(enum kind kind) {
    uint32_t number = atomic_fetch_add(&page->counts[kind], 1) + 1;
    if (page->action == NONE || page->kind != kind || number < page->at || number - page->at >= page->times)
        return NONE;
    atomic_fetch_add(&page->hits, 1);
    if (page->action == KILL) kill(getpid(), SIGKILL);
    if (page->action == FAIL) errno = (int)page->error;
    return page->action;
}

#define REAL(name, result, ...)         \
    static result (*real)(__VA_ARGS__); \
    if (real == NULL) real = (result(*)(__VA_ARGS__))next(name)

ssize_t write(int fd, const void *data, size_t size) {
    REAL("write", ssize_t, int, const void *, size_t);
    enum action what = file_is_under(fd) ? at(WRITE) : NONE;
    if (what == FAIL) return -1;
    return real(fd, data, what == SHORT && size > SHORT_BYTES ? SHORT_BYTES : size);
}

static ssize_t pwrite_at(int fd, const void *data, size_t size, off_t offset) {
    REAL("pwrite64", ssize_t, int, const void *, size_t, off_t);
    enum action what = file_is_under(fd) ? at(PWRITE) : NONE;
    if (what == FAIL) return -1;
    return real(fd, data, what == SHORT && size > SHORT_BYTES ? SHORT_BYTES : size, offset);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return pwrite_at(fd, data, size, offset); }
ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset) { return pwrite_at(fd, data, size, offset); }

static ssize_t pwritev_at(int fd, const struct iovec *parts, int count, off_t offset) {
    REAL("pwritev64", ssize_t, int, const struct iovec *, int, off_t);
    enum action what = file_is_under(fd) ? at(PWRITEV) : NONE;
    if (what == FAIL) return -1;
    if (what == SHORT && count > 0) {
        const struct iovec first = {parts->iov_base, parts->iov_len < SHORT_BYTES ? parts->iov_len : SHORT_BYTES};
        return real(fd, &first, 1, offset);
    }
    return real(fd, parts, count, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    return pwritev_at(fd, parts, count, offset);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset) {
    return pwritev_at(fd, parts, count, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL("writev", ssize_t, int, const struct iovec *, int);
    enum action what = file_is_under(fd) ? at(PWRITEV) : NONE;
    if (what == FAIL) return -1;
    return what == SHORT && count > 0 && parts->iov_len > SHORT_BYTES ? write(fd, parts->iov_base, SHORT_BYTES)
                                                                      : real(fd, parts, count);
}

int fdatasync(int fd) {
    REAL("fdatasync", int, int);
    return file_is_under(fd) && at(SYNC) == FAIL ? -1 : real(fd);
}

int fsync(int fd) {
    REAL("fsync", int, int);
    return file_is_under(fd) && at(SYNC) == FAIL ? -1 : real(fd);
}

int rename(const char *from, const char *to) {
    REAL("rename", int, const char *, const char *);
    return is_under(from) && at(RENAME) == FAIL ? -1 : real(from, to);
}

int unlink(const char *path) {
    REAL("unlink", int, const char *);
    return is_under(path) && at(UNLINK) == FAIL ? -1 : real(path);
}

int mkdir(const char *path, mode_t mode) {
    REAL("mkdir", int, const char *, mode_t);
    return is_under(path) && at(MKDIR) == FAIL ? -1 : real(path, mode);
}

static int open_at(const char *path, int flags, mode_t mode) {
    REAL("open64", int, const char *, int, ...);
    return is_under(path) && at(OPEN) == FAIL ? -1 : real(path, flags, mode);
}

#define OPENING(name)                                             \
    int name(const char *path, int flags, ...) {                  \
        va_list more;                                             \
        va_start(more, flags);                                    \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0; \
        va_end(more);                                             \
        return open_at(path, flags, mode);                        \
    }
OPENING(open)
OPENING(open64)

static int truncate_at(int fd, off_t size) {
    REAL("ftruncate64", int, int, off_t);
    return file_is_under(fd) && at(TRUNCATE) == FAIL ? -1 : real(fd, size);
}

int ftruncate(int fd, off_t size) { return truncate_at(fd, size); }
int ftruncate64(int fd, off_t size) { return truncate_at(fd, size); }

static int fallocate_at(int fd, int mode, off_t offset, off_t size) {
    REAL("fallocate64", int, int, int, off_t, off_t);
    return file_is_under(fd) && at(ALLOCATE) == FAIL ? -1 : real(fd, mode, offset, size);
}

int fallocate(int fd, int mode, off_t offset, off_t size) { return fallocate_at(fd, mode, offset, size); }
int fallocate64(int fd, int mode, off_t offset, off_t size) { return fallocate_at(fd, mode, offset, size); }
