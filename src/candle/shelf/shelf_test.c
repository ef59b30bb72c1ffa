#include "candle/shelf.h"
#include "base/splitmix.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "sys/sim.h"

static const int64_t MINUTE_MS = 60000, HOUR_MS = 3600000, DAY_MS = 86400000;
static const int64_t START_MS = INT64_C(1703808000000); /* 2023-12-29: a month and a year end soon */
enum { DAYS = 8, MINUTES = DAYS * 1440, LANES = 3 };

static int64_t between(uint64_t *random, int64_t low, int64_t high) {
    return low + (int64_t)(splitmix_next(random) % (uint64_t)(high - low + 1));
}

/* --- a shelf over a real log, and what it should hold --- */

struct model {
    struct candle rows[MINUTES];
    bool has[MINUTES];
    /* Tier rows as of the last sealing of their day. */
    struct candle quarters[DAYS * 96], days[DAYS];
    bool has_quarter[DAYS * 96], has_day[DAYS];
    bool sealed[DAYS], reopened[DAYS];
};

struct fixture {
    char folder[64];
    struct sim *sim; /* of the log; NULL: the real machine */
    struct log *log;
    struct store *store;
    struct series_table *series;
    struct shelf *shelf;
    struct store_batch batch;
    uint64_t stamp, random;
    struct lane lanes[LANES];
    struct model *models; /* LANES */
};

static void open_log(struct fixture *f) {
    const struct sys *sys = f->sim != NULL ? sim_sys(f->sim) : sys_real();
    const struct log_options options = {.sys = sys, .folder = f->folder, .segment_bytes = 1 << 20};
    struct diag diag = {0};
    enum err err = sys_make_folders(sys, f->folder, &diag);
    if (err == ERR_OK) err = log_open(&options, &diag, &f->log);
    if (err != ERR_OK) fail_msg("%s: %s", diag.where, diag.what);
}

static void open_shelf_with(struct fixture *f, const struct sys *sys) {
    const struct shelf_options options = {
        .store = f->store, .log = f->log, .series = f->series, .base_ms = 60000, .sys = sys};
    struct diag diag = {0};
    enum err err = shelf_open(&options, &diag, &f->shelf);
    if (err != ERR_OK) fail_msg("%s: %s", diag.where, diag.what);
}

static void open_shelf(struct fixture *f) { open_shelf_with(f, NULL); }

static uint32_t intern(struct series_table *table, const char *base, enum series_kind kind) {
    const struct series_key key = {SLICE("binance"), slice_text(base), SLICE("USDT"), kind};
    uint32_t number = 0;
    assert_int_equal(series_intern(table, &key, &number), ERR_OK);
    return number;
}

