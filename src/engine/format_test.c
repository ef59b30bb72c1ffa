/* A folder with something of a format to come, or that no task would fold, is refused: which, and what to do, is said; nothing
 * is read wrongly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/import.h"
#include "flow/checkpoint.h"

struct world {
    char data[64], file[80];
    struct config *config;
};

static void write_file(const struct world *w, int rows) {
    FILE *file = fopen(w->file, "w");
    assert_non_null(file);
    for (int i = 1; i <= rows; i++) fprintf(file, "%lld,100.5,0.25,%d\n", 1709251200000LL + i * 1000, i);
    assert_int_equal(fclose(file), 0);
}

static enum err import_file(const struct world *w, struct diag *diag) {
    struct engine *engine = NULL;
    struct import_result result;
    const struct import_request request = {
        .path = w->file,
        .options = {.format = IMPORT_CSV, .series = "binance:BTC/USDT", .columns = "time,price,quantity,id"},
    };
    enum err err = engine_open(sys_real(), w->config, ENGINE_WORK, diag, &engine);
    if (err == ERR_OK) err = import_run(engine, &request, diag, &result);
    engine_close(&engine);
    return err;
}

static int setup(void **state) {
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    snprintf(w->data, sizeof w->data, "/tmp/wick-format-XXXXXX");
    assert_non_null(mkdtemp(w->data));
    snprintf(w->file, sizeof w->file, "%s/file.csv", w->data);
    w->config = calloc(1, sizeof *w->config);
    assert_non_null(w->config);
    config_defaults(w->config);
    snprintf(w->config->data, sizeof w->config->data, "%s", w->data);
    w->config->store_map_bytes = 64 * 1024 * 1024;
    struct diag diag = {0};
    write_file(w, 100);
    if (import_file(w, &diag) != ERR_OK) fail_msg("%s", diag.what);
    *state = w;
    return 0;
}

static int teardown(void **state) {
    struct world *w = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", w->data);
    int gone = system(command);
    free(w->config);
    free(w);
    return gone;
}

/* --- one row of a table, with its first byte, which is the version, one higher --- */

struct raising {
    struct store_batch *batch;
    enum store_table table;
    struct slice partition;
    bool done;
};

static enum err raise_row(void *context, struct slice row, struct slice value) {
    struct raising *r = context;
    uint8_t *copy = malloc(value.size);
    assert_non_null(copy);
    assert_true(value.size > 0);
    memcpy(copy, value.data, value.size);
    copy[0]++;
    const struct store_key key = {r->table, r->partition, row};
    store_batch_put(r->batch, &key, slice_of(copy, value.size));
    free(copy);
    r->done = true;
    return ERR_END;
}

static void raise_version(const struct world *w, enum store_table table, const char *partition) {
    char folder[80];
    struct diag diag = {0};
    struct store *store = NULL;
    struct store_snapshot *snapshot = NULL;
    struct store_batch batch;
    snprintf(folder, sizeof folder, "%s/store", w->data);
    assert_int_equal(store_lmdb_open(sys_real(), folder, 64 * 1024 * 1024, false, &diag, &store), ERR_OK);
    assert_int_equal(store_snapshot_open(store, &snapshot), ERR_OK);
    store_batch_init(&batch, 1 << 20);
    struct raising raising = {&batch, table, slice_text(partition), false};
    const struct store_key first = {table, raising.partition, SLICE("")};
    assert_int_equal(store_scan(store, snapshot, &first, SLICE_NONE, false, raise_row, &raising), ERR_OK);
    store_snapshot_close(store, &snapshot);
    if (!raising.done) fail_msg("table %d has no row of \"%s\"", (int)table, partition);
    const struct store_batch *batches[] = {&batch};
    assert_int_equal(store_commit(store, batches, 1, 2, &diag), ERR_OK);
    store_batch_deinit(&batch);
    store_close(&store);
}

