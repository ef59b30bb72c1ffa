#include "conform/store_conform.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { BATCH_BYTES = 2 * STORE_VALUE_MAX };

struct fixture {
    const struct store_conform *backend;
    struct store *store;
    struct store_batch batch;
    uint64_t stamp;
};

static int setup(void **state) {
    const struct store_conform *backend = *state;
    struct fixture *f = calloc(1, sizeof *f);
    f->backend = backend;
    if (backend->open(backend->context, &f->store) != ERR_OK) return -1;
    store_batch_init(&f->batch, BATCH_BYTES);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    store_batch_deinit(&f->batch);
    store_close(&f->store);
    free(f);
    return 0;
}

static struct store_key key_of(enum store_table table, const char *partition, const char *row) {
    return (struct store_key){table, slice_text(partition), slice_text(row)};
}

static void put(struct fixture *f, const char *partition, const char *row, const char *value) {
    struct store_key key = key_of(STORE_CANDLES, partition, row);
    store_batch_put(&f->batch, &key, slice_text(value));
}

static void delete (struct fixture *f, const char *partition, const char *row) {
    struct store_key key = key_of(STORE_CANDLES, partition, row);
    store_batch_delete(&f->batch, &key);
}

static void commit_as(struct fixture *f, uint64_t stamp) {
    const struct store_batch *list[] = {&f->batch};
    struct diag diag = {0};
    assert_int_equal(store_commit(f->store, list, 1, stamp, &diag), ERR_OK);
    store_batch_clear(&f->batch);
}

static void commit(struct fixture *f) { commit_as(f, ++f->stamp); }

static struct store_snapshot *look(struct fixture *f) {
    struct store_snapshot *snapshot = NULL;
    assert_int_equal(store_snapshot_open(f->store, &snapshot), ERR_OK);
    return snapshot;
}

static void expect(struct fixture *f, struct store_snapshot *s, const char *partition, const char *row,
                   const char *value) {
    struct store_key key = key_of(STORE_CANDLES, partition, row);
    struct slice got;
    enum err err = store_get(f->store, s, &key, &got);
    if (value == NULL) {
        assert_int_equal(err, ERR_NOT_FOUND);
        return;
    }
    assert_int_equal(err, ERR_OK);
    assert_int_equal(got.size, strlen(value));
    assert_memory_equal(got.data, value, got.size);
}

static void expect_now(struct fixture *f, const char *partition, const char *row, const char *value) {
    struct store_snapshot *s = look(f);
    expect(f, s, partition, row, value);
    store_snapshot_close(f->store, &s);
}

/* --- scans, collected as "row=value,row=value," --- */

struct text {
    char bytes[4096];
    size_t size;
    uint32_t stop_after;
};

static enum err collect(void *context, struct slice row, struct slice value) {
    struct text *t = context;
    t->size += (size_t)snprintf(t->bytes + t->size, sizeof t->bytes - t->size, "%.*s=%.*s,", SLICE_PRINT(row),
                                SLICE_PRINT(value));
    assert_true(t->size < sizeof t->bytes);
    return t->stop_after > 0 && --t->stop_after == 0 ? ERR_END : ERR_OK;
}

static void expect_scan(struct fixture *f, const char *partition, const char *from, const char *end, bool descending,
                        const char *expected) {
    struct store_snapshot *s = look(f);
    struct text text = {0};
    struct store_key key = key_of(STORE_CANDLES, partition, from);
    struct slice bound = end == NULL ? SLICE_NONE : slice_text(end);
    assert_int_equal(store_scan(f->store, s, &key, bound, descending, collect, &text), ERR_OK);
    assert_string_equal(text.bytes, expected);
    store_snapshot_close(f->store, &s);
}

static void writes_are_read(void **state) {
    struct fixture *f = *state;
    expect_now(f, "p", "a", NULL);
    put(f, "p", "a", "1");
    put(f, "p", "b", "");
    commit(f);
    expect_now(f, "p", "a", "1");
    expect_now(f, "p", "b", "");
    put(f, "p", "a", "a longer value than before");
    delete (f, "p", "b");
    delete (f, "p", "never there");
    commit(f);
    expect_now(f, "p", "a", "a longer value than before");
    expect_now(f, "p", "b", NULL);
}