static int setup_on(void **state, struct sim *sim) {
    struct fixture *f = calloc(1, sizeof *f);
    f->sim = sim;
    snprintf(f->folder, sizeof f->folder, "/tmp/wick-shelf-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    open_log(f);
    assert_int_equal(store_memory_open(STORE_MEMORY_TRANSACTIONAL, 1, &f->store), ERR_OK);
    assert_int_equal(series_table_open(&f->series), ERR_OK);
    open_shelf(f);
    store_batch_init(&f->batch, 256 << 20);
    f->models = calloc(LANES, sizeof *f->models);
    f->lanes[0] = (struct lane){intern(f->series, "BTC", SERIES_TRADE), BASIS_TRADES};
    f->lanes[1] = (struct lane){intern(f->series, "ETH", SERIES_PRICE), BASIS_PRICES};
    f->lanes[2] = (struct lane){f->lanes[0].series, BASIS_KLINES};
    f->random = 1;
    *state = f;
    return 0;
}

static int setup(void **state) { return setup_on(state, NULL); }

static int setup_sim(void **state) { return setup_on(state, sim_make(1)); }

static int teardown(void **state) {
    struct fixture *f = *state;
    shelf_close(&f->shelf);
    series_table_close(&f->series);
    store_close(&f->store);
    log_close(&f->log);
    if (f->sim != NULL) sim_drop(&f->sim);
    store_batch_deinit(&f->batch);
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", f->folder);
    assert_int_equal(system(command), 0);
    free(f->models);
    free(f);
    return 0;
}

static struct store_snapshot *look(struct fixture *f) {
    struct store_snapshot *snapshot = NULL;
    assert_int_equal(store_snapshot_open(f->store, &snapshot), ERR_OK);
    return snapshot;
}

static void commit(struct fixture *f) {
    const struct store_batch *list[] = {&f->batch};
    assert_int_equal(store_commit(f->store, list, 1, ++f->stamp, NULL), ERR_OK);
    store_batch_clear(&f->batch);
}

/* --- rows --- */

static struct candle make_row(uint64_t *random, int64_t minute, uint32_t revision) {
    int64_t price = 5000000 + between(random, -1000, 1000);
    struct candle c = {
        .open_time_ms = START_MS + minute * MINUTE_MS, .first_id = minute * 10, .last_id = minute * 10 + 9};
    c.close_time_ms = c.open_time_ms + MINUTE_MS - 1;
    c.open = decimal_normalize((struct decimal){price, 2});
    c.close = decimal_normalize((struct decimal){price + between(random, -50, 50), 2});
    c.high = decimal_normalize((struct decimal){price + 50 + between(random, 0, 30), 2});
    c.low = decimal_normalize((struct decimal){price - 50 - between(random, 0, 30), 2});
    c.volume = decimal_normalize((struct decimal){between(random, 1, 1000000), 4});
    c.quote_volume = decimal_normalize((struct decimal){between(random, 1, 1000000000), 6});
    c.open_mark = (struct candle_mark){c.open_time_ms + 5, c.first_id};
    c.close_mark = (struct candle_mark){c.close_time_ms - 5, c.last_id};
    c.trades = 10;
    c.last_offset = minute;
    c.hash = splitmix_next(random);
    c.revision = revision;
    c.covered_minutes = 1;
    c.native_ms = 60000;
    c.coverage = COVERAGE_TRADED;
    c.final = CANDLE_FINAL_PROVEN;
    return c;
}

static bool decimals_equal(const struct candle *a, const struct candle *b) {
    return decimal_equal(a->open, b->open) && decimal_equal(a->high, b->high) && decimal_equal(a->low, b->low) &&
           decimal_equal(a->close, b->close) && decimal_equal(a->volume, b->volume) &&
           decimal_equal(a->quote_volume, b->quote_volume);
}

static bool equal(const struct candle *a, const struct candle *b) {
    return a->open_time_ms == b->open_time_ms && a->close_time_ms == b->close_time_ms && decimals_equal(a, b) &&
           a->open_mark.time_ms == b->open_mark.time_ms && a->close_mark.order == b->close_mark.order &&
           a->trades == b->trades && a->first_id == b->first_id && a->last_id == b->last_id && a->hash == b->hash &&
           a->last_offset == b->last_offset && a->revision == b->revision && a->covered_minutes == b->covered_minutes &&
           a->native_ms == b->native_ms && a->coverage == b->coverage && a->final == b->final;
}

/* Tier rows of a day, written apart from the shelf's own: the row of [start, end) from the model's minutes. */
static bool model_rollup(const struct model *m, int64_t from, int64_t to, struct candle *ret_row) {
    uint32_t parts = 0;
    for (int64_t i = from; i < to; i++) {
        if (!m->has[i]) continue;
        if (parts++ == 0)
            *ret_row = m->rows[i];
        else
            assert_int_equal(candle_merge(ret_row, &m->rows[i]), ERR_OK);
    }
    if (parts == 0) return false;
    ret_row->open_time_ms = START_MS + from * MINUTE_MS;
    ret_row->close_time_ms = START_MS + to * MINUTE_MS - 1;
    ret_row->native_ms = (uint32_t)((to - from) * MINUTE_MS);
    if (parts < to - from) {
        ret_row->coverage = COVERAGE_PARTIAL;
        ret_row->final = CANDLE_FINAL_CLOCK;
    }
    return true;
}

static void model_seal(struct model *m, int day) {
    for (int q = day * 96; q < day * 96 + 96; q++)
        m->has_quarter[q] = model_rollup(m, q * 15, q * 15 + 15, &m->quarters[q]);
    m->has_day[day] = model_rollup(m, day * 1440, day * 1440 + 1440, &m->days[day]);
    m->sealed[day] = true;
    m->reopened[day] = false;
}

/* --- operations on shelf and model alike --- */

static void put_some(struct fixture *f, int lane) {
    struct model *m = &f->models[lane];
    static struct candle rows[MINUTES];
    uint32_t count = 0;
    int64_t at = between(&f->random, 0, MINUTES - 200), end = at + between(&f->random, 1, 150);
    for (; at < end; at += between(&f->random, 1, 4)) {
        m->rows[at] = rows[count++] = make_row(&f->random, at, m->has[at] ? m->rows[at].revision + 1 : 0);
        m->has[at] = true;
        m->reopened[at / 1440] = m->sealed[at / 1440];
    }
    struct store_snapshot *s = look(f);
    assert_int_equal(shelf_put(f->shelf, s, &f->batch, f->lanes[lane], rows, count), ERR_OK);
    store_snapshot_close(f->store, &s);
    commit(f);
}

/* Seals days with some rows given anew. */
static void seal_some(struct fixture *f, int lane) {
    struct model *m = &f->models[lane];
    static struct candle rows[MINUTES];
    uint32_t count = 0;
    int first = (int)between(&f->random, 0, DAYS - 1), last = first + (int)between(&f->random, 0, 3);
    if (last >= DAYS) last = DAYS - 1;
    int64_t step = splitmix_next(&f->random) % 3 == 0 ? 400 : 3;
    for (int64_t at = first * 1440 + between(&f->random, 0, 20); at < (last + 1) * 1440;
         at += between(&f->random, 1, step)) {
        m->rows[at] = rows[count++] = make_row(&f->random, at, m->has[at] ? m->rows[at].revision + 1 : 0);
        m->has[at] = true;
    }
    if (count == 0) return;
    int sealed_first = (int)((rows[0].open_time_ms - START_MS) / DAY_MS);
    int sealed_last = (int)((rows[count - 1].open_time_ms - START_MS) / DAY_MS);
    struct store_snapshot *s = look(f);
    struct diag diag = {0};
    enum err err = shelf_seal(f->shelf, s, f->lanes[lane], rows, count, &diag);
    if (err != ERR_OK) fail_msg("seal: %s", diag.what);
    err = shelf_flush(f->shelf, &f->batch, &diag);
    if (err != ERR_OK) fail_msg("flush: %s", diag.what);
    store_snapshot_close(f->store, &s);
    commit(f);
    for (int day = sealed_first; day <= sealed_last; day++) {
        bool any = false;
        for (int64_t i = day * 1440; i < (day + 1) * 1440; i++) any |= m->has[i];
        if (any) model_seal(m, day);
    }
}

/* --- comparison --- */

struct walk {
    const struct candle *rows;
    const bool *has;
    int64_t at, until, step;
    uint32_t stop_after;
};

static enum err visit(void *context, const struct candle *row) {
    struct walk *w = context;
    while (w->at != w->until && !w->has[w->at]) w->at += w->step;
    if (w->at == w->until) fail_msg("an unexpected row at %ld", (long)(row->open_time_ms - START_MS));
    if (!equal(row, &w->rows[w->at])) fail_msg("row %ld differs", (long)w->at);
    w->at += w->step;
    return w->stop_after > 0 && --w->stop_after == 0 ? ERR_END : ERR_OK;
}

static void compare(struct fixture *f, struct store_snapshot *s, int lane, uint32_t tier_ms, int64_t from, int64_t to,
                    bool descending, uint32_t limit) {
    struct model *m = &f->models[lane];
    int64_t tier_minutes = tier_ms / MINUTE_MS;
    struct walk w = {.rows = tier_minutes == 1    ? m->rows
                             : tier_minutes == 15 ? m->quarters
                                                  : m->days,
                     .has = tier_minutes == 1    ? m->has
                            : tier_minutes == 15 ? m->has_quarter
                                                 : m->has_day,
                     .at = descending ? to - 1 : from,
                     .until = descending ? from - 1 : to,
                     .step = descending ? -1 : 1,
                     .stop_after = limit};
    const struct shelf_range range = {f->lanes[lane], tier_ms, START_MS + from * tier_ms, START_MS + to * tier_ms,
                                      descending};
    struct diag diag = {0};
    enum err err = shelf_scan(f->shelf, s, &range, visit, &w, &diag);
    if (err != ERR_OK) fail_msg("scan: %s %s", diag.where, diag.what);
    if (limit > 0 && w.stop_after == 0) return;
    while (w.at != w.until && !w.has[w.at]) w.at += w.step;
    if (w.at != w.until) fail_msg("row %ld of tier %u is missing", (long)w.at, tier_ms);
}

/* Parts of one day after each other: what is kept of its block may be too little. */
static void compare_within(struct fixture *f, struct store_snapshot *s, int lane) {
    int64_t first = between(&f->random, 0, DAYS - 1) * 1440;
    for (int i = 0; i < 6; i++) {
        int64_t from = first + between(&f->random, 0, 1439), to = between(&f->random, from, first + 1440);
        compare(f, s, lane, 60000, from, to, splitmix_next(&f->random) % 2, 0);
    }
}

static void compare_all(struct fixture *f) {
    struct store_snapshot *s = look(f);
    for (int lane = 0; lane < LANES; lane++) {
        for (int descending = 0; descending < 2; descending++) {
            compare(f, s, lane, 60000, 0, MINUTES, descending, 0);
            compare(f, s, lane, 900000, 0, DAYS * 96, descending, 0);
            compare(f, s, lane, 86400000, 0, DAYS, descending, 0);
        }
        for (int i = 0; i < 5; i++) {
            int64_t from = between(&f->random, 0, MINUTES), to = between(&f->random, from, MINUTES);
            compare(f, s, lane, 60000, from, to, splitmix_next(&f->random) % 2, (uint32_t)between(&f->random, 0, 300));
            compare(f, s, lane, 900000, from / 15, to / 15, splitmix_next(&f->random) % 2, 0);
        }
        compare_within(f, s, lane);
        struct shelf_bounds bounds = {0};
        assert_int_equal(shelf_bounds(f->shelf, s, f->lanes[lane], &bounds), ERR_OK);
        int last = DAYS - 1, open = 0;
        const struct model *m = &f->models[lane];
        while (last >= 0 && !m->sealed[last]) last--;
        assert_int_equal(bounds.sealed_ms, last < 0 ? INT64_MIN : START_MS + (last + 1) * DAY_MS);
        int64_t top = MINUTES - 1, behind = (last + 1) * 1440;
        while (top >= 0 && !m->has[top]) top--;
        assert_int_equal(bounds.end_ms, top < 0 ? INT64_MIN : START_MS + (top + 1) * MINUTE_MS);
        while (behind < MINUTES && !m->has[behind]) behind++;
        assert_int_equal(bounds.open_ms, behind >= MINUTES ? INT64_MAX : START_MS + behind / 60 * 60 * MINUTE_MS);
        /* Days never sealed but before the last sealed one count as open too. */
        for (; open <= last; open++) {
            bool any = false;
            for (int64_t i = open * 1440; i < (open + 1) * 1440 && !m->sealed[open]; i++) any |= m->has[i];
            if (any || m->reopened[open]) break;
        }
        assert_int_equal(bounds.reopened_ms, open > last ? INT64_MAX : START_MS + open * DAY_MS);
    }
    store_snapshot_close(f->store, &s);
}

static void what_is_put_is_read(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 20; i++) put_some(f, i % LANES);
    compare_all(f);
}

