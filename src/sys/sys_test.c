#include "sys/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

/* --- the system calls, which may be interrupted and cut short: these stand before the library's --- */

static struct {
    size_t bytes_max;     /* a transfer moves at most so many; 0: all */
    unsigned interrupted; /* so many calls ahead of each that succeeds are */
    unsigned calls, failed;
    int sync_errno; /* what fdatasync fails with; 0: it does not */
} calls;

static bool is_interrupted(void) {
    calls.calls++;
    if (calls.interrupted == 0 || calls.calls % (calls.interrupted + 1) == 0) return false;
    calls.failed++;
    errno = EINTR;
    return true;
}

ssize_t pwritev(int fd, const struct iovec *vector, int count, off_t offset) {
    if (is_interrupted()) return -1;
    if (calls.bytes_max == 0) return syscall(SYS_pwritev, fd, vector, count, offset, 0);
    struct iovec cut[8];
    int parts = 0;
    for (size_t left = calls.bytes_max; parts < count && parts < 8 && left > 0; parts++) {
        cut[parts] = vector[parts];
        if (cut[parts].iov_len > left) cut[parts].iov_len = left;
        left -= cut[parts].iov_len;
    }
    return syscall(SYS_pwritev, fd, cut, parts, offset, 0);
}

ssize_t pread(int fd, void *data, size_t size, off_t offset) {
    if (is_interrupted()) return -1;
    if (calls.bytes_max > 0 && size > calls.bytes_max) size = calls.bytes_max;
    return syscall(SYS_pread64, fd, data, size, offset);
}

int fdatasync(int fd) {
    if (is_interrupted()) return -1;
    if (calls.sync_errno == 0) return (int)syscall(SYS_fdatasync, fd);
    errno = calls.sync_errno;
    return -1;
}

int ftruncate(int fd, off_t size) { return is_interrupted() ? -1 : (int)syscall(SYS_ftruncate, fd, size); }

int fallocate(int fd, int mode, off_t offset, off_t size) {
    return is_interrupted() ? -1 : (int)syscall(SYS_fallocate, fd, mode, offset, size);
}

static int setup(void **state) {
    (void)state;
    memcpy(folder, "/tmp/wick-sys-XXXXXX", 21);
    return mkdtemp(folder) == NULL;
}

static enum err remove_entry(void *context, const struct sys_entry *entry) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", (const char *)context, entry->name);
    const struct sys *sys = sys_real();
    if (entry->folder) (void)!sys->disk_ops->list(NULL, path, remove_entry, path);
    return sys->disk_ops->unlink(NULL, path);
}

static int teardown(void **state) {
    (void)state;
    const struct sys *sys = sys_real();
    if (sys->disk_ops->list(NULL, folder, remove_entry, folder)) return 1;
    return sys->disk_ops->unlink(NULL, folder) != ERR_OK;
}

static void path_in(char path[static 256], const char *name) { snprintf(path, 256, "%s/%s", folder, name); }

static void test_write_in_many_parts_is_read_back(void **state) {
    (void)state;
    const struct sys *sys = sys_real();
    char path[256];
    path_in(path, "file");
    struct sys_file *file;
    assert_int_equal(sys->disk_ops->open(NULL, path, SYS_WRITE | SYS_CREATE | SYS_EXCLUSIVE, NULL, &file), ERR_OK);
    struct sys_file *again;
    struct diag diag;
    assert_int_equal(sys->disk_ops->open(NULL, path, SYS_WRITE | SYS_CREATE | SYS_EXCLUSIVE, &diag, &again),
                     ERR_EXISTS);
    assert_int_equal(sys->disk_ops->allocate(file, 0, 8192), ERR_OK);
    uint8_t bytes[1000];
    struct slice parts[1000];
    for (int i = 0; i < 1000; i++) {
        bytes[i] = (uint8_t)(i * 7);
        parts[i] = slice_of(&bytes[i], i % 3 == 2 ? 0 : 1);
    }
    assert_int_equal(sys->disk_ops->write(file, 100, parts, 1000), ERR_OK);
    assert_int_equal(sys->disk_ops->sync(file), ERR_OK);
    uint8_t back[9000];
    size_t got;
    assert_int_equal(sys->disk_ops->read(file, 100, back, sizeof back, &got), ERR_OK);
    assert_int_equal(got, 8192 - 100);
    int at = 0;
    for (int i = 0; i < 1000; i++)
        if (i % 3 != 2) assert_int_equal(back[at++], bytes[i]);
    assert_int_equal(back[at], 0);
    assert_int_equal(sys->disk_ops->truncate(file, 10), ERR_OK);
    uint64_t size;
    assert_int_equal(sys->disk_ops->size(file, &size), ERR_OK);
    assert_int_equal(size, 10);
    sys->disk_ops->close(NULL, &file);
    assert_null(file);
}

