#include "store/store.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "conform/store_conform.h"

/* --- folders --- */

struct place {
    char root[64];
    char folder[128];
    uint32_t count;
};

static void place_make(struct place *place) {
    snprintf(place->root, sizeof place->root, "/tmp/wick-store-XXXXXX");
    assert_non_null(mkdtemp(place->root));
}

static void place_next(struct place *place) {
    snprintf(place->folder, sizeof place->folder, "%s/%u/store", place->root, place->count++);
}

static void place_remove(struct place *place) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", place->root);
    assert_int_equal(system(command), 0);
}

/* The rows of the memory store live as long as somebody has a handle on them. */
struct memory {
    enum store_memory_mode mode;
    uint64_t seed;
    struct store *keeper;
};

static enum err open_memory_again(void *context, struct store **ret_store) {
    const struct memory *memory = context;
    *ret_store = store_memory_share(memory->keeper);
    return ERR_OK;
}

static enum err open_memory(void *context, struct store **ret_store) {
    struct memory *memory = context;
    if (memory->keeper != NULL) store_close(&memory->keeper);
    enum err err = store_memory_open(memory->mode, ++memory->seed, &memory->keeper);
    return err != ERR_OK ? err : open_memory_again(memory, ret_store);
}

static enum err open_lmdb_again(void *context, struct store **ret_store) {
    struct place *place = context;
    struct diag diag = {0};
    enum err err = store_lmdb_open(sys_real(), place->folder, 1 << 20, false, &diag, ret_store);
    if (err != ERR_OK) print_message("%s: %s\n", diag.where, diag.what);
    return err;
}

static enum err open_lmdb(void *context, struct store **ret_store) {
    place_next(context);
    return open_lmdb_again(context, ret_store);
}

/* --- LMDB's own --- */

static void put_number(struct store_batch *batch, uint32_t number, size_t value_bytes) {
    uint8_t *value = malloc(value_bytes);
    memset(value, (int)number, value_bytes);
    char row[16];
    snprintf(row, sizeof row, "%08u", number);
    struct store_key key = {STORE_CANDLES, SLICE("p"), slice_text(row)};
    store_batch_put(batch, &key, slice_of(value, value_bytes));
    free(value);
}

static enum err commit_number(struct store *store, uint32_t number, size_t value_bytes, struct diag *diag) {
    struct store_batch batch;
    store_batch_init(&batch, value_bytes + 1024);
    put_number(&batch, number, value_bytes);
    enum err err = store_commit(store, (const struct store_batch *const[]){&batch}, 1, 0, diag);
    store_batch_deinit(&batch);
    return err;
}

static enum err count_row(void *context, struct slice row, struct slice value) {
    (void)row;
    for (size_t i = 1; i < value.size; i++) assert_int_equal(value.data[i], value.data[0]);
    ++*(uint32_t *)context;
    return ERR_OK;
}

static enum err count_rows(struct store *store, uint32_t *ret_count) {
    struct store_snapshot *snapshot = NULL;
    enum err err = store_snapshot_open(store, &snapshot);
    if (err != ERR_OK) return err;
    struct store_key key = {STORE_CANDLES, SLICE("p"), SLICE("")};
    *ret_count = 0;
    err = store_scan(store, snapshot, &key, SLICE_NONE, false, count_row, ret_count);
    store_snapshot_close(store, &snapshot);
    return err;
}

