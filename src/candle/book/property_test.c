/* A candle is a function of a set of trades: random sets, in random order, with duplicates, in random batches, over one or
 * two books, through crashes and replays, against a fold that sorts the set. Each failure names its seed. */
#include "base/splitmix.h"
#include "base/testing.h"
#include "candle/book/fixture.h"

enum { EVENTS_MAX = 400, SERIES_MAX = 3 };

struct random {
    uint64_t state;
};

static uint64_t next(struct random *r) { return splitmix_next(&r->state); }

static int64_t below(struct random *r, int64_t n) { return (int64_t)(next(r) % (uint64_t)n); }

/* --- random markets --- */

enum shape { DENSE, AGGREGATED, SPARSE, PRICES, SHAPES };

struct market {
    enum shape shape;
    uint32_t series;
    uint8_t basis;
    struct event events[EVENTS_MAX]; /* the set */
    uint32_t count;
};

static struct decimal canonical(__int128 mantissa, uint8_t scale) {
    return decimal_normalize((struct decimal){mantissa, scale});
}

static __int128 wide_number(struct random *r) { return (__int128)next(r) * (int64_t)(1 + below(r, 1000000)); }

/* Mostly a market's own few decimals; sometimes many, and sometimes numbers beyond 64 bits. */
static void set_numbers(struct random *r, struct event *e, int kind) {
    struct decimal price = canonical(1000000 + below(r, 5000), 4), quantity = canonical(below(r, 100000), 3);
    if (kind == 1 && below(r, 4) == 0) price = canonical(1000000000000 + below(r, 100000), 10);
    if (kind == 1 && below(r, 4) == 0) quantity = canonical(below(r, INT64_MAX), 18);
    if (kind == 2 && below(r, 3) == 0) price = canonical(wide_number(r) % 10000000000000, 6);
    if (kind == 2 && below(r, 3) == 0) quantity = canonical(wide_number(r) % ((__int128)100000 * 10000000000000), 2);
    if (kind == 3 && below(r, 8) == 0) quantity = canonical(wide_number(r), 6);
    e->price = price.mantissa;
    e->price_scale = price.scale;
    e->quantity = quantity.mantissa;
    e->quantity_scale = quantity.scale;
}

static void make_market(struct random *r, struct market *m, uint32_t count) {
    int numbers = (int)below(r, 4);
    const bool jitter = m->shape != PRICES && below(r, 3) == 0; /* ids and times do not agree to the second */
    int64_t id = below(r, 3) == 0 ? 0 : 1 + below(r, 1000), time = T0 + below(r, 3600000);
    int64_t pace = below(r, 3) == 0 ? 200000 : 1 + below(r, 20000);
    if (m->shape == SPARSE && pace > 20000) pace = 20000; /* within the horizon, so that none is late */
    m->count = 0;
    while (m->count < count) {
        struct event *e = &m->events[m->count];
        int64_t ids = m->shape == AGGREGATED ? 1 + below(r, 5) : 1;
        *e = (struct event){.series = m->series, .time_ms = time, .side = (uint8_t)(1 + below(r, 2))};
        if (jitter && below(r, 6) == 0) e->time_ms -= below(r, 3000);
        set_numbers(r, e, m->shape == PRICES ? numbers % 2 : numbers);
        if (m->shape == PRICES) {
            e->kind = EVENT_PRICE;
            e->side = EVENT_SIDE_NONE;
            e->quote_volume = below(r, 1000);
        } else {
            e->kind = m->shape == AGGREGATED ? EVENT_AGGREGATED_TRADE : EVENT_TRADE;
            e->first_id = id;
            e->last_id = id + ids - 1;
            e->filtered = m->shape != SPARSE && below(r, 20) == 0;
        }
        bool dropped = m->shape != PRICES && below(r, 30) == 0;
        m->count += !dropped;
        id += ids + (m->shape == SPARSE ? below(r, 50) : 0);
        time += below(r, 4) == 0 ? 0 : below(r, pace);
    }
}

/* --- the reference: slow and obvious --- */