static void test_short_and_interrupted_calls_are_gone_on_with(void **state) {
    (void)state;
    const struct sys_disk_ops *ops = sys_real()->disk_ops;
    for (size_t bytes_max = 1; bytes_max <= 40; bytes_max += 13)
        for (unsigned interrupted = 0; interrupted <= 2; interrupted++) {
            char path[256];
            struct sys_file *file;
            path_in(path, "short");
            assert_int_equal(ops->open(NULL, path, SYS_WRITE | SYS_CREATE, NULL, &file), ERR_OK);
            calls.bytes_max = bytes_max;
            calls.interrupted = interrupted;
            calls.calls = calls.failed = 0;
            uint8_t bytes[3000], back[3200];
            for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 31 + bytes_max);
            const struct slice parts[] = {
                {bytes, 1}, {bytes + 1, 0}, {bytes + 1, 999}, {bytes + 1000, 7}, {bytes + 1007, 1993}};
            assert_int_equal(ops->truncate(file, 0), ERR_OK);
            assert_int_equal(ops->allocate(file, 0, 3100), ERR_OK);
            assert_int_equal(ops->write(file, 50, parts, 5), ERR_OK);
            assert_int_equal(ops->sync(file), ERR_OK);
            size_t got = 0;
            assert_int_equal(ops->read(file, 50, back, sizeof back, &got), ERR_OK);
            assert_int_equal(got, 3050);
            assert_memory_equal(back, bytes, sizeof bytes);
            assert_true(calls.calls >= 2 * (3000 / bytes_max) * (interrupted + 1));
            assert_true(calls.failed >= interrupted * (3000 / bytes_max));
            calls.bytes_max = calls.interrupted = 0;
            ops->close(NULL, &file);
        }
}

/* What the kernel says after the first failure is of what came since: a second try would be answered well, and be a lie. */
static void test_a_failed_sync_is_not_tried_again(void **state) {
    (void)state;
    const struct sys_disk_ops *ops = sys_real()->disk_ops;
    char path[256];
    struct sys_file *file;
    path_in(path, "sync");
    assert_int_equal(ops->open(NULL, path, SYS_WRITE | SYS_CREATE, NULL, &file), ERR_OK);
    calls.calls = 0;
    calls.sync_errno = EIO;
    assert_int_equal(ops->sync(file), ERR_SYNC);
    assert_int_equal(calls.calls, 1);
    calls.sync_errno = 0;
    ops->close(NULL, &file);
}

static void test_lock_excludes_within_the_process(void **state) {
    (void)state;
    const struct sys_disk_ops *ops = sys_real()->disk_ops;
    char path[256];
    path_in(path, "lock");
    struct sys_file *a, *b;
    assert_int_equal(ops->open(NULL, path, SYS_WRITE | SYS_CREATE, NULL, &a), ERR_OK);
    assert_int_equal(ops->open(NULL, path, SYS_WRITE, NULL, &b), ERR_OK);
    assert_int_equal(ops->lock(a, SYS_LOCK_EXCLUSIVE), ERR_OK);
    assert_int_equal(ops->lock(b, SYS_LOCK_EXCLUSIVE), ERR_LOCKED);
    assert_int_equal(ops->lock(b, SYS_LOCK_SHARED), ERR_LOCKED);
    ops->close(NULL, &a);
    assert_int_equal(ops->lock(b, SYS_LOCK_SHARED), ERR_OK);
    ops->close(NULL, &b);
}

static enum err collect(void *context, const struct sys_entry *entry) {
    char *names = context;
    size_t size = strlen(names);
    snprintf(names + size, 256 - size, "%s%s", entry->name, entry->folder ? "/ " : " ");
    return ERR_OK;
}

