/* The simulated disk must lose what it says it loses, or the tests on it show nothing. */
#include "sys/sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SECTOR = SIM_SECTOR_BYTES };

struct fixture {
    struct sim *sim, *after;
    const struct sys_disk_ops *ops;
    uint8_t outcomes[SIM_CHOICES_MAX], choices[SIM_CHOICES_MAX];
    uint8_t bytes[8 * SECTOR];
};

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    if (f == NULL) return 1;
    f->sim = sim_make(1);
    f->after = sim_make(2);
    f->ops = sim_sys(f->sim)->disk_ops;
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    sim_drop(&f->after);
    sim_drop(&f->sim);
    free(f);
    return 0;
}

static struct sys_file *open_file(struct sim *sim, const char *path) {
    struct sys_file *file;
    assert_int_equal(sim_sys(sim)->disk_ops->open(sim, path, SYS_WRITE | SYS_CREATE, NULL, &file), ERR_OK);
    return file;
}

static void fill(struct fixture *f, struct sys_file *file, uint64_t offset, uint8_t byte, size_t size) {
    memset(f->bytes, byte, size);
    const struct slice part = slice_of(f->bytes, size);
    assert_int_equal(f->ops->write(file, offset, &part, 1), ERR_OK);
}

/* A synced file of `sectors` times 'a', in a synced folder. */
static struct sys_file *synced_file(struct fixture *f, size_t sectors) {
    struct sys_file *file = open_file(f->sim, "file");
    fill(f, file, 0, 'a', sectors * SECTOR);
    assert_int_equal(f->ops->sync(file), ERR_OK);
    assert_int_equal(f->ops->sync_folder(f->sim, "."), ERR_OK);
    return file;
}

static uint32_t choices(struct fixture *f) { return sim_choices(f->sim, f->outcomes); }

static void crash(struct fixture *f, uint64_t seed) { sim_crash(f->sim, f->choices, seed, f->after); }

/* What is there after the crash; -1: no such file. */
static int content(struct fixture *f, const char *path) {
    struct sys_file *file;
    size_t size = 0;
    if (f->ops->open(f->after, path, SYS_READ, NULL, &file) != ERR_OK) return -1;
    assert_int_equal(f->ops->read(file, 0, f->bytes, sizeof f->bytes, &size), ERR_OK);
    f->ops->close(f->after, &file);
    return (int)size;
}

static size_t count_of(const uint8_t *bytes, size_t size, uint8_t byte) {
    size_t count = 0;
    for (size_t i = 0; i < size; i++) count += bytes[i] == byte;
    return count;
}

static void what_was_synced_is_kept(void **state) {
    struct fixture *f = *state;
    struct sys_file *file = synced_file(f, 3);
    assert_int_equal(choices(f), 0);
    memset(f->choices, SIM_GARBLED, sizeof f->choices);
    crash(f, 7);
    assert_int_equal(content(f, "file"), 3 * SECTOR);
    assert_int_equal(count_of(f->bytes, 3 * SECTOR, 'a'), 3 * SECTOR);
    f->ops->close(f->sim, &file);
}

static void unsynced_sectors_are_kept_lost_cut_and_garbled(void **state) {
    struct fixture *f = *state;
    struct sys_file *file = synced_file(f, 6);
    fill(f, file, SECTOR, 'b', 4 * SECTOR);
    assert_int_equal(choices(f), 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(f->outcomes[i], SIM_OUTCOMES);
        f->choices[i] = (uint8_t)i; /* SIM_KEPT, SIM_DROPPED, SIM_CUT, SIM_GARBLED */
    }
    crash(f, 7);
    assert_int_equal(content(f, "file"), 6 * SECTOR);
    const uint8_t *kept = f->bytes + SECTOR, *lost = kept + SECTOR, *cut = lost + SECTOR, *garbled = cut + SECTOR;
    assert_int_equal(count_of(f->bytes, SECTOR, 'a'), SECTOR);
    assert_int_equal(count_of(kept, SECTOR, 'b'), SECTOR);
    assert_int_equal(count_of(lost, SECTOR, 'a'), SECTOR);
    const size_t new_bytes = count_of(cut, SECTOR, 'b');
    assert_true(new_bytes > 0);
    assert_int_equal(count_of(cut, new_bytes, 'b'), new_bytes); /* new ones first, then old ones */
    assert_int_equal(count_of(cut + new_bytes, SECTOR - new_bytes, 'a'), SECTOR - new_bytes);
    assert_true(count_of(garbled, SECTOR, 'a') + count_of(garbled, SECTOR, 'b') < SECTOR / 4);
    assert_int_equal(count_of(garbled + SECTOR, SECTOR, 'a'), SECTOR);
    f->ops->close(f->sim, &file);
}

static void only_what_was_written_is_harmed(void **state) {
    struct fixture *f = *state;
    struct sys_file *file = synced_file(f, 1);
    fill(f, file, 100, 'b', 50);
    f->choices[0] = SIM_GARBLED;
    for (uint64_t seed = 0; seed < 20; seed++) {
        crash(f, seed);
        assert_int_equal(content(f, "file"), SECTOR);
        assert_int_equal(count_of(f->bytes, 100, 'a'), 100);
        assert_int_equal(count_of(f->bytes + 150, SECTOR - 150, 'a'), SECTOR - 150);
    }
    f->ops->close(f->sim, &file);
}