static void sealed_and_open_rows_are_one(void **state) {
    struct fixture *f = *state;
    for (int round = 0; round < 60; round++) {
        int lane = (int)(splitmix_next(&f->random) % LANES);
        if (splitmix_next(&f->random) % 3 == 0)
            seal_some(f, lane);
        else
            put_some(f, lane);
        if (round % 5 == 4) compare_all(f);
        if (round % 20 == 19) { /* a restart */
            shelf_close(&f->shelf);
            log_close(&f->log);
            open_log(f);
            open_shelf(f);
        }
    }
    compare_all(f);
}

static enum err collect_lane(void *context, struct lane lane) {
    ((bool *)context)[lane.series * 8 + lane.basis] = true;
    return ERR_OK;
}

static void lanes_are_listed_once(void **state) {
    struct fixture *f = *state;
    put_some(f, 0);
    seal_some(f, 1);
    bool seen[64] = {0};
    struct store_snapshot *s = look(f);
    assert_int_equal(shelf_lanes(f->shelf, s, collect_lane, seen), ERR_OK);
    store_snapshot_close(f->store, &s);
    for (int i = 0; i < 64; i++) {
        bool expected = i == (int)f->lanes[0].series * 8 + f->lanes[0].basis ||
                        i == (int)f->lanes[1].series * 8 + f->lanes[1].basis;
        assert_int_equal(seen[i], expected);
    }
}

