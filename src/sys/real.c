#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "sys/sys.h"

enum { FILE_MAGIC = 0x66696c65, THREAD_MAGIC = 0x74687264, PARTS_AT_ONCE = 256, TURN_NS = 200000, KEEP_POLICY = 0x08 };

struct sys_file {
    uint32_t magic;
    int fd;
};

static enum err err_of_errno(int code) {
    switch (code) {
        case ENOENT:
        case ENOTDIR: return ERR_NOT_FOUND;
        case EEXIST: return ERR_EXISTS;
        case EACCES:
        case EPERM:
        case EROFS: return ERR_DENIED;
        case EMFILE:
        case ENFILE: return ERR_LIMIT;
        case ENOSPC:
        case EDQUOT:
        case EFBIG: return ERR_NO_SPACE;
        case ENOMEM: return ERR_NO_MEMORY;
        case EWOULDBLOCK: return ERR_LOCKED;
        default: return ERR_IO;
    }
}

static int file_fd(const struct sys_file *file) {
    assert(file != NULL && file->magic == FILE_MAGIC);
    return file->fd;
}

static enum err real_open(void *disk, const char *path, unsigned flags, struct diag *diag, struct sys_file **ret_file) {
    (void)disk;
    int mode = O_CLOEXEC | O_NOCTTY | (flags & SYS_WRITE ? O_RDWR : O_RDONLY);
    if (flags & SYS_CREATE) mode |= O_CREAT;
    if (flags & SYS_EXCLUSIVE) mode |= O_EXCL;
    int fd;
    do fd = open(path, mode, 0600);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        enum err err = err_of_errno(errno);
        diag_set(diag, err, "cannot open the file: %s", strerrordesc_np(errno));
        diag_where(diag, "%s", path);
        return err;
    }
    struct sys_file *file = malloc(sizeof *file);
    if (file == NULL) {
        close(fd);
        return diag_set(diag, ERR_NO_MEMORY, "out of memory");
    }
    *file = (struct sys_file){FILE_MAGIC, fd};
    *ret_file = file;
    return ERR_OK;
}

static void real_close(void *disk, struct sys_file **file) {
    (void)disk;
    if (*file == NULL) return;
    close(file_fd(*file)); /* Linux frees the descriptor even on EINTR; data was synced by those who care. */
    (*file)->magic = 0;
    free(*file);
    *file = NULL;
}