static void later_writes_of_a_commit_win(void **state) {
    struct fixture *f = *state;
    put(f, "p", "a", "1");
    put(f, "p", "a", "2");
    put(f, "p", "b", "1");
    delete (f, "p", "b");
    delete (f, "p", "c");
    put(f, "p", "c", "3");
    commit(f);
    expect_scan(f, "p", "", NULL, false, "a=2,c=3,");
}

static void batches_apply_in_order(void **state) {
    struct fixture *f = *state;
    struct store_batch second;
    store_batch_init(&second, 1024);
    put(f, "p", "a", "first");
    struct store_key key = key_of(STORE_CANDLES, "p", "a");
    store_batch_put(&second, &key, SLICE("second"));
    const struct store_batch *list[] = {&f->batch, &second};
    assert_int_equal(store_commit(f->store, list, 2, ++f->stamp, NULL), ERR_OK);
    expect_now(f, "p", "a", "second");
    store_batch_deinit(&second);
}

static void an_empty_commit_is_fine(void **state) {
    struct fixture *f = *state;
    assert_int_equal(store_commit(f->store, NULL, 0, ++f->stamp, NULL), ERR_OK);
    commit(f);
}

static void tables_are_apart(void **state) {
    struct fixture *f = *state;
    for (int t = 0; t < STORE_TABLE_COUNT; t++) {
        struct store_key key = key_of((enum store_table)t, "p", "a");
        uint8_t value = (uint8_t)t;
        store_batch_put(&f->batch, &key, slice_of(&value, 1));
    }
    commit(f);
    struct store_snapshot *s = look(f);
    for (int t = 0; t < STORE_TABLE_COUNT; t++) {
        struct store_key key = key_of((enum store_table)t, "p", "a");
        struct slice value;
        assert_int_equal(store_get(f->store, s, &key, &value), ERR_OK);
        assert_int_equal(value.size, 1);
        assert_int_equal(value.data[0], t);
    }
    store_snapshot_close(f->store, &s);
}

static void partitions_are_apart(void **state) {
    struct fixture *f = *state;
    put(f, "p", "b", "1");
    put(f, "pb", "", "2");
    put(f, "p", "", "3");
    put(f, "", "pb", "4");
    put(f, "pa", "z", "5");
    put(f, "\xff\xff", "x", "6");
    commit(f);
    expect_scan(f, "p", "", NULL, false, "=3,b=1,");
    expect_scan(f, "pb", "", NULL, true, "=2,");
    expect_scan(f, "", "", NULL, false, "pb=4,");
    expect_scan(f, "pa", "", NULL, true, "z=5,");
    expect_scan(f, "\xff\xff", "", NULL, true, "x=6,");
    expect_scan(f, "none", "", NULL, true, "");
}

static void scans_keep_bounds(void **state) {
    struct fixture *f = *state;
    for (const char *row = "hgfedcba"; *row != 0; row++) put(f, "p", (char[]){*row, 0}, (char[]){*row, 0});
    put(f, "o", "z", "no");
    put(f, "q", "a", "no");
    commit(f);
    expect_scan(f, "p", "", NULL, false, "a=a,b=b,c=c,d=d,e=e,f=f,g=g,h=h,");
    expect_scan(f, "p", "", NULL, true, "h=h,g=g,f=f,e=e,d=d,c=c,b=b,a=a,");
    expect_scan(f, "p", "c", "f", false, "c=c,d=d,e=e,");
    expect_scan(f, "p", "c", "f", true, "e=e,d=d,c=c,");
    expect_scan(f, "p", "bb", "ee", true, "e=e,d=d,c=c,");
    expect_scan(f, "p", "f", "c", false, "");
    expect_scan(f, "p", "f", "c", true, "");
    expect_scan(f, "p", "z", NULL, true, "");
    expect_scan(f, "p", "g", "zz", false, "g=g,h=h,");
}

static enum err refuse(void *context, struct slice row, struct slice value) {
    (void)context, (void)row, (void)value;
    return ERR_TYPE;
}

