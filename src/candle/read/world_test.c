/* Reads of a real book, shelf, log and store together, against sums over the events in plain loops. What is known of an
 * interval (coverage, final) is read_test.c's; here it is whether every event is in the right candle, once, whatever lies in
 * memory, in open rows, in sealed days, in days opened again, or on the way between them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/splitmix.h"
#include "base/testing.h"
#include "candle/read.h"
#include "candle/read/fixture.h"

static uint64_t random_state;
static uint64_t random_next(void) { return splitmix_next(&random_state); }
static unsigned below(unsigned n) { return (unsigned)(random_next() % n); }

enum { EVENTS_MAX = 6000, HELD_MAX = 200, SEAL_FREEZES = 130, KINDS = 3 };
static const int64_t DAY_MS = 86400000, HOUR_MS = 3600000;
static const int64_t START_MS = INT64_C(1711756800000); /* 2024-03-30: Berlin's clock changes the day after */
static const int64_t NEVER_MS = INT64_C(253402300800000);

struct world {
    char folder[64];
    struct log *log;
    struct store *store;
    struct series_table *series;
    struct shelf *shelf;
    struct book *book;
    struct store_batch batch;
    uint64_t stamp;
    uint32_t base_ms, number;
    enum series_kind kind;
    int64_t now_ms, step_ms, id;
    struct event events[EVENTS_MAX]; /* that were used */
    uint32_t count;
    struct event held[HELD_MAX]; /* ids that come late */
    uint32_t held_count;
    struct candle_slice slice;
};

/* --- life cycle --- */

static void open_book(struct world *w) {
    struct diag diag = {0};
    const struct book_options options = {
        .series = w->series, .shelf = w->shelf, .store = w->store, .task = "candles/test/0", .base_ms = w->base_ms};
    if (book_open(&options, &diag, &w->book) != ERR_OK) fail_msg("%s", diag.what);
}

