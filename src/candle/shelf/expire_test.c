#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/splitmix.h"
#include "candle/read.h"
#include "sys/sim.h"

/* What expires, as readers see it: one lane of prices, whose minutes stay for three days. */
static const int64_t MINUTE_MS = 60000, HOUR_MS = 3600000, DAY_MS = 86400000;
static const int64_t START_MS = INT64_C(1704067200000); /* 2024-01-01 */
enum { KEPT_DAYS = 3, ROWS_MAX = 40 * 96 };

struct fixture {
    struct sim *sim;
    struct log *log;
    struct store *store;
    struct series_table *series;
    struct shelf *shelf;
    struct store_batch batch;
    uint64_t stamp;
    struct lane lane;
};

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    f->sim = sim_make(1);
    struct diag diag = {0};
    const struct log_options log = {.sys = sim_sys(f->sim), .folder = "/log"};
    assert_int_equal(sys_make_folders(sim_sys(f->sim), "/log", &diag), ERR_OK);
    assert_int_equal(log_open(&log, &diag, &f->log), ERR_OK);
    assert_int_equal(store_memory_open(STORE_MEMORY_TRANSACTIONAL, 1, &f->store), ERR_OK);
    assert_int_equal(series_table_open(&f->series), ERR_OK);
    const struct series_key key = {SLICE("binance"), SLICE("BTC"), SLICE("USDT"), SERIES_PRICE};
    f->lane.basis = BASIS_PRICES;
    assert_int_equal(series_intern(f->series, &key, &f->lane.series), ERR_OK);
    const struct shelf_options options = {.store = f->store,
                                          .log = f->log,
                                          .series = f->series,
                                          .base_ms = 60000,
                                          .retention_ms = {KEPT_DAYS * 86400000, 0, 0}};
    assert_int_equal(shelf_open(&options, &diag, &f->shelf), ERR_OK);
    store_batch_init(&f->batch, 64 << 20);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    shelf_close(&f->shelf);
    series_table_close(&f->series);
    store_close(&f->store);
    log_close(&f->log);
    sim_drop(&f->sim);
    store_batch_deinit(&f->batch);
    free(f);
    return 0;
}

static struct store_snapshot *look(struct fixture *f) {
    struct store_snapshot *snapshot = NULL;
    assert_int_equal(store_snapshot_open(f->store, &snapshot), ERR_OK);
    return snapshot;
}

static void commit(struct fixture *f, struct store_snapshot *snapshot) {
    const struct store_batch *list[] = {&f->batch};
    assert_int_equal(shelf_flush(f->shelf, &f->batch, NULL), ERR_OK);
    store_snapshot_close(f->store, &snapshot);
    assert_int_equal(store_commit(f->store, list, 1, ++f->stamp, NULL), ERR_OK);
    store_batch_clear(&f->batch);
}

/* A minute with that price. */
static struct candle row(int day, int minute, int price) {
    const struct decimal p = {price, 0};
    struct candle c = {.open_time_ms = START_MS + day * DAY_MS + minute * MINUTE_MS,
                       .open = p,
                       .high = p,
                       .low = p,
                       .close = p,
                       .trades = 1,
                       .first_id = -1,
                       .last_id = -1,
                       .covered_minutes = 1,
                       .native_ms = 60000,
                       .coverage = COVERAGE_TRADED,
                       .basis = BASIS_PRICES,
                       .final = CANDLE_FINAL_CLOCK};
    c.close_time_ms = c.open_time_ms + MINUTE_MS - 1;
    c.open_mark = c.close_mark = (struct candle_mark){.time_ms = c.open_time_ms};
    return c;
}

static void put(struct fixture *f, int day, int minute, int price) {
    struct store_snapshot *s = look(f);
    const struct candle c = row(day, minute, price);
    assert_int_equal(shelf_put(f->shelf, s, &f->batch, f->lane, &c, 1), ERR_OK);
    commit(f, s);
}

/* As the book does it, with a row of the day that is there. */
static void seal(struct fixture *f, int day, int minute, int price) {
    struct store_snapshot *s = look(f);
    const struct candle c = row(day, minute, price);
    struct diag diag = {0};
    assert_int_equal(shelf_seal(f->shelf, s, f->lane, &c, 1, &diag), ERR_OK);
    commit(f, s);
}

static void expire(struct fixture *f, int day) {
    static int64_t later_ms;
    struct store_snapshot *s = look(f);
    later_ms += 2 * HOUR_MS; /* it looks once an hour */
    for (int pass = 0; pass < 3; pass++) {
        assert_int_equal(shelf_expire(f->shelf, s, START_MS + (day + KEPT_DAYS) * DAY_MS + later_ms % DAY_MS + pass,
                                      &f->batch, NULL),
                         ERR_OK);
        commit(f, s);
        s = look(f);
    }
    store_snapshot_close(f->store, &s);
}

struct rows {
    struct candle list[ROWS_MAX];
    uint32_t count;
};

static enum err visit(void *context, const struct candle *candle) {
    struct rows *rows = context;
    assert_true(rows->count < ROWS_MAX);
    rows->list[rows->count++] = *candle;
    return ERR_OK;
}

static enum err ask(struct fixture *f, const char *interval, int first_day, int end_day, struct rows *rows) {
    const struct candle_source source = {.series = f->series, .store = f->store, .shelf = f->shelf, .base_ms = 60000};
    struct candle_query query = {
        .series = f->lane.series, .from_ms = START_MS + first_day * DAY_MS, .to_ms = START_MS + end_day * DAY_MS};
    struct diag diag = {0};
    rows->count = 0;
    assert_int_equal(interval_parse(slice_text(interval), &diag, &query.interval), ERR_OK);
    enum err err = candle_read(&source, &query, visit, rows, &diag);
    if (err != ERR_OK) assert_non_null(strstr(diag.what, "finest candles that are still kept are of 15m"));
    return err;
}