static void the_folder_is_private(void **state) {
    struct place *place = *state;
    struct store *store = NULL;
    assert_int_equal(open_lmdb(place, &store), ERR_OK);
    struct stat info;
    assert_int_equal(stat(place->folder, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    store_close(&store);
}

static void the_map_grows(void **state) {
    struct place *place = *state;
    struct store *store = NULL;
    assert_int_equal(open_lmdb(place, &store), ERR_OK); /* 1 MiB */
    for (uint32_t i = 0; i < 20; i++) assert_int_equal(commit_number(store, i, 700 * 1024, NULL), ERR_OK);
    uint32_t count;
    assert_int_equal(count_rows(store, &count), ERR_OK);
    assert_int_equal(count, 20);
    store_close(&store);
    assert_int_equal(open_lmdb_again(place, &store), ERR_OK);
    assert_int_equal(count_rows(store, &count), ERR_OK);
    assert_int_equal(count, 20);
    store_close(&store);
}

static void a_map_held_by_a_snapshot_says_no_space(void **state) {
    struct place *place = *state;
    struct store *store = NULL;
    assert_int_equal(open_lmdb(place, &store), ERR_OK);
    struct store_snapshot *snapshot = NULL;
    assert_int_equal(store_snapshot_open(store, &snapshot), ERR_OK);
    assert_int_equal(commit_number(store, 1, 4 << 20, NULL), ERR_NO_SPACE);
    store_snapshot_close(store, &snapshot);
    assert_int_equal(commit_number(store, 1, 4 << 20, NULL), ERR_OK);
    store_close(&store);
}

/* The full disk is played by a limit on the file's size, in a child. */
static int fill_disk(struct place *place) {
    struct store *store = NULL;
    if (open_lmdb(place, &store) != ERR_OK) return 1;
    if (commit_number(store, 0, 1000, NULL) != ERR_OK) return 2;
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {256 * 1024, RLIM_INFINITY};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 3;
    struct diag diag = {0};
    if (commit_number(store, 1, 700 * 1024, &diag) != ERR_NO_SPACE) return 4;
    uint32_t count;
    if (count_rows(store, &count) != ERR_OK || count != 1) return 5;
    limit.rlim_cur = RLIM_INFINITY;
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 6;
    if (commit_number(store, 1, 700 * 1024, &diag) != ERR_OK) return 7;
    if (count_rows(store, &count) != ERR_OK || count != 2) return 8;
    store_close(&store);
    return 0;
}

static int in_child(int (*run)(struct place *), struct place *place) {
    pid_t child = fork();
    if (child == 0) _exit(run(place));
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void a_full_disk_ends_by_itself(void **state) {
    place_next(*state);
    assert_int_equal(in_child(fill_disk, *state), 0);
}

static int read_beside(struct place *place) {
    struct store *store = NULL;
    if (store_lmdb_open(sys_real(), place->folder, 0, true, NULL, &store) != ERR_OK) return 1;
    uint32_t count;
    if (count_rows(store, &count) != ERR_OK || count != 3) return 2;
    if (commit_number(store, 9, 10, NULL) != ERR_STATE) return 3;
    store_close(&store);
    return 0;
}

static void another_process_reads(void **state) {
    struct place *place = *state;
    struct store *store = NULL;
    assert_int_equal(open_lmdb(place, &store), ERR_OK);
    for (uint32_t i = 0; i < 3; i++) assert_int_equal(commit_number(store, i, 100, NULL), ERR_OK);
    assert_int_equal(in_child(read_beside, place), 0);
    assert_int_equal(commit_number(store, 4, 100, NULL), ERR_OK);
    store_close(&store);
}

static void a_missing_store_is_not_made_by_readers(void **state) {
    struct place *place = *state;
    place_next(place);
    struct store *store = NULL;
    struct diag diag = {0};
    assert_int_equal(store_lmdb_open(sys_real(), place->folder, 0, true, &diag, &store), ERR_NOT_FOUND);
    assert_null(store);
    assert_int_equal(access(place->folder, F_OK), -1);
}

static void flip(const char *path, struct slice needle) {
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    static uint8_t bytes[4 << 20];
    size_t size = fread(bytes, 1, sizeof bytes, file);
    uint8_t *at = memmem(bytes, size, needle.data, needle.size);
    assert_non_null(at);
    while (at != NULL) { /* every copy: old pages are still there */
        assert_int_equal(fseek(file, at - bytes, SEEK_SET), 0);
        assert_int_equal(fputc(*at ^ 1, file), *at ^ 1);
        at = memmem(at + 1, size - (size_t)(at + 1 - bytes), needle.data, needle.size);
    }
    assert_int_equal(fclose(file), 0);
}

static enum err count_finding(void *context, const char *finding) {
    assert_non_null(strstr(finding, "candles"));
    ++*(int *)context;
    return ERR_OK;
}

static void a_flipped_bit_is_found(void **state) {
    struct place *place = *state;
    struct store *store = NULL;
    assert_int_equal(open_lmdb(place, &store), ERR_OK);
    struct store_batch batch;
    store_batch_init(&batch, 4096);
    struct store_key key = {STORE_CANDLES, SLICE("p"), SLICE("a")}, other = {STORE_CANDLES, SLICE("p"), SLICE("b")};
    store_batch_put(&batch, &key, SLICE("needle in the haystack"));
    store_batch_put(&batch, &other, SLICE("hay"));
    assert_int_equal(store_commit(store, (const struct store_batch *const[]){&batch}, 1, 0, NULL), ERR_OK);
    store_batch_deinit(&batch);
    store_close(&store);
    char path[160];
    snprintf(path, sizeof path, "%s/data.mdb", place->folder);
    flip(path, SLICE("needle in"));
    assert_int_equal(open_lmdb_again(place, &store), ERR_OK);
    struct store_snapshot *snapshot = NULL;
    assert_int_equal(store_snapshot_open(store, &snapshot), ERR_OK);
    struct slice value;
    assert_int_equal(store_get(store, snapshot, &key, &value), ERR_CORRUPT);
    assert_int_equal(store_get(store, snapshot, &other, &value), ERR_OK);
    uint32_t count = 0;
    struct store_key all = {STORE_CANDLES, SLICE("p"), SLICE("")};
    assert_int_equal(store_scan(store, snapshot, &all, SLICE_NONE, false, count_row, &count), ERR_CORRUPT);
    store_snapshot_close(store, &snapshot);
    int findings = 0;
    assert_int_equal(store_check(store, count_finding, &findings), ERR_OK);
    assert_int_equal(findings, 1);
    store_close(&store);
}

static void a_file_that_was_cut_is_damage(void **state) {
    struct place *place = *state;
    struct store *store = NULL;
    assert_int_equal(open_lmdb(place, &store), ERR_OK);
    for (uint32_t i = 0; i < 20; i++) assert_int_equal(commit_number(store, i, 3000, NULL), ERR_OK);
    store_close(&store);
    char path[160];
    snprintf(path, sizeof path, "%s/data.mdb", place->folder);
    for (off_t size = 60000; size >= 8192; size -= 5000) {
        assert_int_equal(truncate(path, size), 0);
        struct diag diag = {0};
        int findings = 0;
        enum err err = store_lmdb_open(sys_real(), place->folder, 0, true, &diag, &store);
        if (err == ERR_OK) err = store_check(store, count_finding, &findings);
        if (err == ERR_OK && findings > 0) err = ERR_CORRUPT;
        assert_true(err == ERR_CORRUPT || (err == ERR_OK && size > 20000)); /* what was free may be cut */
        if (store != NULL) store_close(&store);
        store = NULL;
    }
}

static void a_foreign_file_is_refused(void **state) {
    struct place *place = *state;
    struct store *store = NULL;
    assert_int_equal(open_lmdb(place, &store), ERR_OK);
    store_close(&store);
    char path[160];
    snprintf(path, sizeof path, "%s/data.mdb", place->folder);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    for (int i = 0; i < 16384; i++) fputc(0x5a, file);
    fclose(file);
    struct diag diag = {0};
    assert_int_equal(store_lmdb_open(sys_real(), place->folder, 0, false, &diag, &store), ERR_CORRUPT);
    assert_null(store);
}

/* --- memory's own --- */

static enum err crash_commit(struct store *store, uint32_t rows) {
    struct store_batch first, last;
    store_batch_init(&first, 1 << 16);
    store_batch_init(&last, 1 << 16);
    for (uint32_t i = 0; i < 8; i++) {
        char partition[2] = {(char)('a' + i % 2), 0}, row[2] = {(char)('0' + i), 0};
        struct store_key key = {STORE_CANDLES, slice_text(partition), slice_text(row)};
        store_batch_put(&first, &key, SLICE("v"));
    }
    struct store_key checkpoint = {STORE_CHECKPOINT, SLICE("t"), SLICE("")};
    store_batch_put(&last, &checkpoint, SLICE("done"));
    store_memory_crash(store, rows);
    enum err err = store->ops->commit(store, (const struct store_batch *const[]){&first, &last}, 2, 1, NULL);
    store_batch_deinit(&first);
    store_batch_deinit(&last);
    return err;
}

static uint32_t rows_of(struct store *store, enum store_table table, const char *partition, char *ret_last) {
    struct store_snapshot *snapshot = NULL;
    assert_int_equal(store_snapshot_open(store, &snapshot), ERR_OK);
    uint32_t count = 0;
    for (char row = '0'; row < '8'; row++) {
        struct store_key key = {table, slice_text(partition), slice_of(&row, table == STORE_CANDLES)};
        struct slice value;
        if (store_get(store, snapshot, &key, &value) != ERR_OK) continue;
        count++;
        *ret_last = row;
        if (table != STORE_CANDLES) break;
    }
    store_snapshot_close(store, &snapshot);
    return count;
}

static void a_crash_stops_anywhere_the_contract_allows(void **state) {
    (void)state;
    bool uneven = false;
    for (uint64_t seed = 1; seed <= 64; seed++) {
        struct store *store = NULL;
        assert_int_equal(store_memory_open(STORE_MEMORY_ROW_BY_ROW, seed, &store), ERR_OK);
        uint32_t rows = (uint32_t)(seed % 10);
        assert_int_equal(crash_commit(store, rows), ERR_IO);
        char last_a = 0, last_b = 0, none = 0;
        uint32_t a = rows_of(store, STORE_CANDLES, "a", &last_a), b = rows_of(store, STORE_CANDLES, "b", &last_b);
        uint32_t checkpoint = rows_of(store, STORE_CHECKPOINT, "t", &none);
        assert_int_equal(a + b + checkpoint, rows);
        assert_int_equal(checkpoint, rows == 9);
        /* Rows of a partition came in order. */
        if (a > 0) assert_int_equal(last_a, '0' + 2 * (a - 1));
        if (b > 0) assert_int_equal(last_b, '1' + 2 * (b - 1));
        uneven |= a > b + 1 || b > a + 1;
        struct store *again = store_memory_share(store);
        store_close(&store);
        assert_int_equal(rows_of(again, STORE_CANDLES, "a", &last_a), a);
        store_close(&again);
    }
    assert_true(uneven);
}

static void a_transactional_crash_leaves_nothing(void **state) {
    (void)state;
    struct store *store = NULL;
    assert_int_equal(store_memory_open(STORE_MEMORY_TRANSACTIONAL, 1, &store), ERR_OK);
    assert_int_equal(crash_commit(store, 5), ERR_IO);
    char last;
    assert_int_equal(rows_of(store, STORE_CANDLES, "a", &last), 0);
    assert_int_equal(commit_number(store, 1, 10, NULL), ERR_OK);
    store_close(&store);
}

int main(void) {
    struct place place = {0};
    place_make(&place);
    struct memory whole = {.mode = STORE_MEMORY_TRANSACTIONAL}, by_row = {.mode = STORE_MEMORY_ROW_BY_ROW};
    const struct store_conform backends[] = {
        {"store/memory", open_memory, open_memory_again, store_memory_crash, &whole, .stamps = true, .threaded = true},
        {"store/memory, row by row", open_memory, open_memory_again, store_memory_crash, &by_row, .stamps = true,
         .by_row = true},
        {"store/lmdb", open_lmdb, open_lmdb_again, NULL, &place, .stamps = false, .threaded = true},
    };
    int failed = 0;
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) failed += store_conform(&backends[i]);
    store_close(&whole.keeper);
    store_close(&by_row.keeper);
#define LMDB(test) \
    { #test, test, NULL, NULL, &place }
    const struct CMUnitTest tests[] = {
        LMDB(the_folder_is_private),
        LMDB(the_map_grows),
        LMDB(a_map_held_by_a_snapshot_says_no_space),
        LMDB(a_full_disk_ends_by_itself),
        LMDB(another_process_reads),
        LMDB(a_missing_store_is_not_made_by_readers),
        LMDB(a_flipped_bit_is_found),
        LMDB(a_file_that_was_cut_is_damage),
        LMDB(a_foreign_file_is_refused),
        cmocka_unit_test(a_crash_stops_anywhere_the_contract_allows),
        cmocka_unit_test(a_transactional_crash_leaves_nothing),
    };
#undef LMDB
    failed += cmocka_run_group_tests_name("store backends", tests, NULL, NULL);
    place_remove(&place);
    return failed != 0;
}