/* Days given one at a time, as they end, and all at once give the same rows. */
static void a_load_of_many_days_is_sealed(void **state) {
    struct fixture *f = *state;
    static struct candle rows[MINUTES];
    for (int lane = 0; lane < 2; lane++)
        for (int64_t i = 0; i < MINUTES; i++) {
            f->models[lane].rows[i] = make_row(&(uint64_t){(uint64_t)i}, i, 0);
            f->models[lane].has[i] = true;
        }
    memcpy(rows, f->models[0].rows, sizeof rows);
    struct store_snapshot *s = look(f);
    assert_int_equal(shelf_seal(f->shelf, s, f->lanes[0], rows, MINUTES, NULL), ERR_OK);
    assert_int_equal(shelf_seal(f->shelf, s, f->lanes[0], rows, 1440, NULL), ERR_STATE);
    for (int day = 0; day < DAYS; day++)
        assert_int_equal(shelf_seal(f->shelf, s, f->lanes[1], rows + day * 1440, 1440, NULL), ERR_OK);
    assert_int_equal(shelf_flush(f->shelf, &f->batch, NULL), ERR_OK);
    store_snapshot_close(f->store, &s);
    commit(f);
    for (int lane = 0; lane < 2; lane++)
        for (int day = 0; day < DAYS; day++) model_seal(&f->models[lane], day);
    compare_all(f);
}

static void rows_out_of_order_are_refused(void **state) {
    struct fixture *f = *state;
    static struct candle rows[3000];
    for (int64_t i = 0; i < 3000; i++) rows[i] = make_row(&f->random, i, 0);
    static const int pairs[][2] = {{5, 6}, {0, 2999}, {1439, 1440}, {1500, 100}, {10, 2000}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct candle *a = &rows[pairs[i][0]], *b = &rows[pairs[i][1]], keep = *a;
        struct store_snapshot *s = look(f);
        *a = *b;
        *b = keep;
        assert_int_equal(shelf_seal(f->shelf, s, f->lanes[0], rows, 3000, NULL), ERR_RANGE);
        store_snapshot_close(f->store, &s);
        *b = *a;
        *a = keep;
        /* Forgotten with the flush that does not follow: a closed shelf. */
        shelf_close(&f->shelf);
        open_shelf(f);
    }
    compare_all(f);
}

static enum err count_row(void *context, struct slice row, struct slice value) {
    (void)row, (void)value;
    ++*(uint32_t *)context;
    return ERR_OK;
}

static uint32_t count_rows(struct fixture *f, enum store_table table, struct lane lane, uint32_t tier_ms) {
    uint8_t partition[9] = {(uint8_t)(lane.series >> 24),
                            (uint8_t)(lane.series >> 16),
                            (uint8_t)(lane.series >> 8),
                            (uint8_t)lane.series,
                            lane.basis,
                            (uint8_t)(tier_ms >> 24),
                            (uint8_t)(tier_ms >> 16),
                            (uint8_t)(tier_ms >> 8),
                            (uint8_t)tier_ms};
    const struct store_key key = {table, slice_of(partition, 9), SLICE("")};
    struct store_snapshot *s = look(f);
    uint32_t count = 0;
    assert_int_equal(store_scan(f->store, s, &key, SLICE_NONE, false, count_row, &count), ERR_OK);
    store_snapshot_close(f->store, &s);
    return count;
}

/* The newest record of each key that names a lane, by period. */
struct blocks {
    const char *lane;
    struct buf values;
    uint32_t count;
};

static enum err keep_block(void *context, const struct record *record) {
    struct blocks *blocks = context;
    char key[160];
    snprintf(key, sizeof key, "%.*s", (int)record->key.size, record->key.data);
    if (strstr(key, blocks->lane) == NULL) return ERR_OK;
    buf_put(&blocks->values, slice_text(strrchr(key, '|')));
    buf_put(&blocks->values, record->value);
    blocks->count++;
    return buf_err(&blocks->values);
}

static void read_blocks(struct fixture *f, const char *topic, const char *lane, struct blocks *blocks) {
    struct log_partition *partition = NULL;
    struct log_cursor *cursor = NULL;
    struct record_batch batch;
    struct arena arena;
    *blocks = (struct blocks){.lane = lane};
    buf_init(&blocks->values, 64 << 20);
    arena_init(&arena, 64 << 20);
    assert_int_equal(log_partition_find(f->log, topic, 0, &partition), ERR_OK);
    assert_int_equal(log_cursor_open(partition, 0, NULL, &cursor), ERR_OK);
    while (log_cursor_next(cursor, NULL, &batch) == ERR_OK)
        assert_int_equal(record_batch_visit(&batch, &arena, keep_block, blocks), ERR_OK);
    log_cursor_close(&cursor);
    arena_deinit(&arena);
}