/* "day:trades:high", each of a day. */
static void expect_days(struct fixture *f, const char *wanted) {
    static struct rows rows;
    char text[512] = "";
    assert_int_equal(ask(f, "1d", -5, 40, &rows), ERR_OK);
    for (uint32_t i = 0; i < rows.count; i++) {
        const struct candle *c = &rows.list[i];
        const size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s%d:%d:%d", i == 0 ? "" : " ",
                 (int)((c->open_time_ms - START_MS) / DAY_MS), (int)c->trades, (int)c->high.mantissa);
    }
    assert_string_equal(text, wanted);
    /* Quarters say the same. */
    uint64_t trades = 0, quarters = 0;
    for (uint32_t i = 0; i < rows.count; i++) trades += rows.list[i].trades;
    assert_int_equal(ask(f, "15m", -5, 40, &rows), ERR_OK);
    for (uint32_t i = 0; i < rows.count; i++) quarters += rows.list[i].trades;
    assert_int_equal(trades, quarters);
}

static void expect_minutes(struct fixture *f, int first_day, int end_day, int count) {
    static struct rows rows;
    assert_int_equal(ask(f, "1m", first_day, end_day, &rows), count < 0 ? ERR_RANGE : ERR_OK);
    if (count >= 0) assert_int_equal(rows.count, count);
}

static void what_is_not_sealed_stays(void **state) {
    struct fixture *f = *state;
    put(f, 0, 10, 5);
    put(f, 0, 11, 6);
    put(f, 2, 1, 7);
    expire(f, 30);
    expect_days(f, "0:2:6 2:1:7");
    expect_minutes(f, 0, 40, 3);
    seal(f, 2, 1, 7);
    expire(f, 30); /* what is later than an open day waits for it */
    expect_days(f, "0:2:6 2:1:7");
    expect_minutes(f, 0, 40, 3);
    seal(f, 0, 10, 5);
    expire(f, 30);
    expect_days(f, "0:2:6 2:1:7");
    expect_minutes(f, 0, 40, -1);
}

static void a_series_that_has_ended_is_read(void **state) {
    struct fixture *f = *state;
    for (int day = 0; day < 12; day++) {
        put(f, day, 100 + day, 10 + day);
        seal(f, day, 100 + day, 10 + day);
    }
    expire(f, 10);
    expect_minutes(f, 10, 40, 2);
    expect_minutes(f, 0, 40, -1);
    expire(f, 30);
    expect_days(f, "0:1:10 1:1:11 2:1:12 3:1:13 4:1:14 5:1:15 6:1:16 7:1:17 8:1:18 9:1:19 10:1:20 11:1:21");
    expect_minutes(f, 0, 40, -1);
    expect_minutes(f, 11, 40, -1);
    expect_minutes(f, 20, 40, 0);
}

/* A minute of a day whose minutes are gone: the longer rows are right as they are, whether it is sealed or not. */
static void late_rows_of_an_expired_day(void **state) {
    struct fixture *f = *state;
    for (int day = 0; day < 4; day++)
        for (int i = 0; i < 3; i++) put(f, day, i, 10 + i);
    for (int day = 0; day < 4; day++) seal(f, day, 0, 10);
    expire(f, 4);
    const char *const as_it_was = "0:3:12 1:3:12 2:3:12 3:3:12";
    expect_days(f, as_it_was);
    put(f, 1, 5, 99); /* of a quarter that has a row */
    expect_days(f, as_it_was);
    expect_minutes(f, 0, 40, -1);
    expect_minutes(f, 1, 40, -1);
    seal(f, 1, 5, 99);
    expect_days(f, as_it_was);
    put(f, 2, 1000, 98); /* of one that had none */
    expect_days(f, as_it_was);
    seal(f, 2, 1000, 98);
    expect_days(f, "0:3:12 1:3:12 2:4:98 3:3:12");
    put(f, 2, 500, 97);
    put(f, 2, 1001, 99);
    seal(f, 2, 500, 97);
    expect_days(f, "0:3:12 1:3:12 2:5:98 3:3:12");
    expect_minutes(f, 2, 3, -1);
    expire(f, 5);
    expect_days(f, "0:3:12 1:3:12 2:5:98 3:3:12");
}

/* A day that nothing was known of, between days that have expired. */
static void a_day_that_comes_late(void **state) {
    struct fixture *f = *state;
    for (int day = 0; day < 8; day++) {
        if (day == 3) continue;
        put(f, day, 7, 10 + day);
        seal(f, day, 7, 10 + day);
    }
    expire(f, 6);
    put(f, 3, 7, 50);
    expect_days(f, "0:1:10 1:1:11 2:1:12 3:1:50 4:1:14 5:1:15 6:1:16 7:1:17");
    expect_minutes(f, 3, 40, -1); /* it is there, days behind it are not */
    expect_minutes(f, 3, 4, 1);
    expect_minutes(f, 6, 40, 2);
    seal(f, 3, 7, 50);
    expect_days(f, "0:1:10 1:1:11 2:1:12 3:1:50 4:1:14 5:1:15 6:1:16 7:1:17");
    expire(f, 6);
    expect_days(f, "0:1:10 1:1:11 2:1:12 3:1:50 4:1:14 5:1:15 6:1:16 7:1:17");
    expect_minutes(f, 3, 4, -1);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(what_is_not_sealed_stays),
        CASE(a_series_that_has_ended_is_read),
        CASE(late_rows_of_an_expired_day),
        CASE(a_day_that_comes_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