static void lengths_are_forgotten(void **state) {
    struct fixture *f = *state;
    struct sys_file *file = synced_file(f, 1);
    assert_int_equal(f->ops->allocate(file, 0, 4 * SECTOR), ERR_OK);
    assert_int_equal(choices(f), 1);
    assert_int_equal(f->outcomes[0], 2);
    for (uint8_t outcome = SIM_KEPT; outcome <= SIM_DROPPED; outcome++) {
        f->choices[0] = outcome;
        crash(f, 7);
        assert_int_equal(content(f, "file"), outcome == SIM_KEPT ? 4 * SECTOR : SECTOR);
    }
    assert_int_equal(f->ops->sync(file), ERR_OK);
    assert_int_equal(f->ops->truncate(file, 10), ERR_OK); /* what is cut off may come back */
    memset(f->choices, SIM_DROPPED, sizeof f->choices);
    crash(f, 7);
    assert_int_equal(content(f, "file"), 4 * SECTOR);
    assert_int_equal(count_of(f->bytes, SECTOR, 'a'), SECTOR);
    f->ops->close(f->sim, &file);
}

static void names_are_forgotten_until_their_folder_is_synced(void **state) {
    struct fixture *f = *state;
    assert_int_equal(f->ops->make_folder(f->sim, "deep"), ERR_OK);
    assert_int_equal(f->ops->sync_folder(f->sim, "."), ERR_OK);
    struct sys_file *file = open_file(f->sim, "deep/new");
    fill(f, file, 0, 'n', 10);
    assert_int_equal(f->ops->sync(file), ERR_OK); /* its bytes, not its name */
    assert_int_equal(choices(f), 1);
    f->choices[0] = SIM_DROPPED;
    crash(f, 7);
    assert_int_equal(content(f, "deep/new"), -1);
    f->choices[0] = SIM_KEPT;
    crash(f, 7);
    assert_int_equal(content(f, "deep/new"), 10);
    assert_int_equal(f->ops->sync_folder(f->sim, "deep"), ERR_OK);
    assert_int_equal(choices(f), 0);
    f->ops->close(f->sim, &file);
}

static void renames_and_unlinks_are_one_change_each(void **state) {
    struct fixture *f = *state;
    struct sys_file *file = synced_file(f, 1);
    f->ops->close(f->sim, &file);
    assert_int_equal(f->ops->rename(f->sim, "file", "other"), ERR_OK);
    assert_int_equal(choices(f), 1);
    f->choices[0] = SIM_DROPPED;
    crash(f, 7);
    assert_int_equal(content(f, "file"), SECTOR);
    assert_int_equal(content(f, "other"), -1);
    f->choices[0] = SIM_KEPT;
    crash(f, 7);
    assert_int_equal(content(f, "file"), -1);
    assert_int_equal(content(f, "other"), SECTOR);
    assert_int_equal(f->ops->sync_folder(f->sim, "."), ERR_OK);
    assert_int_equal(f->ops->unlink(f->sim, "other"), ERR_OK);
    f->choices[0] = SIM_DROPPED;
    crash(f, 7);
    assert_int_equal(content(f, "other"), SECTOR);
    assert_int_equal(f->ops->sync_folder(f->sim, "."), ERR_OK);
    crash(f, 7);
    assert_int_equal(content(f, "other"), -1);
}

static void a_crash_is_a_function_of_its_seed(void **state) {
    struct fixture *f = *state;
    struct sys_file *file = synced_file(f, 2);
    fill(f, file, 0, 'b', 2 * SECTOR);
    f->choices[0] = SIM_CUT;
    f->choices[1] = SIM_GARBLED;
    uint8_t first[2 * SECTOR];
    bool differs = false;
    crash(f, 1);
    assert_int_equal(content(f, "file"), 2 * SECTOR);
    memcpy(first, f->bytes, sizeof first);
    for (uint64_t seed = 1; seed < 5; seed++) {
        crash(f, seed);
        assert_int_equal(content(f, "file"), 2 * SECTOR);
        if (seed == 1) assert_memory_equal(f->bytes, first, sizeof first);
        differs |= memcmp(f->bytes, first, sizeof first) != 0;
    }
    assert_true(differs);
    f->ops->close(f->sim, &file);
}

static void count_operation(void *context, enum sim_operation operation) { ((uint32_t *)context)[operation]++; }

static void every_change_is_watched_and_may_fail(void **state) {
    struct fixture *f = *state;
    uint32_t seen[SIM_OPERATIONS] = {0};
    sim_watch(f->sim, count_operation, seen);
    struct sys_file *file = synced_file(f, 1);
    assert_int_equal(seen[SIM_OPEN] + seen[SIM_WRITE] + seen[SIM_SYNC] + seen[SIM_SYNC_FOLDER], 4);
    assert_int_equal(sim_count(f->sim), 4);
    const struct slice part = slice_of(f->bytes, SECTOR);
    sim_fail(f->sim, SIM_WRITE, 2, ERR_IO);
    assert_int_equal(f->ops->write(file, 0, &part, 1), ERR_OK);
    assert_int_equal(f->ops->write(file, 0, &part, 1), ERR_IO);
    sim_fail(f->sim, SIM_SYNC, 1, ERR_IO);
    assert_int_equal(f->ops->sync(file), ERR_SYNC);
    assert_true(choices(f) > 0); /* a sync that failed has kept nothing */
    sim_set_free_bytes(f->sim, SECTOR - 1);
    assert_int_equal(f->ops->write(file, SECTOR, &part, 1), ERR_NO_SPACE);
    f->ops->close(f->sim, &file);
}

int main(void) {
#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_was_synced_is_kept),
        TEST(unsynced_sectors_are_kept_lost_cut_and_garbled),
        TEST(only_what_was_written_is_harmed),
        TEST(lengths_are_forgotten),
        TEST(names_are_forgotten_until_their_folder_is_synced),
        TEST(renames_and_unlinks_are_one_change_each),
        TEST(a_crash_is_a_function_of_its_seed),
        TEST(every_change_is_watched_and_may_fail),
    };
#undef TEST
    return cmocka_run_group_tests_name("sys/sim", tests, NULL, NULL);
}