/* A load packs with two threads or here what the other way packs with one, several days a call or one: the same bytes. */
static void compare_loading(struct fixture *f, bool here) {
    struct candle *day = malloc(SHELF_LOAD_ROWS * sizeof *day);
    static struct candle rows[MINUTES];
    uint32_t count = 0;
    shelf_close(&f->shelf);
    open_shelf_with(f, sys_real());
    if (here) shelf_pack_here(f->shelf);
    for (int64_t i = 0; i < MINUTES; i++) {
        struct candle row = make_row(&f->random, i, 0);
        if (i % 7 == 3) row.volume = row.quote_volume = (struct decimal){0, 0}, row.trades = 0; /* flat */
        if (i % 1000 == 5) row.quote_volume = (struct decimal){decimal_power10(30) + i, 2};     /* wide */
        if (i / 1440 == 2 && i % 3 == 0) continue;                                              /* a day with holes */
        for (int lane = 0; lane <= 2; lane += 2) f->models[lane].rows[i] = row, f->models[lane].has[i] = true;
        rows[count++] = row;
    }
    for (int round = 0; round < 2; round++) { /* the second time everything is stored, and takes the other way */
        struct store_snapshot *s = look(f);
        assert_int_equal(shelf_seal(f->shelf, s, f->lanes[0], rows, count, NULL), ERR_OK);
        for (uint32_t at = 0, end; at < count; at = end) {
            for (end = at; end < count && rows[end].open_time_ms / DAY_MS == rows[at].open_time_ms / DAY_MS;) end++;
            memcpy(day, rows + at, (end - at) * sizeof *day);
            assert_int_equal(shelf_load(f->shelf, s, f->lanes[2], &day, end - at, NULL), ERR_OK);
        }
        memcpy(day, rows, sizeof *day);
        assert_int_equal(shelf_load(f->shelf, s, f->lanes[2], &day, 1, NULL), ERR_STATE);
        assert_int_equal(shelf_load_end(f->shelf, s, NULL), ERR_OK);
        assert_int_equal(shelf_flush(f->shelf, &f->batch, NULL), ERR_OK);
        store_snapshot_close(f->store, &s);
        commit(f);
        for (int lane = 0; lane <= 2; lane += 2)
            for (int d = 0; d < DAYS; d++) model_seal(&f->models[lane], d);
        compare_all(f);
    }
    static const char *const topics[] = {"candles.sealed.1m", "candles.sealed.15m", "candles.sealed.1d"};
    for (int i = 0; i < 3; i++) {
        struct blocks sealed, loaded;
        read_blocks(f, topics[i], "|trades|", &sealed);
        read_blocks(f, topics[i], "|klines|", &loaded);
        assert_true(sealed.count >= (i == 0 ? 2 * DAYS : 1));
        assert_int_equal(sealed.count, loaded.count);
        assert_int_equal(sealed.values.size, loaded.values.size);
        assert_memory_equal(sealed.values.data, loaded.values.data, sealed.values.size);
        buf_deinit(&sealed.values);
        buf_deinit(&loaded.values);
    }
    free(day);
}

static void loading_gives_what_sealing_gives(void **state) { compare_loading(*state, false); }

static void packing_here_gives_what_sealing_gives(void **state) { compare_loading(*state, true); }

static void months_that_are_over_are_blocks(void **state) {
    struct fixture *f = *state;
    static struct candle rows[MINUTES];
    for (int64_t i = 0; i < MINUTES; i++) rows[i] = make_row(&f->random, i, 0);
    for (int day = 0; day < DAYS; day++) {
        struct store_snapshot *s = look(f);
        assert_int_equal(shelf_seal(f->shelf, s, f->lanes[0], rows + day * 1440, 1440, NULL), ERR_OK);
        assert_int_equal(shelf_flush(f->shelf, &f->batch, NULL), ERR_OK);
        store_snapshot_close(f->store, &s);
        commit(f);
    }
    /* 29, 30, 31 December; 1 to 5 January. */
    assert_int_equal(count_rows(f, STORE_BLOCKS, f->lanes[0], 60000), DAYS);
    assert_int_equal(count_rows(f, STORE_BLOCKS, f->lanes[0], 900000), 1);
    assert_int_equal(count_rows(f, STORE_BLOCKS, f->lanes[0], 86400000), 1);
    assert_int_equal(count_rows(f, STORE_CANDLES, f->lanes[0], 60000), 0);
    assert_int_equal(count_rows(f, STORE_CANDLES, f->lanes[0], 900000), 5);
    assert_int_equal(count_rows(f, STORE_CANDLES, f->lanes[0], 86400000), 5);
}

static void the_index_is_made_anew(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 25; i++) seal_some(f, i % LANES);
    /* What is sealed to blocks: 1m rows of sealed days, tier rows of December. */
    shelf_close(&f->shelf);
    store_close(&f->store);
    series_table_close(&f->series);
    assert_int_equal(series_table_open(&f->series), ERR_OK);
    (void)intern(f->series, "OTHER", SERIES_TRADE); /* numbers may differ from before */
    assert_int_equal(store_memory_open(STORE_MEMORY_TRANSACTIONAL, 1, &f->store), ERR_OK);
    open_shelf(f);
    struct diag diag = {0};
    assert_int_equal(shelf_rebuild(f->shelf, &f->batch, NULL, NULL, &diag), ERR_OK);
    assert_int_equal(diag.err, ERR_OK);
    commit(f);
    f->lanes[0].series = f->lanes[2].series = intern(f->series, "BTC", SERIES_TRADE);
    f->lanes[1].series = intern(f->series, "ETH", SERIES_PRICE);
    struct store_snapshot *s = look(f);
    for (int lane = 0; lane < LANES; lane++) {
        compare(f, s, lane, 60000, 0, MINUTES, false, 0);
        compare(f, s, lane, 900000, 0, 3 * 96, true, 0);
        compare(f, s, lane, 86400000, 0, 3, false, 0);
    }
    /* The days of January are in no block of their month or year yet. */
    assert_int_equal(shelf_rebuild_tiers(f->shelf, s, &f->batch, &diag), ERR_OK);
    store_snapshot_close(f->store, &s);
    commit(f);
    s = look(f);
    for (int lane = 0; lane < LANES; lane++) {
        compare(f, s, lane, 900000, 0, DAYS * 96, true, 0);
        compare(f, s, lane, 86400000, 0, DAYS, false, 0);
    }
    store_snapshot_close(f->store, &s);
}