static void visitors_stop_scans(void **state) {
    struct fixture *f = *state;
    put(f, "p", "a", "1");
    put(f, "p", "b", "2");
    put(f, "p", "c", "3");
    commit(f);
    struct store_snapshot *s = look(f);
    struct store_key key = key_of(STORE_CANDLES, "p", "");
    for (int descending = 0; descending < 2; descending++) {
        struct text text = {.stop_after = 2};
        assert_int_equal(store_scan(f->store, s, &key, SLICE_NONE, descending, collect, &text), ERR_OK);
        assert_string_equal(text.bytes, descending ? "c=3,b=2," : "a=1,b=2,");
        assert_int_equal(store_scan(f->store, s, &key, SLICE_NONE, descending, refuse, NULL), ERR_TYPE);
    }
    store_snapshot_close(f->store, &s);
}

static void snapshots_stand_still(void **state) {
    struct fixture *f = *state;
    put(f, "p", "a", "1");
    put(f, "p", "b", "1");
    commit(f);
    struct store_snapshot *before = look(f);
    put(f, "p", "a", "2");
    delete (f, "p", "b");
    put(f, "p", "c", "2");
    commit(f);
    struct store_snapshot *after = look(f);
    expect(f, before, "p", "a", "1");
    expect(f, before, "p", "b", "1");
    expect(f, before, "p", "c", NULL);
    expect(f, after, "p", "a", "2");
    expect(f, after, "p", "b", NULL);
    expect(f, after, "p", "c", "2");
    store_snapshot_close(f->store, &before);
    store_snapshot_close(f->store, &after);
}

static void partitions_come_once(void **state) {
    struct fixture *f = *state;
    const char *names[] = {"", "a", "b", "bb", "\xff", "\xff\xff"};
    for (int n = 0; n < 6; n++)
        for (int row = 0; row < 5; row++) put(f, names[n], (char[]){(char)('a' + row), 0}, "v");
    put(f, "gone", "a", "v");
    commit(f);
    delete (f, "gone", "a");
    commit(f);
    struct store_snapshot *s = look(f);
    struct text text = {0};
    assert_int_equal(store_partitions(f->store, s, STORE_CANDLES, collect, &text), ERR_OK);
    /* No order is promised: each name once, nothing else. */
    size_t bytes = 0;
    for (int n = 0; n < 6; n++) {
        char piece[16];
        snprintf(piece, sizeof piece, "%s=,", names[n]);
        bytes += strlen(piece);
        assert_non_null(strstr(text.bytes, piece));
    }
    assert_int_equal(text.size, bytes);
    struct text none = {0};
    assert_int_equal(store_partitions(f->store, s, STORE_IMPORTS, collect, &none), ERR_OK);
    assert_int_equal(none.size, 0);
    store_snapshot_close(f->store, &s);
}

static void sizes_have_limits(void **state) {
    struct fixture *f = *state;
    uint8_t name[STORE_KEY_MAX + 1];
    memset(name, 0xff, sizeof name);
    uint8_t *large = malloc(STORE_VALUE_MAX + 1);
    for (size_t i = 0; i <= STORE_VALUE_MAX; i++) large[i] = (uint8_t)(i * 131 >> 3);
    struct store_key key = {STORE_BLOCKS, slice_of(name, 100), slice_of(name, STORE_KEY_MAX - 100)};
    store_batch_put(&f->batch, &key, slice_of(large, STORE_VALUE_MAX));
    commit(f);
    struct store_snapshot *s = look(f);
    struct slice value;
    assert_int_equal(store_get(f->store, s, &key, &value), ERR_OK);
    assert_int_equal(value.size, STORE_VALUE_MAX);
    assert_memory_equal(value.data, large, STORE_VALUE_MAX);
    store_snapshot_close(f->store, &s);

    store_batch_put(&f->batch, &key, slice_of(large, STORE_VALUE_MAX + 1));
    assert_int_equal(store_batch_err(&f->batch), ERR_TOO_LARGE);
    store_batch_clear(&f->batch);
    key.row.size++;
    store_batch_put(&f->batch, &key, SLICE("x"));
    assert_int_equal(store_batch_err(&f->batch), ERR_TOO_LARGE);
    const struct store_batch *list[] = {&f->batch};
    assert_int_equal(store_commit(f->store, list, 1, ++f->stamp, NULL), ERR_TOO_LARGE);
    store_batch_clear(&f->batch);
    free(large);
}

/* What a backend does by row, below store_commit. */
static void commit_rows_as(struct fixture *f, uint64_t stamp) {
    const struct store_batch *list[] = {&f->batch};
    assert_int_equal(f->store->ops->commit(f->store, list, 1, stamp, NULL), ERR_OK);
    store_batch_clear(&f->batch);
}