static enum err real_read(struct sys_file *file, uint64_t offset, void *data, size_t size, size_t *ret_read) {
    int fd = file_fd(file);
    size_t done = 0;
    while (done < size) {
        ssize_t n = pread(fd, (char *)data + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return err_of_errno(errno) == ERR_NO_MEMORY ? ERR_NO_MEMORY : ERR_IO;
        if (n == 0) break;
        done += (size_t)n;
    }
    *ret_read = done;
    return ERR_OK;
}

/* Drops the first `size` bytes of the vector; what is left starts at the returned index. */
static int vector_skip(struct iovec *vector, int count, size_t size) {
    int first = 0;
    while (first < count && size >= vector[first].iov_len) size -= vector[first++].iov_len;
    if (first < count) {
        vector[first].iov_base = (char *)vector[first].iov_base + size;
        vector[first].iov_len -= size;
    }
    return first;
}

static enum err write_vector(int fd, uint64_t offset, struct iovec *vector, int count) {
    int first = vector_skip(vector, count, 0);
    while (first < count) {
        ssize_t n = pwritev(fd, vector + first, count - first, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return err_of_errno(errno) == ERR_NO_SPACE ? ERR_NO_SPACE : ERR_IO;
        if (n == 0) return ERR_IO;
        offset += (uint64_t)n;
        first += vector_skip(vector + first, count - first, (size_t)n);
    }
    return ERR_OK;
}

static enum err real_write(struct sys_file *file, uint64_t offset, const struct slice *parts, size_t part_count) {
    int fd = file_fd(file);
    while (part_count > 0) {
        struct iovec vector[PARTS_AT_ONCE];
        size_t count = part_count < PARTS_AT_ONCE ? part_count : PARTS_AT_ONCE;
        uint64_t size = 0;
        for (size_t i = 0; i < count; i++) {
            vector[i] = (struct iovec){(void *)(uintptr_t)parts[i].data, parts[i].size};
            size += parts[i].size;
        }
        enum err err = write_vector(fd, offset, vector, (int)count);
        if (err) return err;
        offset += size;
        parts += count;
        part_count -= count;
    }
    return ERR_OK;
}

static enum err real_sync(struct sys_file *file) {
    int result;
    do result = fdatasync(file_fd(file));
    while (result < 0 && errno == EINTR);
    return result < 0 ? ERR_SYNC : ERR_OK;
}

static enum err real_allocate(struct sys_file *file, uint64_t offset, uint64_t size) {
    int code;
    do code = fallocate(file_fd(file), 0, (off_t)offset, (off_t)size) < 0 ? errno : 0;
    while (code == EINTR);
    while (code == EOPNOTSUPP || code == EINTR) code = posix_fallocate(file_fd(file), (off_t)offset, (off_t)size);
    return code == 0 ? ERR_OK : err_of_errno(code);
}

static enum err real_truncate(struct sys_file *file, uint64_t size) {
    int result;
    do result = ftruncate(file_fd(file), (off_t)size);
    while (result < 0 && errno == EINTR);
    return result < 0 ? err_of_errno(errno) : ERR_OK;
}

static enum err real_size(struct sys_file *file, uint64_t *ret_size) {
    struct stat stat;
    if (fstat(file_fd(file), &stat) < 0) return err_of_errno(errno);
    *ret_size = (uint64_t)stat.st_size;
    return ERR_OK;
}

/* flock belongs to the open file description, so it excludes between two opens of one process too. */
static enum err real_lock(struct sys_file *file, enum sys_lock lock) {
    int result;
    do result = flock(file_fd(file), (lock == SYS_LOCK_SHARED ? LOCK_SH : LOCK_EX) | LOCK_NB);
    while (result < 0 && errno == EINTR);
    return result < 0 ? err_of_errno(errno) : ERR_OK;
}

static enum err real_rename(void *disk, const char *from, const char *to) {
    (void)disk;
    return rename(from, to) < 0 ? err_of_errno(errno) : ERR_OK;
}

static enum err real_unlink(void *disk, const char *path) {
    (void)disk;
    if (unlink(path) == 0) return ERR_OK;
    if (errno == EISDIR && rmdir(path) == 0) return ERR_OK;
    return err_of_errno(errno);
}

static enum err real_make_folder(void *disk, const char *path) {
    (void)disk;
    if (mkdir(path, 0700) == 0) return ERR_OK;
    if (errno != EEXIST) return err_of_errno(errno);
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode) ? ERR_OK : ERR_EXISTS;
}

static enum err real_sync_folder(void *disk, const char *path) {
    (void)disk;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return err_of_errno(errno);
    int result;
    do result = fsync(fd);
    while (result < 0 && errno == EINTR);
    close(fd);
    return result < 0 ? ERR_SYNC : ERR_OK;
}

struct listing {
    struct sys_entry *entries;
    size_t count, capacity;
};

static int compare_entries(const void *a, const void *b) {
    return strcmp(((const struct sys_entry *)a)->name, ((const struct sys_entry *)b)->name);
}

static enum err listing_add(struct listing *listing, int folder_fd, const char *name) {
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return ERR_OK;
    struct stat info;
    if (fstatat(folder_fd, name, &info, 0) < 0) return ERR_OK; /* gone since, or a dangling link */
    if (listing->count == listing->capacity) {
        size_t capacity = listing->capacity ? listing->capacity * 2 : 64;
        struct sys_entry *grown = reallocarray(listing->entries, capacity, sizeof *grown);
        if (grown == NULL) return ERR_NO_MEMORY;
        listing->entries = grown;
        listing->capacity = capacity;
    }
    char *copy = strdup(name);
    if (copy == NULL) return ERR_NO_MEMORY;
    listing->entries[listing->count++] =
        (struct sys_entry){.name = copy, .folder = S_ISDIR(info.st_mode), .size_bytes = (uint64_t)info.st_size};
    return ERR_OK;
}

static enum err listing_read(struct listing *listing, DIR *folder) {
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (entry == NULL) return errno ? ERR_IO : ERR_OK;
        enum err err = listing_add(listing, dirfd(folder), entry->d_name);
        if (err) return err;
    }
}