static void expired_rows_go(void **state) {
    struct fixture *f = *state;
    static struct candle rows[MINUTES];
    for (int64_t i = 0; i < MINUTES; i++) {
        rows[i] = make_row(&f->random, i, 0);
        f->models[0].rows[i] = rows[i];
        f->models[0].has[i] = i >= 3 * 1440;
    }
    struct store_snapshot *s = look(f);
    assert_int_equal(shelf_seal(f->shelf, s, f->lanes[0], rows, 6 * 1440, NULL), ERR_OK);
    assert_int_equal(shelf_flush(f->shelf, &f->batch, NULL), ERR_OK);
    assert_int_equal(shelf_put(f->shelf, s, &f->batch, f->lanes[0], rows + 6 * 1440, 2 * 1440), ERR_OK);
    store_snapshot_close(f->store, &s);
    commit(f);
    shelf_close(&f->shelf);
    const struct shelf_options options = {
        .store = f->store, .log = f->log, .series = f->series, .base_ms = 60000, .retention_ms = {5 * DAY_MS, 0, 0}};
    assert_int_equal(shelf_open(&options, NULL, &f->shelf), ERR_OK);
    s = look(f);
    assert_int_equal(shelf_expire(f->shelf, s, START_MS + 8 * DAY_MS + HOUR_MS, &f->batch, NULL), ERR_OK);
    assert_int_equal(shelf_flush(f->shelf, &f->batch, NULL), ERR_OK);
    store_snapshot_close(f->store, &s);
    commit(f);
    s = look(f);
    compare(f, s, 0, 60000, 0, MINUTES, false, 0);
    compare(f, s, 0, 60000, 0, MINUTES, true, 0);
    store_snapshot_close(f->store, &s);
    assert_int_equal(count_rows(f, STORE_BLOCKS, f->lanes[0], 60000), 3);
    assert_int_equal(count_rows(f, STORE_BLOCKS, f->lanes[0], 900000), 1);
    /* A rebuild does not bring them back. */
    assert_int_equal(shelf_rebuild(f->shelf, &f->batch, NULL, NULL, NULL), ERR_OK);
    commit(f);
    assert_int_equal(count_rows(f, STORE_BLOCKS, f->lanes[0], 60000), 3);
}

static uint32_t records_of(struct fixture *f, const char *topic) {
    struct blocks blocks;
    read_blocks(f, topic, "|trades|", &blocks);
    buf_deinit(&blocks.values);
    return blocks.count;
}

static bool is_even(const void *context, uint64_t origin) {
    (void)context;
    return origin % 2 == 0;
}

static void expire_all(struct fixture *f, int64_t now_ms) {
    struct store_snapshot *s = look(f);
    assert_int_equal(shelf_expire(f->shelf, s, now_ms, &f->batch, NULL), ERR_OK);
    assert_int_equal(shelf_flush(f->shelf, &f->batch, NULL), ERR_OK);
    store_snapshot_close(f->store, &s);
    commit(f);
}

static void seal_all(struct fixture *f, const struct candle *rows, bool committed) {
    struct store_snapshot *s = look(f);
    struct store_batch lost;
    store_batch_init(&lost, 64 << 20);
    assert_int_equal(shelf_seal(f->shelf, s, f->lanes[0], rows, MINUTES, NULL), ERR_OK);
    assert_int_equal(shelf_flush(f->shelf, committed ? &f->batch : &lost, NULL), ERR_OK);
    store_snapshot_close(f->store, &s);
    store_batch_deinit(&lost);
    if (committed) commit(f);
}

static void compact(struct fixture *f) {
    struct shelf_compaction *compaction = NULL;
    struct diag diag = {0};
    assert_int_equal(shelf_compaction_open(f->shelf, is_even, NULL, &diag, &compaction), ERR_OK);
    assert_true(shelf_compaction_wanted(compaction));
    assert_true(store_turn_begin(f->store) && store_turn_over(f->store));
    assert_int_equal(shelf_compaction_run(compaction, NULL, &diag), ERR_OK);
    shelf_compaction_close(&compaction);
}