static void older_stamps_lose(void **state) {
    struct fixture *f = *state;
    put(f, "p", "a", "new");
    put(f, "p", "b", "new");
    commit_rows_as(f, 10);
    delete (f, "p", "b");
    commit_rows_as(f, 11);
    put(f, "p", "a", "old");
    put(f, "p", "b", "old");
    put(f, "p", "c", "old");
    commit_rows_as(f, 9);
    expect_scan(f, "p", "", NULL, false, "a=new,c=old,");
    delete (f, "p", "a");
    commit_rows_as(f, 8);
    expect_now(f, "p", "a", "new");
    put(f, "p", "b", "newest");
    commit_rows_as(f, 12);
    expect_now(f, "p", "b", "newest");
}

static void whoever_was_superseded_is_told(void **state) {
    struct fixture *f = *state;
    const struct store_batch *list[] = {&f->batch};
    struct diag diag = {0};
    put(f, "p", "a", "ours");
    commit_as(f, (uint64_t)2 << 40 | 1);
    put(f, "p", "a", "theirs");
    put(f, "p", "b", "theirs");
    assert_int_equal(store_commit(f->store, list, 1, (uint64_t)1 << 40 | 9, &diag), ERR_STATE);
    expect_scan(f, "p", "", NULL, false, "a=ours,");
    store_batch_clear(&f->batch);
    put(f, "p", "b", "ours");
    commit_as(f, (uint64_t)2 << 40 | 2);
    expect_scan(f, "p", "", NULL, false, "a=ours,b=ours,");
}

static void identity_is_kept(void **state) {
    struct fixture *f = *state;
    uint8_t ours[16] = "0123456789abcdef", theirs[16] = "fedcba9876543210";
    struct diag diag = {0};
    assert_int_equal(store_identify(f->store, ours, 1, &diag), ERR_OK);
    assert_int_equal(store_identify(f->store, ours, 2, &diag), ERR_OK);
    assert_int_equal(store_identify(f->store, theirs, 3, &diag), ERR_FOREIGN);
    assert_non_null(strstr(diag.what, "30313233"));
    assert_int_equal(store_identify(f->store, ours, 4, &diag), ERR_OK);
}

static void rows_outlive_the_handle(void **state) {
    struct fixture *f = *state;
    put(f, "p", "a", "1");
    put(f, "p", "b", "2");
    commit(f);
    store_close(&f->store);
    assert_int_equal(f->backend->reopen(f->backend->context, &f->store), ERR_OK);
    expect_scan(f, "p", "", NULL, false, "a=1,b=2,");
}

/* --- crashes in the middle of a commit --- */

static uint64_t next(uint64_t *random) {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return *random;
}

static struct store_key model_key(int partition, int row, char text[static 4]) {
    snprintf(text, 4, "%c%02d", 'a' + partition, row);
    return (struct store_key){STORE_STATE, slice_of(text, 1), slice_of(text + 1, 2)};
}

enum { CRASH_SEEDS = 24, CRASH_PARTITIONS = 3, CRASH_ROWS = 5, CRASH_LARGE = (2 << 20) + 12345 };

/* Two batches of one version: every row has it, some rows are of even versions only, and the checkpoint row comes last. */
static enum err commit_version(struct fixture *f, uint32_t version, const uint8_t *large, uint64_t stamp) {
    struct store_batch last;
    store_batch_init(&last, 4096);
    for (int i = 0; i < CRASH_PARTITIONS * CRASH_ROWS; i++) {
        char text[4];
        struct store_key key = model_key(i % CRASH_PARTITIONS, i / CRASH_PARTITIONS, text);
        if (i % 4 == 3 && version % 2 == 1)
            store_batch_delete(&f->batch, &key);
        else
            store_batch_put(&f->batch, &key, slice_of(&version, sizeof version));
    }
    const struct store_key bulk = {STORE_BLOCKS, SLICE("bulk"), SLICE("")};
    if (large != NULL) store_batch_put(&f->batch, &bulk, slice_of(large + version, CRASH_LARGE));
    const struct store_key checkpoint = {STORE_CHECKPOINT, SLICE("t"), SLICE("")};
    store_batch_put(&last, &checkpoint, slice_of(&version, sizeof version));
    const struct store_batch *list[] = {&f->batch, &last};
    enum err err = store_commit(f->store, list, 2, stamp, NULL);
    store_batch_clear(&f->batch);
    store_batch_deinit(&last);
    return err;
}