static void open_world(struct world *w, unsigned kind, uint32_t base_ms, const int64_t retention_ms[3]) {
    struct diag diag = {0};
    memset(w, 0, sizeof *w);
    snprintf(w->folder, sizeof w->folder, "/tmp/wick-read-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    const struct log_options log = {.sys = sys_real(), .folder = w->folder, .segment_bytes = 1 << 20};
    if (log_open(&log, &diag, &w->log) != ERR_OK) fail_msg("%s", diag.what);
    assert_int_equal(store_memory_open(STORE_MEMORY_TRANSACTIONAL, 1, &w->store), ERR_OK);
    assert_int_equal(series_table_open(&w->series), ERR_OK);
    static const char *const venues[KINDS] = {"binance", "huobi", "binance"};
    w->kind = kind == 2 ? SERIES_PRICE : SERIES_TRADE;
    const struct series_key key = {slice_text(venues[kind]), SLICE("BTC"), SLICE("USDT"), w->kind};
    assert_int_equal(series_intern(w->series, &key, &w->number), ERR_OK);
    struct shelf_options shelf = {.store = w->store, .log = w->log, .series = w->series, .base_ms = base_ms};
    if (retention_ms != NULL) memcpy(shelf.retention_ms, retention_ms, sizeof shelf.retention_ms);
    if (shelf_open(&shelf, &diag, &w->shelf) != ERR_OK) fail_msg("%s", diag.what);
    store_batch_init(&w->batch, 256 << 20);
    w->base_ms = base_ms;
    w->id = 1000;
    open_book(w);
}

static void close_world(struct world *w) {
    char command[96];
    book_close(&w->book);
    shelf_close(&w->shelf);
    series_table_close(&w->series);
    store_close(&w->store);
    log_close(&w->log);
    store_batch_deinit(&w->batch);
    candle_slice_deinit(&w->slice);
    snprintf(command, sizeof command, "rm -rf '%s'", w->folder);
    assert_int_equal(system(command), 0);
}

static void freeze(struct world *w) {
    struct store_snapshot *snapshot = NULL;
    struct diag diag = {0};
    assert_int_equal(store_snapshot_open(w->store, &snapshot), ERR_OK);
    store_batch_clear(&w->batch);
    if (book_freeze(w->book, snapshot, &w->batch, &diag) != ERR_OK) fail_msg("%s", diag.what);
    store_snapshot_close(w->store, &snapshot);
}

static void commit(struct world *w) {
    struct diag diag = {0};
    if (shelf_flush(w->shelf, &w->batch, &diag) != ERR_OK) fail_msg("%s", diag.what);
    const struct store_batch *list[] = {&w->batch};
    assert_int_equal(store_commit(w->store, list, 1, ++w->stamp, &diag), ERR_OK);
    book_committed(w->book);
}

static void checkpoints(struct world *w, unsigned count) {
    for (unsigned i = 0; i < count; i++) freeze(w), commit(w);
}

/* --- events --- */

static void apply(struct world *w, struct event event) {
    enum event_fate fate;
    struct book_counts counts = {0};
    struct diag diag = {0};
    const int64_t offset = w->count;
    if (book_apply(w->book, &event, &offset, 1, &fate, &counts, &diag) != ERR_OK) fail_msg("%s", diag.what);
    if (fate != FATE_USED) return;
    assert_true(w->count < EVENTS_MAX);
    w->events[w->count++] = event;
}

static struct event random_event(struct world *w) {
    w->now_ms += 1 + (int64_t)(random_next() % (uint64_t)(below(50) == 0 ? 60 * w->step_ms : 2 * w->step_ms));
    struct event e = {
        .series = w->number, .time_ms = w->now_ms, .price = 10 * (90 + below(20)) + 1 + below(9), .price_scale = 2};
    e.first_id = e.last_id = w->kind == SERIES_PRICE ? 0 : w->id++;
    e.kind = w->kind == SERIES_PRICE ? EVENT_PRICE : EVENT_TRADE;
    if (w->kind == SERIES_PRICE) return e;
    e.quantity = 10 * below(10000) + 1 + below(9), e.quantity_scale = (uint8_t)below(6);
    e.side = below(2) ? EVENT_TAKER_BUY : EVENT_TAKER_SELL;
    return e;
}

static void feed(struct world *w, int64_t until_ms) {
    while (w->now_ms < until_ms) {
        const struct event event = random_event(w);
        if (w->kind == SERIES_TRADE && below(100) == 0 && w->held_count < HELD_MAX)
            w->held[w->held_count++] = event;
        else
            apply(w, event);
        if (below(20) == 0) apply(w, event); /* the same again, or one of those held back */
        if (below(30) == 0) checkpoints(w, 1);
    }
}

static void release(struct world *w) {
    for (uint32_t i = 0; i < w->held_count; i++) apply(w, w->held[i]);
    w->held_count = 0;
}

/* --- the definition --- */

struct bucket {
    int64_t start_ms, end_ms, trades, first_id, last_id;
    struct event open, close;
    __int128 high, low;
    struct decimal volume, buy_volume, quote;
};

static bool before(const struct event *a, const struct event *b) {
    if (a->time_ms != b->time_ms) return a->time_ms < b->time_ms;
    return a->first_id != b->first_id ? a->first_id < b->first_id : a->price < b->price;
}

static void add_event(struct bucket *b, const struct event *e) {
    struct decimal product;
    const struct decimal price = {e->price, e->price_scale}, quantity = {e->quantity, e->quantity_scale};
    if (b->trades == 0 || before(e, &b->open)) b->open = *e;
    if (b->trades == 0 || before(&b->close, e)) b->close = *e;
    if (b->trades == 0 || e->price > b->high) b->high = e->price;
    if (b->trades == 0 || e->price < b->low) b->low = e->price;
    if (b->trades == 0 || e->first_id < b->first_id) b->first_id = e->first_id;
    if (b->trades == 0 || e->last_id > b->last_id) b->last_id = e->last_id;
    b->trades++;
    if (e->kind == EVENT_PRICE) b->first_id = b->last_id = -1;
    if (e->kind == EVENT_PRICE) return;
    assert_int_equal(decimal_multiply(price, quantity, &product), ERR_OK);
    assert_int_equal(decimal_add(b->volume, quantity, &b->volume), ERR_OK);
    assert_int_equal(decimal_add(b->quote, product, &b->quote), ERR_OK);
    if (e->side == EVENT_TAKER_BUY) assert_int_equal(decimal_add(b->buy_volume, quantity, &b->buy_volume), ERR_OK);
}

static int by_time(const void *a, const void *b) {
    const struct event *x = a, *y = b;
    return (x->time_ms > y->time_ms) - (x->time_ms < y->time_ms);
}

/* The buckets of the query that hold events, ascending, limits aside. */
static uint32_t define(struct world *w, const struct candle_query *q, struct bucket *buckets) {
    uint32_t count = 0;
    int64_t start = 0, end = INT64_MIN;
    qsort(w->events, w->count, sizeof *w->events, by_time);
    for (uint32_t i = 0; i < w->count; i++) {
        const struct event *e = &w->events[i];
        bool next = e->time_ms >= end;
        if (next) interval_bucket(q->interval, &q->origin, e->time_ms, &start, &end);
        if (start < q->from_ms || start >= q->to_ms) continue;
        if (next) buckets[count++] = (struct bucket){.start_ms = start, .end_ms = end};
        add_event(&buckets[count - 1], e);
    }
    return count;
}

/* --- comparing --- */

struct result {
    struct candle *rows;
    uint32_t count, capacity;
};

static enum err keep(void *context, const struct candle *row) {
    struct result *r = context;
    if (r->count == r->capacity) {
        r->capacity = r->capacity == 0 ? 256 : r->capacity * 2;
        r->rows = realloc(r->rows, r->capacity * sizeof *r->rows);
        assert_non_null(r->rows);
    }
    r->rows[r->count++] = *row;
    return ERR_OK;
}

static bool same_price(struct decimal value, __int128 mantissa) {
    return decimal_equal(value, (struct decimal){mantissa, 2});
}

static void check_row(const struct candle *row, const struct bucket *want, uint64_t seed) {
    bool same = row->open_time_ms == want->start_ms && row->close_time_ms == want->end_ms - 1 &&
                row->trades == want->trades && row->first_id == want->first_id && row->last_id == want->last_id &&
                same_price(row->open, want->open.price) && same_price(row->close, want->close.price) &&
                same_price(row->high, want->high) && same_price(row->low, want->low) &&
                decimal_equal(row->volume, want->volume) && decimal_equal(row->quote_volume, want->quote) &&
                decimal_equal(row->taker_buy_volume, want->buy_volume);
    char at[CIVIL_TEXT_MAX];
    civil_format(want->start_ms, at);
    if (!same)
        fail_msg("seed %lu, %s: row at %ld has %ld events of %ld", (unsigned long)seed, at, (long)row->open_time_ms,
                 (long)row->trades, (long)want->trades);
}

static bool is_flat(const struct candle *row) {
    return row->trades == 0 && row->volume.mantissa == 0 && decimal_equal(row->open, row->close) &&
           decimal_equal(row->high, row->low) && decimal_equal(row->open, row->low);
}

/* Rows without events are flat, and proven or not said to be anything; the others are those of the definition, the last
 * ones of `newest`, the first ones otherwise. */
static void compare(const struct candle_query *q, const struct result *got, const struct bucket *want, uint32_t count,
                    uint64_t seed) {
    uint32_t filled = 0, at = 0;
    for (uint32_t i = 0; i < got->count; i++) filled += got->rows[i].trades > 0;
    if (filled > count) fail_msg("seed %lu: %u rows of %u", (unsigned long)seed, filled, count);
    if (q->newest && q->limit > 0) at = count - filled;
    for (uint32_t i = 0; i < got->count; i++) {
        if (i > 0) assert_true(got->rows[i].open_time_ms > got->rows[i - 1].open_time_ms);
        if (got->rows[i].trades > 0)
            check_row(&got->rows[i], &want[at++], seed);
        else
            assert_true(is_flat(&got->rows[i]));
    }
    bool whole = q->limit == 0 || got->count < q->limit;
    if (whole && filled != count) fail_msg("seed %lu: %u rows of %u", (unsigned long)seed, filled, count);
    assert_true(q->limit == 0 || got->count <= q->limit);
}

static struct candle_source source_of(struct world *w, bool sliced) {
    return (struct candle_source){.book = sliced ? NULL : w->book,
                                  .slice = sliced ? &w->slice : NULL,
                                  .shelf = w->shelf,
                                  .store = w->store,
                                  .series = w->series,
                                  .base_ms = w->base_ms};
}

/* A checkpoint, or a part of one, may come between the slice and the read. */
static void read_and_compare(struct world *w, const struct candle_query *q, unsigned between, uint64_t seed) {
    static struct bucket want[EVENTS_MAX];
    uint32_t count = define(w, q, want);
    for (int sliced = 0; sliced < 2; sliced++) {
        struct candle_source source = source_of(w, sliced);
        struct result got = {0};
        struct diag diag = {0};
        int64_t from, to;
        candle_query_span(q, &from, &to);
        if (sliced) assert_int_equal(candle_slice_take(w->book, q->series, from, to, &w->slice), ERR_OK);
        if (sliced && between > 0) freeze(w);
        if (sliced && between > 1) commit(w);
        if (sliced) assert_int_equal(candle_slice_expand(&w->slice), ERR_OK);
        if (candle_read(&source, q, keep, &got, &diag) != ERR_OK)
            fail_msg("seed %lu: %s", (unsigned long)seed, diag.what);
        compare(q, &got, want, count, seed);
        if (sliced && between == 1) commit(w);
        free(got.rows);
    }
}

static struct candle_query random_query(const struct world *w, const struct zone *zone) {
    static const struct interval intervals[] = {{INTERVAL_SECOND, 1}, {INTERVAL_SECOND, 5},  {INTERVAL_MINUTE, 1},
                                                {INTERVAL_MINUTE, 7}, {INTERVAL_MINUTE, 15}, {INTERVAL_HOUR, 1},
                                                {INTERVAL_HOUR, 4},   {INTERVAL_DAY, 1},     {INTERVAL_DAY, 3},
                                                {INTERVAL_WEEK, 1},   {INTERVAL_MONTH, 1}};
    unsigned first = w->base_ms == 1000 ? 0 : 2;
    struct candle_query q = {.series = w->number, .interval = intervals[first + below(11 - first)], .to_ms = NEVER_MS};
    q.origin = (struct origin){zone, (uint8_t)(1 + below(7))};
    const int64_t span = w->now_ms - START_MS;
    if (below(3)) q.from_ms = START_MS + (int64_t)(random_next() % (uint64_t)(span + 1));
    if (below(3) == 0) q.from_ms = w->now_ms - (int64_t)(random_next() % (uint64_t)(2 * HOUR_MS));
    if (below(3) == 0) q.to_ms = q.from_ms + (int64_t)(random_next() % (uint64_t)(span + 1));
    if (below(2)) q.limit = 1 + below(below(2) ? 10 : 2000);
    q.newest = q.limit > 0 && below(2);
    return q;
}

enum { ZONES = 5 };
static struct zone *zones[ZONES];

static void look(struct world *w, unsigned times, uint64_t seed) {
    for (unsigned i = 0; i < times; i++) {
        const struct candle_query q = random_query(w, zones[below(ZONES)]);
        read_and_compare(w, &q, below(3), seed);
    }
}

/* Two days and a bit: the first is sealed, opened again by late trades, and sealed again. */
static void run_world(struct world *w, uint64_t seed) {
    const bool seconds = w->base_ms == 1000;
    w->step_ms = seconds ? 7000 : 90000;
    w->now_ms = START_MS + (seconds ? 21 * HOUR_MS : 0);
    feed(w, START_MS + DAY_MS - HOUR_MS);
    look(w, 6, seed);
    feed(w, START_MS + DAY_MS + HOUR_MS);
    look(w, 4, seed);
    checkpoints(w, SEAL_FREEZES);
    look(w, 6, seed);
    release(w);
    look(w, 6, seed);
    checkpoints(w, 1);
    if (below(2)) book_close(&w->book), open_book(w); /* a restart after a checkpoint */
    look(w, 16, seed);
    checkpoints(w, SEAL_FREEZES);
    feed(w, START_MS + DAY_MS + (seconds ? 2 : 20) * HOUR_MS);
    look(w, 8, seed);
}

static void test_worlds(void **state) {
    (void)state;
    static struct world w;
    for (uint64_t i = 0, seed = testing_first_seed(); i < testing_seeds(6); i++, seed++)
        for (unsigned kind = 0; kind < KINDS; kind++) {
            random_state = seed * KINDS + kind;
            open_world(&w, kind, seed % 2 == 0 ? 1000 : 60000, NULL);
            run_world(&w, seed);
            assert_true(w.count > 500);
            close_world(&w);
        }
}

/* Coarser with age: base rows go after a day, those of 15m stay. What they cannot say is refused with what they can. */
static void test_coarser_with_age(void **state) {
    (void)state;
    static struct world w;
    const int64_t retention_ms[3] = {DAY_MS, 0, 0};
    for (unsigned seconds = 0; seconds < 2; seconds++) {
        struct store_snapshot *snapshot = NULL;
        struct diag diag = {0};
        struct result got = {0};
        random_state = 7 + seconds;
        open_world(&w, 0, seconds ? 1000 : 60000, retention_ms);
        run_world(&w, 7);
        checkpoints(&w, SEAL_FREEZES);
        assert_int_equal(store_snapshot_open(w.store, &snapshot), ERR_OK);
        store_batch_clear(&w.batch);
        enum err err = shelf_expire(w.shelf, snapshot, START_MS + 2 * DAY_MS + 1, &w.batch, &diag);
        if (err != ERR_OK) fail_msg("%s", diag.what);
        store_snapshot_close(w.store, &snapshot);
        commit(&w);
        struct candle_query q = {.series = w.number, .interval = {INTERVAL_HOUR, 2}, .to_ms = NEVER_MS};
        q.origin.zone = zones[1];
        read_and_compare(&w, &q, 0, 7);
        q.interval = (struct interval){INTERVAL_MINUTE, 5};
        struct candle_source source = source_of(&w, false);
        assert_int_equal(candle_read(&source, &q, keep, &got, &diag), ERR_RANGE);
        assert_non_null(strstr(diag.what, "15m"));
        assert_int_equal(got.count, 0);
        free(got.rows);
        close_world(&w);
    }
}

static int set_up(void **state) {
    (void)state;
    static const char *const names[ZONES] = {NULL, "Europe/Berlin", "+05:45", "Australia/Lord_Howe", "-03:30"};
    for (int i = 1; i < ZONES; i++) zones[i] = zone_of(names[i]);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    for (int i = 1; i < ZONES; i++)
        if (zones[i] != NULL) zone_close(&zones[i]);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worlds),
        cmocka_unit_test(test_coarser_with_age),
    };
    return cmocka_run_group_tests_name("read_world", tests, set_up, tear_down);
}