/* What the log had no room for, at the flush or before it, is there with a later one, as if nothing had been. */
static void flushes_are_tried_again_on_a_full_disk(void **state) {
    struct fixture *f = *state;
    static struct candle rows[MINUTES];
    struct diag diag = {0};
    for (int64_t i = 0; i < MINUTES; i++) {
        rows[i] = make_row(&f->random, i, 0);
        f->models[0].rows[i] = f->models[1].rows[i] = rows[i];
        f->models[0].has[i] = f->models[1].has[i] = true;
    }
    struct store_snapshot *s = look(f);
    assert_int_equal(shelf_seal(f->shelf, s, f->lanes[0], rows, 4 * 1440, &diag), ERR_OK);
    sim_set_free_bytes(f->sim, 0);
    assert_int_equal(shelf_seal(f->shelf, s, f->lanes[0], rows + 4 * 1440, 4 * 1440, &diag), ERR_OK);
    for (int i = 0; i < 3; i++) assert_int_equal(shelf_flush(f->shelf, &f->batch, &diag), ERR_NO_SPACE);
    sim_set_free_bytes(f->sim, UINT64_MAX);
    assert_int_equal(shelf_flush(f->shelf, &f->batch, &diag), ERR_OK);
    assert_int_equal(shelf_seal(f->shelf, s, f->lanes[1], rows, MINUTES, &diag), ERR_OK);
    assert_int_equal(shelf_flush(f->shelf, &f->batch, &diag), ERR_OK);
    store_snapshot_close(f->store, &s);
    commit(f);
    for (int lane = 0; lane < 2; lane++)
        for (int day = 0; day < DAYS; day++) model_seal(&f->models[lane], day);
    compare_all(f);
    assert_int_equal(count_rows(f, STORE_BLOCKS, f->lanes[0], 60000), DAYS);
    /* Two blocks a batch at most: each is in the topic once. */
    assert_int_equal(records_of(f, "candles.sealed.1m"), DAYS);
}

/* The tombstones of what expires: a rebuild does not bring it back. */
static void tombstones_are_tried_again_on_a_full_disk(void **state) {
    struct fixture *f = *state;
    static struct candle rows[MINUTES];
    struct diag diag = {0};
    for (int64_t i = 0; i < MINUTES; i++) rows[i] = make_row(&f->random, i, 0);
    seal_all(f, rows, true);
    shelf_close(&f->shelf);
    const struct shelf_options options = {
        .store = f->store, .log = f->log, .series = f->series, .base_ms = 60000, .retention_ms = {5 * DAY_MS, 0, 0}};
    assert_int_equal(shelf_open(&options, NULL, &f->shelf), ERR_OK);
    struct store_snapshot *s = look(f);
    assert_int_equal(shelf_expire(f->shelf, s, START_MS + 8 * DAY_MS + HOUR_MS, &f->batch, &diag), ERR_OK);
    store_snapshot_close(f->store, &s);
    sim_fail(f->sim, SIM_WRITE, 1, ERR_NO_SPACE);
    assert_int_equal(shelf_flush(f->shelf, &f->batch, &diag), ERR_NO_SPACE);
    assert_int_equal(shelf_flush(f->shelf, &f->batch, &diag), ERR_OK);
    commit(f);
    assert_int_equal(count_rows(f, STORE_BLOCKS, f->lanes[0], 60000), 5);
    assert_int_equal(shelf_rebuild(f->shelf, &f->batch, NULL, NULL, NULL), ERR_OK);
    commit(f);
    assert_int_equal(count_rows(f, STORE_BLOCKS, f->lanes[0], 60000), 5);
}

/* Versions that were replaced, by imports that were committed and by some that were not, and then expiry: what the index names
 * stays, whatever came after it, and the index made anew is the same before and after. */
static void compaction_keeps_what_the_index_names(void **state) {
    struct fixture *f = *state;
    static struct candle rows[MINUTES];
    for (int64_t i = 0; i < MINUTES; i++) {
        rows[i] = make_row(&f->random, i, 0);
        f->models[0].rows[i] = rows[i];
        f->models[0].has[i] = true;
    }
    for (int i = 0; i < 40; i++) { /* the last one that counts is followed by an import that died */
        shelf_set_origin(f->shelf, 2 * (uint64_t)i + (i % 4 == 3));
        seal_all(f, rows, i % 4 != 3);
    }
    for (int day = 0; day < DAYS; day++) model_seal(&f->models[0], day);
    uint32_t before = records_of(f, "candles.sealed.1m");
    assert_true(before >= 40 * DAYS);
    compact(f);
    assert_true(records_of(f, "candles.sealed.1m") < before / 4);
    compare_all(f);
    shelf_close(&f->shelf);
    log_close(&f->log);
    open_log(f);
    struct shelf_options options = {
        .store = f->store, .log = f->log, .series = f->series, .base_ms = 60000, .retention_ms = {5 * DAY_MS, 0, 0}};
    assert_int_equal(shelf_open(&options, NULL, &f->shelf), ERR_OK);
    compare_all(f);
    assert_int_equal(shelf_rebuild(f->shelf, &f->batch, is_even, NULL, NULL), ERR_OK);
    commit(f);
    compare_all(f);
}