/* Which version is there, whole and nothing else. */
static uint32_t version_of(struct fixture *f, const uint8_t *large) {
    struct store_snapshot *s = look(f);
    struct slice value;
    uint32_t version;
    const struct store_key checkpoint = {STORE_CHECKPOINT, SLICE("t"), SLICE("")};
    assert_int_equal(store_get(f->store, s, &checkpoint, &value), ERR_OK);
    assert_int_equal(value.size, sizeof version);
    memcpy(&version, value.data, sizeof version);
    for (int i = 0; i < CRASH_PARTITIONS * CRASH_ROWS; i++) {
        char text[4];
        struct store_key key = model_key(i % CRASH_PARTITIONS, i / CRASH_PARTITIONS, text);
        enum err err = store_get(f->store, s, &key, &value);
        assert_int_equal(err, i % 4 == 3 && version % 2 == 1 ? ERR_NOT_FOUND : ERR_OK);
        if (err == ERR_OK) assert_memory_equal(value.data, &version, sizeof version);
    }
    const struct store_key bulk = {STORE_BLOCKS, SLICE("bulk"), SLICE("")};
    if (large != NULL) {
        assert_int_equal(store_get(f->store, s, &bulk, &value), ERR_OK);
        assert_memory_equal(value.data, large + version, CRASH_LARGE);
    }
    store_snapshot_close(f->store, &s);
    return version;
}

static enum err come_back(struct fixture *f) {
    static const uint8_t log_identity[16] = "0123456789abcdef";
    store_close(&f->store);
    assert_int_equal(f->backend->reopen(f->backend->context, &f->store), ERR_OK);
    return store_identify(f->store, log_identity, 1, NULL);
}

struct crash_counts {
    uint32_t states, old, new, again;
};

/* Version 2 dies after `rows` rows, and so does, half the time, the recovery; false once it lived. */
static bool crash_once(struct fixture *f, uint32_t rows, uint64_t *random, const uint8_t *large,
                       struct crash_counts *counts) {
    store_close(&f->store);
    assert_int_equal(f->backend->open(f->backend->context, &f->store), ERR_OK);
    assert_int_equal(come_back(f), ERR_OK);
    uint64_t stamp = (uint64_t)1 << 40;
    assert_int_equal(commit_version(f, 1, large, ++stamp), ERR_OK);
    f->backend->crash(f->store, rows);
    const bool lived = commit_version(f, 2, large, ++stamp) == ERR_OK;
    f->backend->crash(f->store, UINT32_MAX);
    while (!lived && next(random) % 2 == 0) {
        store_close(&f->store);
        assert_int_equal(f->backend->reopen(f->backend->context, &f->store), ERR_OK);
        f->backend->crash(f->store, (uint32_t)(next(random) % 24));
        if (come_back(f) == ERR_IO) counts->again++;
        f->backend->crash(f->store, UINT32_MAX);
    }
    assert_int_equal(come_back(f), ERR_OK);
    const uint32_t version = version_of(f, large);
    assert_true(version == 2 || (!lived && version == 1));
    counts->states++;
    (*(version == 2 ? &counts->new : &counts->old))++;
    stamp = (uint64_t)2 << 40;
    assert_int_equal(commit_version(f, 3, large, ++stamp), ERR_OK);
    assert_int_equal(come_back(f), ERR_OK);
    assert_int_equal(version_of(f, large), 3);
    return !lived;
}

static void a_crash_leaves_all_or_nothing(void **state) {
    struct fixture *f = *state;
    struct crash_counts counts = {0};
    uint64_t random = 0x9e3779b97f4a7c15u;
    for (int seed = 0; seed < CRASH_SEEDS; seed++)
        for (uint32_t rows = 0; crash_once(f, rows, &random, NULL, &counts); rows++) assert_true(rows < 64);
    assert_true(counts.states >= CRASH_SEEDS * CRASH_PARTITIONS * CRASH_ROWS && counts.old >= CRASH_SEEDS);
    assert_true(counts.new > CRASH_SEEDS && (f->store->ops->atomic_commit || counts.again >= CRASH_SEEDS));
}