static void test_files_are_replaced_and_listed_in_order(void **state) {
    (void)state;
    const struct sys *sys = sys_real();
    char path[256];
    path_in(path, "deep/er/est");
    struct diag diag;
    assert_int_equal(sys_make_folders(sys, path, &diag), ERR_OK);
    assert_int_equal(sys_make_folders(sys, path, &diag), ERR_OK);
    path_in(path, "deep/z");
    assert_int_equal(sys_replace_file(sys, path, SLICE("one"), &diag), ERR_OK);
    assert_int_equal(sys_replace_file(sys, path, SLICE("twofold"), &diag), ERR_OK);
    uint8_t *data;
    size_t size;
    assert_int_equal(sys_read_file(sys, path, 6, &diag, &data, &size), ERR_TOO_LARGE);
    assert_int_equal(sys_read_file(sys, path, 7, &diag, &data, &size), ERR_OK);
    assert_string_equal((char *)data, "twofold");
    assert_int_equal(size, 7);
    free(data);
    char names[256] = "";
    path_in(path, "deep");
    assert_int_equal(sys->disk_ops->list(NULL, path, collect, names), ERR_OK);
    assert_string_equal(names, "er/ z ");
    path_in(path, "absent");
    assert_int_equal(sys_read_file(sys, path, 7, &diag, &data, &size), ERR_NOT_FOUND);
    assert_string_equal(diag.where, path);
}

struct ball {
    struct sys_bell bells[2];
    uint32_t count;
};

static void *answer(void *argument) {
    struct ball *ball = argument;
    for (uint32_t i = 0; i < ball->count; i++) {
        sys_bell_wait(&ball->bells[0], -1);
        sys_bell_ring(&ball->bells[1]);
    }
    return NULL;
}

static void test_no_ring_is_lost(void **state) {
    (void)state;
    const struct sys *sys = sys_real();
    struct ball ball = {.count = 20000};
    struct sys_thread *thread;
    assert_int_equal(sys->thread_start(NULL, "answer-with-a-long-name", answer, &ball, &thread), ERR_OK);
    for (uint32_t i = 0; i < ball.count; i++) {
        sys_bell_ring(&ball.bells[0]);
        sys_bell_wait(&ball.bells[1], -1);
    }
    sys->thread_join(NULL, &thread);
    assert_null(thread);
    int64_t before = sys_monotonic_ns(sys);
    sys_bell_wait(&ball.bells[0], 30);
    assert_true(sys_monotonic_ns(sys) - before >= 29 * 1000000);
    sys_bell_ring(&ball.bells[0]);
    sys_bell_wait(&ball.bells[0], -1); /* A ring before the sleep counts. */
}

/* What the kernel says of the calling thread. */
struct scheduling {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t slice_ns, deadline_ns, period_ns;
};

static struct scheduling scheduling_of_this_thread(void) {
    struct scheduling scheduling = {0};
    assert_int_equal(syscall(SYS_sched_getattr, 0, &scheduling, sizeof scheduling, 0), 0);
    return scheduling;
}

static void *take_turns(void *argument) {
    struct scheduling *after = argument;
    if (getpriority(PRIO_PROCESS, 0) < 3) assert_int_equal(setpriority(PRIO_PROCESS, 0, 3), 0);
    sys_thread_take_turns();
    *after = scheduling_of_this_thread();
    return NULL;
}

static void test_a_thread_that_takes_turns_is_as_nice_as_before(void **state) {
    (void)state;
    const struct sys *sys = sys_real();
    const struct scheduling before = scheduling_of_this_thread();
    struct scheduling after = {0};
    struct sys_thread *thread;
    assert_int_equal(sys->thread_start(NULL, "turns", take_turns, &after, &thread), ERR_OK);
    sys->thread_join(NULL, &thread);
    assert_int_equal(after.policy, before.policy);
    assert_int_equal(after.nice, before.nice > 3 ? before.nice : 3);
    /* Kernels before 6.12 tell of no slice. */
    if (before.slice_ns != 0) assert_true(after.slice_ns > 0 && after.slice_ns < before.slice_ns);
    assert_int_equal(scheduling_of_this_thread().slice_ns, before.slice_ns);
}

static void test_clock_and_random(void **state) {
    (void)state;
    const struct sys *sys = sys_real();
    assert_true(sys_wall_ms(sys) > 1500000000000);
    uint64_t a = 0, b = 0;
    sys->random(NULL, &a, sizeof a);
    sys->random(NULL, &b, sizeof b);
    assert_true(a != b);
    uint64_t bytes;
    assert_int_equal(sys->disk_ops->free_bytes(NULL, folder, &bytes), ERR_OK);
    assert_true(bytes > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_in_many_parts_is_read_back),
        cmocka_unit_test(test_short_and_interrupted_calls_are_gone_on_with),
        cmocka_unit_test(test_a_failed_sync_is_not_tried_again),
        cmocka_unit_test(test_lock_excludes_within_the_process),
        cmocka_unit_test(test_files_are_replaced_and_listed_in_order),
        cmocka_unit_test(test_no_ring_is_lost),
        cmocka_unit_test(test_a_thread_that_takes_turns_is_as_nice_as_before),
        cmocka_unit_test(test_clock_and_random),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