/* January is not over, and its first days' minutes go: a rebuild has their 15m and 1d rows from blocks. */
static void tier_rows_outlive_what_they_were_made_of(void **state) {
    struct fixture *f = *state;
    static struct candle rows[MINUTES];
    for (int64_t i = 0; i < MINUTES; i++) {
        rows[i] = make_row(&f->random, i, 0);
        f->models[0].rows[i] = rows[i];
        f->models[0].has[i] = true;
    }
    seal_all(f, rows, true);
    for (int day = 0; day < DAYS; day++) model_seal(&f->models[0], day);
    shelf_close(&f->shelf);
    const struct shelf_options options = {
        .store = f->store, .log = f->log, .series = f->series, .base_ms = 60000, .retention_ms = {DAY_MS, 0, 0}};
    assert_int_equal(shelf_open(&options, NULL, &f->shelf), ERR_OK);
    expire_all(f, START_MS + (DAYS - 1) * DAY_MS + HOUR_MS); /* one whole day and an hour stay: two blocks */
    assert_int_equal(count_rows(f, STORE_BLOCKS, f->lanes[0], 60000), 2);
    f->lanes[0].series = intern(f->series, "BTC", SERIES_TRADE);
    shelf_close(&f->shelf);
    store_close(&f->store);
    assert_int_equal(store_memory_open(STORE_MEMORY_TRANSACTIONAL, 1, &f->store), ERR_OK);
    open_shelf(f);
    assert_int_equal(shelf_rebuild(f->shelf, &f->batch, NULL, NULL, NULL), ERR_OK);
    commit(f);
    struct store_snapshot *s = look(f);
    assert_int_equal(shelf_rebuild_tiers(f->shelf, s, &f->batch, NULL), ERR_OK);
    store_snapshot_close(f->store, &s);
    commit(f);
    s = look(f);
    compare(f, s, 0, 900000, 0, DAYS * 96, false, 0);
    compare(f, s, 0, 86400000, 0, DAYS, false, 0);
    store_snapshot_close(f->store, &s);
}

static void tiers_that_are_not_kept_are_refused(void **state) {
    struct fixture *f = *state;
    struct store_snapshot *s = look(f);
    const struct shelf_range range = {f->lanes[0], 1000, 0, DAY_MS, false};
    struct diag diag = {0};
    assert_int_equal(shelf_scan(f->shelf, s, &range, visit, NULL, &diag), ERR_RANGE);
    store_snapshot_close(f->store, &s);
}

static void flip(const struct fixture *f, uint64_t at) {
    char path[160];
    snprintf(path, sizeof path, "%s/candles.sealed.1m-0/%020d.log", f->folder, 0);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, (long)at, SEEK_SET), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, (long)at, SEEK_SET), 0);
    assert_int_equal(fputc(byte ^ 0x10, file), byte ^ 0x10);
    fclose(file);
}

/* How many days of both lanes cannot be read; what can be is as it was. */
static uint32_t rotten_days(struct fixture *f) {
    uint32_t rotten = 0;
    struct store_snapshot *s = look(f);
    for (int lane = 0; lane < 2; lane++)
        for (int day = 0; day < DAYS; day++) {
            struct walk w = {.rows = f->models[lane].rows, .has = f->models[lane].has, .at = day * 1440, .step = 1};
            w.until = w.at + 1440;
            const struct shelf_range range = {f->lanes[lane], 60000, START_MS + day * DAY_MS,
                                              START_MS + (day + 1) * DAY_MS, false};
            struct diag diag = {0};
            enum err err = shelf_scan(f->shelf, s, &range, visit, &w, &diag);
            if (err == ERR_OK) {
                assert_int_equal(w.at, w.until);
                continue;
            }
            rotten++;
            assert_int_equal(err, ERR_CORRUPT);
            if (strncmp(diag.where, "candles.sealed.1m-0/00000000000000000000.log at byte ", 53) != 0)
                fail_msg("no place is told: %s", diag.where);
        }
    store_snapshot_close(f->store, &s);
    return rotten;
}

static void a_rotten_block_is_named_and_its_neighbours_are_read(void **state) {
    struct fixture *f = *state;
    static struct candle rows[MINUTES];
    for (int lane = 0; lane < 2; lane++)
        for (int day = 0; day < DAYS; day++) { /* a batch each */
            for (int64_t i = day * 1440; i < (day + 1) * 1440; i++) {
                f->models[lane].rows[i] = rows[i] = make_row(&f->random, i, 0);
                f->models[lane].has[i] = true;
            }
            struct store_snapshot *s = look(f);
            assert_int_equal(shelf_seal(f->shelf, s, f->lanes[lane], rows + day * 1440, 1440, NULL), ERR_OK);
            assert_int_equal(shelf_flush(f->shelf, &f->batch, NULL), ERR_OK);
            store_snapshot_close(f->store, &s);
            commit(f);
        }
    struct log_partition *partition = NULL;
    assert_int_equal(log_partition_find(f->log, "candles.sealed.1m", 0, &partition), ERR_OK);
    uint64_t bytes = log_partition_bytes(partition);
    assert_int_equal(rotten_days(f), 0);
    for (uint64_t at = 30; at < bytes; at += bytes / 41) {
        shelf_close(&f->shelf);
        log_close(&f->log);
        flip(f, at);
        open_log(f);
        open_shelf(f);
        assert_int_equal(rotten_days(f), 1);
        flip(f, at);
    }
}

int main(void) {
#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
#define CASE_SIM(test) cmocka_unit_test_setup_teardown(test, setup_sim, teardown)
    const struct CMUnitTest tests[] = {
        CASE(what_is_put_is_read),
        CASE(sealed_and_open_rows_are_one),
        CASE(lanes_are_listed_once),
        CASE(a_load_of_many_days_is_sealed),
        CASE(rows_out_of_order_are_refused),
        CASE(loading_gives_what_sealing_gives),
        CASE(packing_here_gives_what_sealing_gives),
        CASE(months_that_are_over_are_blocks),
        CASE(the_index_is_made_anew),
        CASE(expired_rows_go),
        CASE(compaction_keeps_what_the_index_names),
        CASE_SIM(flushes_are_tried_again_on_a_full_disk),
        CASE_SIM(tombstones_are_tried_again_on_a_full_disk),
        CASE(tier_rows_outlive_what_they_were_made_of),
        CASE(tiers_that_are_not_kept_are_refused),
        CASE(a_rotten_block_is_named_and_its_neighbours_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