static int64_t order_of(const struct market *m, const struct event *e, bool close) {
    return m->shape == PRICES ? 0 : close ? e->last_id : e->first_id;
}

/* Is `e` before the open held, or behind the close? */
static bool precedes(const struct market *m, const struct event *a, const struct event *b, bool close) {
    int64_t x = order_of(m, a, close), y = order_of(m, b, close);
    if (a->time_ms != b->time_ms) return a->time_ms < b->time_ms;
    if (x != y) return x < y;
    return decimal_compare(event_price(a), event_price(b)) < 0;
}

static bool id_seen(const struct market *m, int64_t id) {
    for (uint32_t i = 0; i < m->count; i++)
        if (m->events[i].first_id <= id && id <= m->events[i].last_id) return true;
    return false;
}

static bool same_event(const struct event *a, const struct event *b) { return memcmp(a, b, sizeof *a) == 0; }

static void add_decimal(struct decimal *sum, struct decimal value) {
    struct decimal result;
    assert_int_equal(decimal_add(*sum, value, &result), ERR_OK);
    *sum = decimal_normalize(result);
}

static void reference_minute(const struct market *m, int64_t start, struct candle *ret) {
    const struct event *open = NULL, *close = NULL;
    struct candle c = {.open_time_ms = start,
                       .close_time_ms = start + 59999,
                       .first_id = -1,
                       .last_id = -1,
                       .native_ms = 60000,
                       .basis = m->basis};
    for (uint32_t i = 0; i < m->count; i++) {
        const struct event *e = &m->events[i];
        bool again = false;
        if (e->filtered || e->time_ms < start || e->time_ms > start + 59999) continue;
        for (uint32_t j = 0; j < i; j++) again |= same_event(&m->events[j], e);
        if (again) continue;
        if (open == NULL || precedes(m, e, open, false)) open = e;
        if (close == NULL || precedes(m, close, e, true)) close = e;
        if (c.trades == 0 || decimal_compare(event_price(e), c.high) > 0) c.high = event_price(e);
        if (c.trades == 0 || decimal_compare(event_price(e), c.low) < 0) c.low = event_price(e);
        c.hash += event_hash(e);
        c.trades += m->shape == PRICES ? 1 : e->last_id - e->first_id + 1;
        if (m->shape == PRICES) continue;
        struct decimal product;
        assert_int_equal(decimal_multiply(event_price(e), event_quantity(e), &product), ERR_OK);
        add_decimal(&c.volume, event_quantity(e));
        add_decimal(&c.quote_volume, product);
        if (e->side == EVENT_TAKER_BUY) {
            add_decimal(&c.taker_buy_volume, event_quantity(e));
            add_decimal(&c.taker_buy_quote_volume, product);
        }
        if (c.first_id < 0 || e->first_id < c.first_id) c.first_id = e->first_id;
        if (e->last_id > c.last_id) c.last_id = e->last_id;
    }
    if (open != NULL) {
        c.open = event_price(open);
        c.close = event_price(close);
        c.open_mark = (struct candle_mark){open->time_ms, order_of(m, open, false)};
        c.close_mark = (struct candle_mark){close->time_ms, order_of(m, close, true)};
    }
    *ret = c;
}

static uint8_t reference_coverage(const struct market *m, const struct candle *c, int64_t max_id) {
    if (m->shape == PRICES || m->shape == SPARSE) return COVERAGE_TRADED;
    int64_t from = c->first_id == 0 ? 0 : c->first_id - 1, to = c->last_id == max_id ? max_id : c->last_id + 1;
    for (int64_t id = from; id <= to; id++)
        if (!id_seen(m, id)) return COVERAGE_PARTIAL;
    return COVERAGE_TRADED;
}

/* Between two trades that follow each other in the ids, all filtered ones between them seen. */
static bool reference_quiet(const struct market *m, int64_t start) {
    const struct event *before = NULL, *after = NULL;
    if (m->shape == PRICES || m->shape == SPARSE) return false;
    for (uint32_t i = 0; i < m->count; i++) {
        const struct event *e = &m->events[i];
        if (e->filtered) continue;
        if (e->time_ms < start && (before == NULL || e->last_id > before->last_id)) before = e;
        if (e->time_ms > start + 59999 && (after == NULL || e->first_id < after->first_id)) after = e;
    }
    if (before == NULL || after == NULL) return false;
    for (int64_t id = before->last_id; id <= after->first_id; id++)
        if (!id_seen(m, id)) return false;
    return true;
}

