/* The operating system as the program sees it: disk, clock, random, threads, behind one table.
 *
 * `sys_real()` is the machine. `struct sim` (sys/sim.h, test builds) is its simulated twin: everything in one thread from
 * one seed, with a disk that loses, keeps, cuts or garbles what was not synced. Nothing above this folder calls the
 * operating system for these things itself; libraries that bring their own calls (LMDB, libmicrohttpd) are the stated
 * exception.
 *
 * Paths are absolute or relative to the working folder. A file is used by one thread at a time, except that `read` may
 * run beside one writer. Every operation retries EINTR and short transfers itself. */
#ifndef SYS_SYS_H
#define SYS_SYS_H

#include "base/err.h"
#include "base/slice.h"

struct sys_file;

enum sys_open_flags {
    SYS_READ = 0,
    SYS_WRITE = 1,     /* read and write */
    SYS_CREATE = 2,    /* create if absent */
    SYS_EXCLUSIVE = 4, /* with SYS_CREATE: ERR_EXISTS if present */
};

enum sys_lock { SYS_LOCK_SHARED, SYS_LOCK_EXCLUSIVE };

struct sys_entry {
    const char *name;
    bool folder;
    uint64_t size_bytes;
};

struct sys_disk_ops {
    /* ERR_NOT_FOUND, ERR_EXISTS, ERR_DENIED, ERR_LIMIT (descriptors), ERR_NO_SPACE, ERR_IO. */
    enum err (*open)(void *disk, const char *path, unsigned flags, struct diag *diag, struct sys_file **ret_file);
    void (*close)(void *disk, struct sys_file **file);
    /* Reads up to `size`; fewer only at the end of the file. */
    enum err (*read)(struct sys_file *file, uint64_t offset, void *data, size_t size, size_t *ret_read);
    /* All parts or an error (ERR_NO_SPACE, ERR_IO); after an error the range holds anything. */
    enum err (*write)(struct sys_file *file, uint64_t offset, const struct slice *parts, size_t part_count);
    /* fdatasync. ERR_SYNC is final: never retried, never followed by an acknowledgement. */
    enum err (*sync)(struct sys_file *file);
    /* Reserves space (reads as zeroes) and extends the length. ERR_NO_SPACE before anything is written. */
    enum err (*allocate)(struct sys_file *file, uint64_t offset, uint64_t size);
    enum err (*truncate)(struct sys_file *file, uint64_t size);
    enum err (*size)(struct sys_file *file, uint64_t *ret_size);
    /* Advisory, held until close; ERR_LOCKED at once if somebody else has it. */
    enum err (*lock)(struct sys_file *file, enum sys_lock lock);
    enum err (*rename)(void *disk, const char *from, const char *to); /* replaces `to`; durable after sync_folder */
    enum err (*unlink)(void *disk, const char *path);
    enum err (*make_folder)(void *disk, const char *path); /* one level; fine if it is there */
    enum err (*sync_folder)(void *disk, const char *path);
    /* Calls `visit` for each entry, sorted by name, without "." and ".."; stops at the first error it returns. */
    enum err (*list)(void *disk, const char *path, enum err (*visit)(void *context, const struct sys_entry *entry),
                     void *context);
    enum err (*free_bytes)(void *disk, const char *path, uint64_t *ret_bytes);
};

struct sys_thread;

struct sys {
    const struct sys_disk_ops *disk_ops;
    void *disk;
    void *context;                                           /* of the functions below */
    int64_t (*wall_ms)(void *context);                       /* since 1970 UTC; labels, append time; may jump */
    int64_t (*monotonic_ns)(void *context);                  /* timers; never goes back */
    void (*random)(void *context, void *bytes, size_t size); /* fit for tokens and masks */
    /* NULL in a simulation: components then are stepped by the caller. */
    enum err (*thread_start)(void *context, const char *name, void *(*run)(void *), void *argument,
                             struct sys_thread **ret_thread);
    void (*thread_join)(void *context, struct sys_thread **thread);
};

const struct sys *sys_real(void);

/* A place to sleep until somebody has work for us: one sleeper, any number of wakers. A wake before the sleep is not
 * lost. `sys_bell_ring` costs one atomic operation when nobody sleeps. Real threads only. */
struct sys_bell {
    _Atomic uint32_t state;
};
void sys_bell_ring(struct sys_bell *bell);
/* Sleeps until rung or `timeout_ms` passed (-1: no limit). */
void sys_bell_wait(struct sys_bell *bell, int64_t timeout_ms);

/* From here on the calling thread, and those it starts, give way to the program's others where the machine is busy: for work
 * that nobody waits for. Real threads only. */
void sys_thread_give_way(void);
/* For work that is short and that somebody waits for: the calling thread, and those it starts, are let in as soon as they
 * have something to do, and out again as soon, where Linux can (6.12 on). Real threads only. */
void sys_thread_take_turns(void);

static inline int64_t sys_wall_ms(const struct sys *sys) { return sys->wall_ms(sys->context); }
static inline int64_t sys_monotonic_ns(const struct sys *sys) { return sys->monotonic_ns(sys->context); }

/* mkdir -p, each new level synced into its parent. */
enum err sys_make_folders(const struct sys *sys, const char *path, struct diag *diag) MUST_USE;
/* The whole file, NUL behind it (not counted); *ret_data is the caller's to free. ERR_TOO_LARGE past max_size. */
enum err sys_read_file(const struct sys *sys, const char *path, size_t max_size, struct diag *diag, uint8_t **ret_data,
                       size_t *ret_size) MUST_USE;
/* Writes path.tmp, syncs it, renames it to `path`, syncs the folder: old or new after a crash, never a mix. */
enum err sys_replace_file(const struct sys *sys, const char *path, struct slice content, struct diag *diag) MUST_USE;

#endif