static void a_crash_of_a_large_commit_too(void **state) {
    struct fixture *f = *state;
    struct crash_counts counts = {0};
    uint64_t random = 0x243f6a8885a308d3u;
    uint8_t *large = malloc(CRASH_LARGE + 16);
    for (size_t i = 0; i < CRASH_LARGE + 16; i++) large[i] = (uint8_t)(i * 131 >> 3);
    for (uint32_t rows = 0; crash_once(f, rows, &random, large, &counts); rows++) assert_true(rows < 64);
    assert_true(counts.old > 0 && counts.new > 0);
    free(large);
}

/* --- against a model --- */

enum { MODEL_PARTITIONS = 4, MODEL_ROWS = 24, MODEL_ROUNDS = 300 };

struct model {
    uint32_t value[MODEL_PARTITIONS][MODEL_ROWS]; /* 0: none */
};

static void model_step(struct fixture *f, struct model *model, uint64_t *random) {
    int writes = (int)(next(random) % 12);
    for (int i = 0; i < writes; i++) {
        int partition = (int)(next(random) % MODEL_PARTITIONS), row = (int)(next(random) % MODEL_ROWS);
        char text[4];
        struct store_key key = model_key(partition, row, text);
        uint32_t value = next(random) % 4 == 0 ? 0 : (uint32_t)next(random) | 1;
        model->value[partition][row] = value;
        if (value == 0)
            store_batch_delete(&f->batch, &key);
        else
            store_batch_put(&f->batch, &key, slice_of(&value, sizeof value));
    }
    commit(f);
}

struct model_scan {
    const struct model *model;
    int partition, at, until, step;
};

static enum err model_visit(void *context, struct slice row, struct slice value) {
    struct model_scan *scan = context;
    const uint32_t *values = scan->model->value[scan->partition];
    while (scan->at != scan->until && values[scan->at] == 0) scan->at += scan->step;
    assert_int_not_equal(scan->at, scan->until);
    char text[4];
    struct store_key key = model_key(scan->partition, scan->at, text);
    assert_true(slice_equal(row, key.row));
    assert_int_equal(value.size, 4);
    assert_memory_equal(value.data, &values[scan->at], 4);
    scan->at += scan->step;
    return ERR_OK;
}

static void model_compare(struct fixture *f, const struct model *model, struct store_snapshot *s, uint64_t *random) {
    int from = (int)(next(random) % MODEL_ROWS), to = (int)(next(random) % (MODEL_ROWS + 1));
    if (to < from) to = from;
    for (int partition = 0; partition < MODEL_PARTITIONS; partition++) {
        bool descending = next(random) % 2 == 0;
        struct model_scan scan = {model, partition, descending ? to - 1 : from, descending ? from - 1 : to,
                                  descending ? -1 : 1};
        char low[4], high[4];
        struct store_key key = model_key(partition, from, low);
        struct slice end = model_key(partition, to, high).row;
        assert_int_equal(store_scan(f->store, s, &key, end, descending, model_visit, &scan), ERR_OK);
        while (scan.at != scan.until && model->value[partition][scan.at] == 0) scan.at += scan.step;
        assert_int_equal(scan.at, scan.until);
    }
}

static void random_commits_agree_with_a_model(void **state) {
    struct fixture *f = *state;
    uint64_t random = 0x243f6a8885a308d3u;
    struct model model = {0};
    for (int round = 0; round < MODEL_ROUNDS; round++) {
        struct model before = model;
        struct store_snapshot *old = look(f);
        model_step(f, &model, &random);
        struct store_snapshot *new = look(f);
        model_compare(f, &before, old, &random);
        model_compare(f, &model, new, &random);
        store_snapshot_close(f->store, &old);
        store_snapshot_close(f->store, &new);
    }
    struct store_snapshot *s = look(f);
    for (int i = 0; i < 50; i++) model_compare(f, &model, s, &random);
    store_snapshot_close(f->store, &s);
}

/* --- readers beside the writer --- */

struct pair_reader {
    struct fixture *f;
    _Atomic bool stop;
    uint64_t looks, torn;
};