static struct scanned reference(const struct market *m) {
    struct scanned rows = {0};
    int64_t first = INT64_MAX, last = 0, max_id = -1;
    for (uint32_t i = 0; i < m->count; i++) {
        if (m->events[i].last_id > max_id) max_id = m->events[i].last_id;
        if (m->events[i].time_ms < first) first = m->events[i].time_ms;
        if (m->events[i].time_ms > last) last = m->events[i].time_ms;
    }
    for (int64_t start = first - first % 60000; start <= last; start += 60000) {
        struct candle c;
        reference_minute(m, start, &c);
        if (c.trades > 0) {
            c.coverage = reference_coverage(m, &c, max_id);
        } else {
            if (rows.count == 0 || !reference_quiet(m, start)) continue;
            c.open = c.high = c.low = c.close = rows.rows[rows.count - 1].close;
            c.open_mark = c.close_mark = (struct candle_mark){start, 0};
            c.coverage = COVERAGE_QUIET;
        }
        c.covered_minutes = c.coverage >= COVERAGE_QUIET;
        scanned_add(&rows, &c);
    }
    return rows;
}

/* --- arrivals --- */

struct arrivals {
    struct event events[EVENTS_MAX * 3 * SERIES_MAX];
    uint32_t count;
};

static int compare_arrivals(const void *a, const void *b) {
    const struct event *x = a, *y = b; /* the place in line was left in `reserved` order: time is the key */
    return (x->time_ms > y->time_ms) - (x->time_ms < y->time_ms);
}

/* Ids: any order. Prices: sorted by time plus up to `grace`, which keeps every event within it. */
static void arrive(struct random *r, struct market *markets, uint32_t market_count, struct arrivals *out) {
    out->count = 0;
    for (uint32_t k = 0; k < market_count; k++) {
        uint32_t begin = out->count;
        struct market *m = &markets[k];
        for (uint32_t i = 0; i < m->count; i++) {
            int copies = below(r, 6) == 0 ? 2 + (int)below(r, 2) : 1;
            while (copies-- > 0) out->events[out->count++] = m->events[i];
        }
        struct event *events = out->events + begin;
        uint32_t count = out->count - begin;
        if (m->shape == PRICES) {
            for (uint32_t i = 0; i < count; i++) events[i].time_ms = events[i].time_ms * 16384 + below(r, 10000);
            for (uint32_t i = 0; i < count; i++)
                events[i].time_ms =
                    (events[i].time_ms / 16384 + events[i].time_ms % 16384) * 16384 + events[i].time_ms % 16384;
            qsort(events, count, sizeof *events, compare_arrivals);
            for (uint32_t i = 0; i < count; i++)
                events[i].time_ms = events[i].time_ms / 16384 - events[i].time_ms % 16384;
        } else if (below(r, 3) > 0) {
            int64_t reach = below(r, 2) == 0 ? count : 1 + below(r, 8);
            for (uint32_t i = 0; i + 1 < count; i++) {
                int64_t left = count - i;
                uint32_t j = i + (uint32_t)below(r, reach < left ? reach : left);
                struct event swap = events[i];
                events[i] = events[j];
                events[j] = swap;
            }
        }
    }
    /* Merges the markets at random, keeping each one's own order. */
    if (market_count < 2) return;
    struct arrivals *merged = malloc(sizeof *merged);
    uint32_t at[SERIES_MAX] = {0}, end[SERIES_MAX], begin = 0;
    merged->count = 0;
    for (uint32_t k = 0; k < market_count; k++) {
        at[k] = begin;
        while (begin < out->count && out->events[begin].series == markets[k].series &&
               (out->events[begin].kind == markets[k].events[0].kind))
            begin++;
        end[k] = begin;
    }
    while (merged->count < out->count) {
        uint32_t k = (uint32_t)below(r, market_count);
        if (at[k] < end[k]) merged->events[merged->count++] = out->events[at[k]++];
    }
    memcpy(out, merged, sizeof *merged);
    free(merged);
}

