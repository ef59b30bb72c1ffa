#include "sys/sys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

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
        cmocka_unit_test(test_lock_excludes_within_the_process),
        cmocka_unit_test(test_files_are_replaced_and_listed_in_order),
        cmocka_unit_test(test_no_ring_is_lost),
        cmocka_unit_test(test_clock_and_random),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