static uint64_t pair_half(struct store *store, struct store_snapshot *s, const char *partition) {
    struct store_key key = key_of(STORE_CANDLES, partition, "n");
    struct slice value;
    uint64_t number = 0;
    if (store_get(store, s, &key, &value) == ERR_OK && value.size == 8) memcpy(&number, value.data, 8);
    return number;
}

static void *pair_read(void *argument) {
    struct pair_reader *reader = argument;
    while (!atomic_load(&reader->stop)) {
        struct store_snapshot *s = NULL;
        if (store_snapshot_open(reader->f->store, &s) != ERR_OK) continue;
        uint64_t a = pair_half(reader->f->store, s, "left"), b = pair_half(reader->f->store, s, "right");
        if (a != b) reader->torn++;
        reader->looks++;
        store_snapshot_close(reader->f->store, &s);
    }
    return NULL;
}

static void commits_are_seen_whole(void **state) {
    struct fixture *f = *state;
    struct pair_reader readers[2] = {{.f = f}, {.f = f}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, pair_read, &readers[i]), 0);
    for (uint64_t n = 1; n <= 200; n++) {
        struct store_key left = key_of(STORE_CANDLES, "left", "n"), right = key_of(STORE_CANDLES, "right", "n");
        store_batch_put(&f->batch, &left, slice_of(&n, 8));
        store_batch_put(&f->batch, &right, slice_of(&n, 8));
        commit(f);
    }
    for (int i = 0; i < 2; i++) {
        atomic_store(&readers[i].stop, true);
        pthread_join(threads[i], NULL);
        assert_int_equal(readers[i].torn, 0);
    }
}

static enum err count_finding(void *context, const char *finding) {
    print_message("finding: %s\n", finding);
    ++*(int *)context;
    return ERR_OK;
}

static void a_sound_store_has_no_findings(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 100; i++) put(f, (char[]){(char)('a' + i % 26), 0}, (char[]){(char)('0' + i / 26), 0}, "v");
    commit(f);
    int findings = 0;
    assert_int_equal(store_check(f->store, count_finding, &findings), ERR_OK);
    assert_int_equal(findings, 0);
}

static bool for_all(const struct store_conform *backend) { return backend != NULL; }
static bool with_stamps(const struct store_conform *backend) { return backend->stamps; }
static bool with_reopen(const struct store_conform *backend) { return backend->reopen != NULL; }
static bool by_row(const struct store_conform *backend) { return backend->by_row; }
static bool with_crashes(const struct store_conform *backend) { return backend->crash != NULL; }
static bool with_readers(const struct store_conform *backend) { return backend->threaded; }

int store_conform(const struct store_conform *backend) {
#define CASE(test, who) \
    { {#test, test, setup, teardown, (void *)(uintptr_t)backend}, who }
    const struct {
        struct CMUnitTest test;
        bool (*promised)(const struct store_conform *backend); /* what a backend does not promise is not asked of it */
    } cases[] = {
        CASE(writes_are_read, for_all),
        CASE(later_writes_of_a_commit_win, for_all),
        CASE(batches_apply_in_order, for_all),
        CASE(an_empty_commit_is_fine, for_all),
        CASE(tables_are_apart, for_all),
        CASE(partitions_are_apart, for_all),
        CASE(scans_keep_bounds, for_all),
        CASE(visitors_stop_scans, for_all),
        CASE(snapshots_stand_still, for_all),
        CASE(partitions_come_once, for_all),
        CASE(sizes_have_limits, for_all),
        CASE(older_stamps_lose, with_stamps),
        CASE(whoever_was_superseded_is_told, by_row),
        CASE(identity_is_kept, for_all),
        CASE(rows_outlive_the_handle, with_reopen),
        CASE(a_crash_leaves_all_or_nothing, with_crashes),
        CASE(a_crash_of_a_large_commit_too, with_crashes),
        CASE(random_commits_agree_with_a_model, for_all),
        CASE(commits_are_seen_whole, with_readers),
        CASE(a_sound_store_has_no_findings, for_all),
    };
#undef CASE
    enum { CASES = sizeof cases / sizeof *cases };
    struct CMUnitTest tests[CASES];
    size_t count = 0;
    for (size_t i = 0; i < CASES; i++)
        if (cases[i].promised(backend)) tests[count++] = cases[i].test;
    return _cmocka_run_group_tests(backend->name, tests, count, NULL, NULL);
}