static void check_rows(const struct market *m, const struct scanned *rows, uint64_t seed, const char *how) {
    struct scanned expected = reference(m);
    const char *difference = expected.count == rows->count ? NULL : "number of rows";
    int64_t at = -1;
    for (uint32_t i = 0; i < expected.count && i < rows->count; i++) {
        const char *d = row_difference(&expected.rows[i], &rows->rows[i]);
        if (d == NULL) continue;
        difference = d;
        at = expected.rows[i].open_time_ms;
        break;
    }
    if (difference != NULL)
        fail_msg("seed %llu, %s, shape %d: %s differs at %lld (%u rows, %u expected)", (unsigned long long)seed, how,
                 m->shape, difference, (long long)at, rows->count, expected.count);
    free(expected.rows);
}

static void check_book(struct book *book, const struct market *m, uint64_t seed, const char *how) {
    struct scanned rows = scan_book(book, m->series, m->basis);
    check_rows(m, &rows, seed, how);
    free(rows.rows);
}

static enum err ignore_change(void *context, const struct book_changed *changed) {
    (void)changed;
    ++*(uint64_t *)context;
    return ERR_OK;
}

/* Trades and aggregated trades of one pair are two lanes of one series. */
static bool beside_the_first(const struct market *markets, uint32_t k) {
    const enum shape a = markets[0].shape, b = markets[k].shape;
    return k == 1 && (a == DENSE || a == AGGREGATED) && (b == DENSE || b == AGGREGATED) && a != b;
}

static struct market *make_markets(struct random *r, struct series_table *table, uint32_t count, uint32_t events) {
    static const char *const venues[SHAPES] = {"binance", "binance", "huobi", "desk"};
    struct market *markets = calloc(count, sizeof *markets);
    for (uint32_t k = 0; k < count; k++) {
        struct market *m = &markets[k];
        char base[16];
        m->shape = (enum shape)below(r, SHAPES);
        snprintf(base, sizeof base, "C%u", beside_the_first(markets, k) ? 0 : k);
        m->basis = m->shape == PRICES ? BASIS_PRICES : m->shape == AGGREGATED ? BASIS_AGGREGATED : BASIS_TRADES;
        m->series = series_of(table, venues[m->shape], base, m->shape == PRICES ? SERIES_PRICE : SERIES_TRADE);
        make_market(r, m, 2 + (uint32_t)below(r, events));
    }
    return markets;
}

/* Folds in random batches, looking at the changes and moving the clock in between: neither may show. */
static void fold(struct random *r, struct book *book, const struct arrivals *arrivals, uint32_t from, uint32_t to,
                 struct book_counts *counts) {
    struct diag diag = {0};
    uint64_t changes = 0;
    while (from < to) {
        uint32_t n = 1 + (uint32_t)below(r, 40);
        if (n > to - from) n = to - from;
        int64_t offsets[40];
        for (uint32_t i = 0; i < n; i++) offsets[i] = from + i;
        assert_int_equal(book_apply(book, arrivals->events + from, offsets, n, NULL, counts, &diag), ERR_OK);
        if (below(r, 3) == 0)
            assert_int_equal(book_clock(book, arrivals->events[from].time_ms + below(r, 30000), &diag), ERR_OK);
        if (below(r, 3) == 0) assert_int_equal(book_changes(book, ignore_change, &changes), ERR_OK);
        from += n;
    }
}