static void refuses(const struct world *w, const char *what) {
    struct diag diag = {0};
    write_file(w, 101); /* another content, so that the register is asked for the next number */
    enum err err = import_file(w, &diag);
    if (err != ERR_FOREIGN) fail_msg("%s: %s: %s", what, err_name(err), diag.what);
    if (strstr(diag.what, what) == NULL || strstr(diag.what, "version") == NULL)
        fail_msg("\"%s\" does not say that the version of %s is another one", diag.what, what);
    if (strstr(diag.hint, "fsck --rebuild") == NULL) fail_msg("\"%s\" does not say what to do", diag.hint);
}

/* The store made anew from the log has nothing of it. */
static void is_mended(const struct world *w) {
    struct diag diag = {0};
    struct engine *engine = NULL;
    if (engine_rebuild(sys_real(), w->config, &diag, &engine) != ERR_OK) fail_msg("%s", diag.what);
    engine_close(&engine);
    if (import_file(w, &diag) != ERR_OK) fail_msg("%s", diag.what);
}

static void test_store(void **state) {
    raise_version(*state, STORE_META, "store");
    refuses(*state, "the store");
    is_mended(*state);
}

static void test_series(void **state) {
    raise_version(*state, STORE_SERIES, "series");
    refuses(*state, "series table");
    is_mended(*state);
}

static void test_fold_state(void **state) {
    raise_version(*state, STORE_STATE, "candles/inbound-data-binance/0");
    refuses(*state, "fold state");
    is_mended(*state);
}

static void put_checkpoint(const struct world *w) {
    struct diag diag = {0};
    struct engine *engine = NULL;
    struct store_batch batch;
    const struct checkpoint checkpoint = {0};
    assert_int_equal(engine_open(sys_real(), w->config, ENGINE_WORK, &diag, &engine), ERR_OK);
    const struct engine_parts *parts = engine_parts(engine);
    store_batch_init(&batch, 1 << 20);
    checkpoint_put(&batch, "candles/prices/0", parts->log, engine_prices(engine, 0), &checkpoint);
    const struct store_batch *batches[] = {&batch};
    assert_int_equal(store_commit(parts->store, batches, 1, 2, &diag), ERR_OK);
    store_batch_deinit(&batch);
    engine_close(&engine);
}

static void test_checkpoint(void **state) {
    put_checkpoint(*state);
    raise_version(*state, STORE_CHECKPOINT, "candles/prices/0");
    refuses(*state, "checkpoint");
    is_mended(*state);
}

static void test_imports(void **state) {
    raise_version(*state, STORE_IMPORTS, "imports");
    refuses(*state, "import register");
    is_mended(*state);
}

/* Of an earlier wick, or of other hands: what is in the second partition would not be folded, and nobody would know. */
static void test_partitions_of_a_venue(void **state) {
    const struct world *w = *state;
    char folder[96];
    struct diag diag = {0};
    struct log *log = NULL;
    struct engine *engine = NULL;
    snprintf(folder, sizeof folder, "%s/log", w->data);
    const struct log_options options = {.sys = sys_real(), .folder = folder, .segment_bytes = 1024 * 1024};
    const struct log_topic_options two = {.partition_count = 2};
    assert_int_equal(log_open(&options, &diag, &log), ERR_OK);
    assert_int_equal(log_topic_create(log, "inbound-data-huobi", &two, &diag), ERR_OK);
    log_close(&log);
    for (enum engine_mode mode = ENGINE_SERVE; mode <= ENGINE_LOOK; mode++) {
        assert_int_equal(engine_open(sys_real(), w->config, mode, &diag, &engine), ERR_CONFLICT);
        assert_non_null(strstr(diag.what, "inbound-data-huobi has 2 partitions"));
        assert_non_null(strstr(diag.hint, "wick topic copy inbound-data-huobi inbound-data-huobi --to-data"));
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {TEST(test_store),      TEST(test_series),  TEST(test_fold_state),
                                       TEST(test_checkpoint), TEST(test_imports), TEST(test_partitions_of_a_venue)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