static enum err real_list(void *disk, const char *path, enum err (*visit)(void *, const struct sys_entry *),
                          void *context) {
    (void)disk;
    DIR *folder = opendir(path);
    if (folder == NULL) return err_of_errno(errno);
    struct listing listing = {0};
    enum err err = listing_read(&listing, folder);
    closedir(folder);
    if (listing.count > 1) qsort(listing.entries, listing.count, sizeof *listing.entries, compare_entries);
    for (size_t i = 0; i < listing.count && !err; i++) err = visit(context, &listing.entries[i]);
    for (size_t i = 0; i < listing.count; i++) free((char *)(uintptr_t)listing.entries[i].name);
    free(listing.entries);
    return err;
}

static enum err real_free_bytes(void *disk, const char *path, uint64_t *ret_bytes) {
    (void)disk;
    struct statvfs info;
    if (statvfs(path, &info) < 0) return err_of_errno(errno);
    *ret_bytes = (uint64_t)info.f_bavail * info.f_frsize;
    return ERR_OK;
}

static int64_t real_wall_ms(void *context) {
    (void)context;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t real_monotonic_ns(void *context) {
    (void)context;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void real_random(void *context, void *bytes, size_t size) {
    (void)context;
    char *at = bytes;
    while (size > 0) {
        ssize_t n = getrandom(at, size, 0);
        if (n < 0 && errno == EINTR) continue;
        assert(n > 0);
        at += n;
        size -= (size_t)n;
    }
}

struct sys_thread {
    uint32_t magic;
    pthread_t id;
};

static enum err real_thread_start(void *context, const char *name, void *(*run)(void *), void *argument,
                                  struct sys_thread **ret_thread) {
    (void)context;
    struct sys_thread *thread = malloc(sizeof *thread);
    if (thread == NULL) return ERR_NO_MEMORY;
    thread->magic = THREAD_MAGIC;
    if (pthread_create(&thread->id, NULL, run, argument) != 0) {
        free(thread);
        return ERR_LIMIT;
    }
    char cut[16]; /* the kernel's limit */
    snprintf(cut, sizeof cut, "%s", name);
    pthread_setname_np(thread->id, cut);
    *ret_thread = thread;
    return ERR_OK;
}

static void real_thread_join(void *context, struct sys_thread **thread) {
    (void)context;
    if (*thread == NULL) return;
    assert((*thread)->magic == THREAD_MAGIC);
    int code = pthread_join((*thread)->id, NULL);
    assert(code == 0);
    (void)code;
    free(*thread);
    *thread = NULL;
}

/* A nice value is a thread's own on Linux (setpriority(2), "C library/kernel differences"). */
void sys_thread_give_way(void) { (void)setpriority(PRIO_PROCESS, 0, 10); }

/* A thread that wakes is let in before one whose slice is longer, whatever is left of that; else it waits for the slice's
 * end, which is noticed at a tick of the clock, milliseconds later (sched_setattr(2), the field sched_runtime). What
 * was asked for from outside, a policy or a nice value, stays. */
void sys_thread_take_turns(void) {
    const struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t slice_ns, deadline_ns, period_ns;
    } wanted = {.size = sizeof wanted, .flags = KEEP_POLICY, .nice = getpriority(PRIO_PROCESS, 0), .slice_ns = TURN_NS};
    (void)syscall(SYS_sched_setattr, 0, &wanted, 0);
}

static const struct sys_disk_ops disk_ops = {
    .open = real_open,
    .close = real_close,
    .read = real_read,
    .write = real_write,
    .sync = real_sync,
    .allocate = real_allocate,
    .truncate = real_truncate,
    .size = real_size,
    .lock = real_lock,
    .rename = real_rename,
    .unlink = real_unlink,
    .make_folder = real_make_folder,
    .sync_folder = real_sync_folder,
    .list = real_list,
    .free_bytes = real_free_bytes,
};

static const struct sys real = {
    .disk_ops = &disk_ops,
    .wall_ms = real_wall_ms,
    .monotonic_ns = real_monotonic_ns,
    .random = real_random,
    .thread_start = real_thread_start,
    .thread_join = real_thread_join,
};

const struct sys *sys_real(void) { return &real; }