static void check_ledger(const struct market *markets, uint32_t market_count, uint32_t arrived,
                         const struct book_counts *counts, uint64_t seed) {
    uint64_t sum = 0, used = 0, filtered = 0;
    for (int f = 0; f < FATE_COUNT; f++) sum += counts->fate[f];
    for (uint32_t k = 0; k < market_count; k++)
        for (uint32_t i = 0; i < markets[k].count; i++) {
            bool again = false;
            for (uint32_t j = 0; j < i && markets[k].shape == PRICES; j++)
                again |= same_event(&markets[k].events[i], &markets[k].events[j]);
            if (again) continue;
            used += !markets[k].events[i].filtered;
            filtered += markets[k].events[i].filtered;
        }
    if (counts->read != arrived || sum != arrived || counts->fate[FATE_USED] != used ||
        counts->fate[FATE_FILTERED] != filtered || counts->fate[FATE_DUPLICATE] != arrived - used - filtered)
        fail_msg("seed %llu: the ledger does not balance: read %llu, used %llu of %llu, duplicate %llu, late %llu",
                 (unsigned long long)seed, (unsigned long long)counts->read,
                 (unsigned long long)counts->fate[FATE_USED], (unsigned long long)used,
                 (unsigned long long)counts->fate[FATE_DUPLICATE], (unsigned long long)counts->fate[FATE_LATE]);
}

static void test_any_order(void **state) {
    (void)state;
    struct arrivals *arrivals = malloc(sizeof *arrivals);
    for (uint64_t seed = 1; seed <= testing_seeds(3000); seed++) {
        struct random r = {seed};
        struct series_table *table;
        assert_int_equal(series_table_open(&table), ERR_OK);
        struct market *m = make_markets(&r, table, 1, 150);
        struct book *book = book_of(table);
        struct book_counts counts = {0};
        arrive(&r, m, 1, arrivals);
        fold(&r, book, arrivals, 0, arrivals->count, &counts);
        check_book(book, m, seed, "any order");
        check_ledger(m, 1, arrivals->count, &counts, seed);
        book_close(&book);
        series_table_close(&table);
        free(m);
    }
    free(arrivals);
}

static void test_two_workers(void **state) {
    (void)state;
    struct arrivals *arrivals = malloc(sizeof *arrivals), *half = malloc(sizeof *half);
    for (uint64_t seed = 1; seed <= testing_seeds(2000); seed++) {
        struct random r = {seed * 7919};
        struct series_table *table;
        assert_int_equal(series_table_open(&table), ERR_OK);
        struct market *m = make_markets(&r, table, SERIES_MAX, 80);
        struct book_counts counts = {0};
        arrive(&r, m, SERIES_MAX, arrivals);
        for (uint32_t worker = 0; worker < 2; worker++) {
            struct book *book = book_of(table);
            half->count = 0;
            for (uint32_t i = 0; i < arrivals->count; i++)
                if (arrivals->events[i].series % 2 == worker) half->events[half->count++] = arrivals->events[i];
            fold(&r, book, half, 0, half->count, &counts);
            for (uint32_t k = 0; k < SERIES_MAX; k++)
                if (m[k].series % 2 == worker) check_book(book, &m[k], seed, "two workers");
            book_close(&book);
        }
        check_ledger(m, SERIES_MAX, arrivals->count, &counts, seed);
        series_table_close(&table);
        free(m);
    }
    free(arrivals);
    free(half);
}

/* --- crashes --- */

struct world {
    struct series_table *table;
    struct store *store;
    struct shelf shelf;
    struct book *book;
    uint32_t checkpoint; /* input folded in the last durable checkpoint */
    struct book_counts checkpoint_counts;
    struct store_snapshot *snapshot; /* of the checkpoint under way; NULL: none is */
    struct store_batch batch;
    uint32_t begun;
    struct book_counts begun_counts;
};

static void open_world_book(struct world *w) {
    struct diag diag = {0};
    struct book_options options = {
        .series = w->table, .shelf = &w->shelf, .store = w->store, .task = "candles/test/0", .base_ms = 60000};
    if (book_open(&options, &diag, &w->book) != ERR_OK) fail_msg("book_open: %s", diag.what);
}

/* A checkpoint is of what is folded when it begins, however much is folded between its parts. */
static void checkpoint_begin(struct world *w, uint32_t folded, const struct book_counts *counts) {
    struct diag diag = {0};
    store_batch_init(&w->batch, 1 << 26);
    assert_int_equal(store_snapshot_open(w->store, &w->snapshot), ERR_OK);
    assert_int_equal(book_freeze_begin(w->book, w->snapshot, &w->batch, &diag), ERR_OK);
    w->begun = folded;
    w->begun_counts = *counts;
}

static void checkpoint_go_on(struct world *w, uint32_t lanes) {
    uint32_t left;
    struct diag diag = {0};
    assert_int_equal(book_freeze_some(w->book, lanes, &diag, &left), ERR_OK);
    if (left > 0) return;
    store_snapshot_close(w->store, &w->snapshot);
    const struct store_batch *batches[] = {&w->batch};
    assert_int_equal(store_commit(w->store, batches, 1, w->begun + 1, &diag), ERR_OK);
    store_batch_deinit(&w->batch);
    fake_commit(&w->shelf);
    book_committed(w->book);
    w->checkpoint = w->begun;
    w->checkpoint_counts = w->begun_counts;
}

/* What is not in the checkpoint is read again. */
static void crash(struct world *w) {
    book_close(&w->book);
    w->shelf.pending.count = 0;
    if (w->snapshot != NULL) {
        store_snapshot_close(w->store, &w->snapshot);
        store_batch_deinit(&w->batch);
    }
    open_world_book(w);
}

/* Rows of the book over those of the shelf, as a reader merges them. */
static void check_world(struct world *w, const struct market *m, uint64_t seed) {
    struct scanned newer = scan_book(w->book, m->series, m->basis), rows = {0};
    struct fake_rows all = {0};
    for (uint32_t i = 0; i < w->shelf.stored.count; i++) fake_insert(&all, &w->shelf.stored.rows[i]);
    for (uint32_t i = 0; i < newer.count; i++) {
        struct fake_row row = {{m->series, m->basis}, newer.rows[i]};
        fake_insert(&all, &row);
    }
    for (uint32_t i = 0; i < all.count; i++)
        if (all.rows[i].lane.series == m->series && all.rows[i].lane.basis == m->basis)
            scanned_add(&rows, &all.rows[i].candle);
    check_rows(m, &rows, seed, "crashes");
    free(newer.rows);
    free(all.rows);
    free(rows.rows);
}

static void test_crashes(void **state) {
    (void)state;
    struct arrivals *arrivals = malloc(sizeof *arrivals);
    for (uint64_t seed = 1; seed <= testing_seeds(2000); seed++) {
        struct random r = {seed * 104729};
        struct world w = {0};
        struct book_counts counts = {0};
        assert_int_equal(series_table_open(&w.table), ERR_OK);
        const enum store_memory_mode mode = seed % 2 == 0 ? STORE_MEMORY_ROW_BY_ROW : STORE_MEMORY_TRANSACTIONAL;
        assert_int_equal(store_memory_open(mode, seed, &w.store), ERR_OK);
        struct market *m = make_markets(&r, w.table, SERIES_MAX, 80);
        arrive(&r, m, SERIES_MAX, arrivals);
        open_world_book(&w);
        for (uint32_t at = 0; at < arrivals->count;) {
            uint32_t to = at + 1 + (uint32_t)below(&r, 60);
            if (to > arrivals->count) to = arrivals->count;
            fold(&r, w.book, arrivals, at, to, &counts);
            at = to;
            if (w.snapshot == NULL && below(&r, 2) == 0) checkpoint_begin(&w, at, &counts);
            if (w.snapshot != NULL) checkpoint_go_on(&w, (uint32_t)below(&r, SERIES_MAX + 1));
            if (below(&r, 5) > 0) continue;
            crash(&w);
            at = w.checkpoint;
            counts = w.checkpoint_counts;
        }
        while (w.snapshot != NULL) checkpoint_go_on(&w, 1);
        check_ledger(m, SERIES_MAX, arrivals->count, &counts, seed);
        for (uint32_t k = 0; k < SERIES_MAX; k++) check_world(&w, &m[k], seed);
        book_close(&w.book);
        store_close(&w.store);
        fake_close(&w.shelf);
        series_table_close(&w.table);
        free(m);
    }
    free(arrivals);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_any_order), cmocka_unit_test(test_two_workers),
                                       cmocka_unit_test(test_crashes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
