/* Reads of random worlds, compared with a definition in plain loops. Shelf, book and store are small fakes here. */
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

enum { MINUTE = 60000, DAY = 86400000, QUARTER = 900000, DAYS = 12, MINUTES = DAYS * 1440 };
static const int64_t world_start = INT64_C(1711756800000); /* 2024-03-30: Berlin's clock changes the day after */

/* --- the fakes: a world of minutes --- */

struct fake_lane {
    bool stored[MINUTES], in_book[MINUTES];
    struct candle shelf_rows[MINUTES], book_rows[MINUTES];
    int64_t sealed_ms, reopened_ms, watermark_ms;
    uint32_t grace_ms; /* as the book has it, whatever the series says */
};
static struct fake_world {
    struct fake_lane lanes[BASIS_COUNT];
    int64_t expired_base_ms, expired_quarter_ms; /* rows before are gone */
    unsigned scans;
    uint64_t visited;
} * world;

static int64_t minute_time(unsigned i) { return world_start + (int64_t)i * MINUTE; }

static enum err give(candle_visit visit, void *context, const struct candle *row, bool *stop) {
    world->visited++;
    enum err err = visit(context, row);
    *stop = err != ERR_OK;
    return err == ERR_END ? ERR_OK : err;
}

/* Units of `step` from the start of the world that begin in the range. */
static void bounds(const struct shelf_range *range, int64_t step, int64_t *ret_first, int64_t *ret_end) {
    int64_t all = DAYS * (DAY / step), from = range->from_ms - world_start, to = range->to_ms - world_start;
    *ret_first = from <= 0 ? 0 : (from + step - 1) / step;
    *ret_end = to <= 0 ? 0 : to > all * step ? all : (to + step - 1) / step;
}

static enum err scan_minutes(const bool *have, const struct candle *rows, const struct shelf_range *range,
                             candle_visit visit, void *context) {
    int64_t first, end;
    bounds(range, MINUTE, &first, &end);
    for (int64_t k = first; k < end; k++) {
        int64_t i = range->descending ? end - 1 - (k - first) : k;
        if (!have[i]) continue;
        bool stop;
        enum err err = give(visit, context, &rows[i], &stop);
        if (stop) return err;
    }
    return ERR_OK;
}

/* A tier row as sealing makes it. */
static bool tier_row(const struct fake_lane *lane, int64_t start, uint32_t tier, struct candle *ret_row) {
    bool any = false;
    for (unsigned i = (unsigned)((start - world_start) / MINUTE), n = tier / MINUTE; n > 0; i++, n--) {
        if (i >= MINUTES || !lane->stored[i]) continue;
        if (!any)
            *ret_row = lane->shelf_rows[i];
        else
            assert_int_equal(candle_merge(ret_row, &lane->shelf_rows[i]), ERR_OK);
        any = true;
    }
    ret_row->open_time_ms = start;
    ret_row->close_time_ms = start + tier - 1;
    ret_row->native_ms = tier;
    return any;
}

enum err shelf_scan(struct shelf *shelf, struct store_snapshot *snapshot, const struct shelf_range *range,
                    candle_visit visit, void *context, struct diag *diag) {
    (void)shelf, (void)diag;
    assert_non_null(snapshot);
    assert_true(range->from_ms >= 0);
    world->scans++;
    const struct fake_lane *lane = &world->lanes[range->lane.basis];
    struct shelf_range kept = *range;
    if (range->tier_ms == MINUTE) {
        if (kept.from_ms < world->expired_base_ms) kept.from_ms = world->expired_base_ms;
        return scan_minutes(lane->stored, lane->shelf_rows, &kept, visit, context);
    }
    if (range->tier_ms == QUARTER && kept.from_ms < world->expired_quarter_ms) kept.from_ms = world->expired_quarter_ms;
    assert_int_equal(range->from_ms % range->tier_ms, 0);
    int64_t first, end;
    bounds(&kept, range->tier_ms, &first, &end);
    for (int64_t k = first; k < end; k++) {
        int64_t start = world_start + (range->descending ? end - 1 - (k - first) : k) * range->tier_ms;
        struct candle row = {0};
        if (start >= lane->sealed_ms) continue;
        if (!tier_row(lane, start, range->tier_ms, &row)) continue;
        bool stop;
        enum err err = give(visit, context, &row, &stop);
        if (stop) return err;
    }
    return ERR_OK;
}

/* Units of an hour are open unless their day is sealed and was not opened again. */
enum err shelf_bounds(struct shelf *shelf, struct store_snapshot *snapshot, struct lane lane,
                      struct shelf_bounds *ret_bounds) {
    (void)shelf;
    assert_non_null(snapshot);
    const struct fake_lane *own = &world->lanes[lane.basis];
    *ret_bounds = (struct shelf_bounds){own->sealed_ms, own->reopened_ms, INT64_MAX, INT64_MIN};
    for (unsigned i = 0; i < MINUTES; i++) {
        int64_t time = minute_time(i);
        if (!own->stored[i] || time < world->expired_base_ms) continue;
        ret_bounds->end_ms = time + MINUTE;
        if (time >= own->sealed_ms && ret_bounds->open_ms == INT64_MAX) ret_bounds->open_ms = time - time % 3600000;
    }
    return ERR_OK;
}

/* Rows from the reopened day on are all open here. */
enum err shelf_open_day(struct shelf *shelf, struct store_snapshot *snapshot, struct lane lane, int64_t from_ms,
                        int64_t *ret_day_ms) {
    (void)shelf;
    assert_non_null(snapshot);
    const struct fake_lane *own = &world->lanes[lane.basis];
    int64_t day_ms = from_ms < own->reopened_ms ? own->reopened_ms : from_ms;
    for (unsigned i = 0; i < MINUTES; i++) {
        int64_t time = minute_time(i);
        if (!own->stored[i] || time < from_ms || time < own->sealed_ms) continue;
        if (time - time % DAY < day_ms) day_ms = time - time % DAY;
        break;
    }
    *ret_day_ms = day_ms;
    return ERR_OK;
}

enum err shelf_has_expired(struct shelf *shelf, struct store_snapshot *snapshot, struct lane lane, int64_t day_ms,
                           bool *ret_expired) {
    (void)shelf, (void)snapshot, (void)lane;
    *ret_expired = day_ms < world->expired_base_ms;
    return ERR_OK;
}

enum err shelf_kept_from(struct shelf *shelf, struct store_snapshot *snapshot, struct lane lane, int64_t *ret_ms) {
    (void)shelf, (void)snapshot, (void)lane;
    *ret_ms = INT64_MIN;
    return ERR_OK;
}

enum err book_scan(struct book *book, const struct shelf_range *range, candle_visit visit, void *context) {
    (void)book;
    assert_int_equal(range->tier_ms, MINUTE);
    const struct fake_lane *lane = &world->lanes[range->lane.basis];
    return scan_minutes(lane->in_book, lane->book_rows, range, visit, context);
}

enum err book_lane(struct book *book, struct lane lane, struct book_lane_info *ret_info) {
    (void)book;
    if (world->lanes[lane.basis].watermark_ms == 0) return ERR_NOT_FOUND;
    *ret_info = (struct book_lane_info){.watermark_ms = world->lanes[lane.basis].watermark_ms,
                                        .grace_ms = world->lanes[lane.basis].grace_ms};
    return ERR_OK;
}

static int open_snapshots;
enum err store_snapshot_open(struct store *store, struct store_snapshot **ret_snapshot) {
    open_snapshots++;
    *ret_snapshot = (struct store_snapshot *)store;
    return ERR_OK;
}
void store_snapshot_close(struct store *store, struct store_snapshot **snapshot) {
    (void)store;
    assert_non_null(*snapshot);
    open_snapshots--;
    *snapshot = NULL;
}

/* --- random worlds --- */

static struct decimal price(void) { return (struct decimal){(__int128)(900 + below(200)), (uint8_t)below(3)}; }

static struct candle random_row(unsigned i, uint8_t basis, int64_t *id) {
    struct candle c = {.open_time_ms = minute_time(i), .close_time_ms = minute_time(i) + MINUTE - 1};
    c.open = price(), c.close = price(), c.high = c.open, c.low = c.open;
    if (decimal_compare(c.close, c.high) > 0) c.high = c.close;
    if (decimal_compare(c.close, c.low) < 0) c.low = c.close;
    c.trades = 1 + below(50);
    c.volume = (struct decimal){(__int128)(1 + below(100000)), (uint8_t)below(8)};
    c.quote_volume = (struct decimal){(__int128)below(100000), 2};
    c.first_id = c.last_id = -1;
    if (basis <= BASIS_AGGREGATED) {
        c.first_id = *id + 1;
        c.last_id = *id + c.trades;
        *id = c.last_id + (below(6) == 0 ? below(3) : 0); /* now and then a hole */
    }
    c.last_offset = (int64_t)i;
    c.hash = random_next();
    c.native_ms = MINUTE;
    c.coverage = below(12) == 0 ? COVERAGE_PARTIAL : COVERAGE_TRADED;
    c.covered_minutes = c.coverage >= COVERAGE_QUIET;
    c.basis = basis;
    c.final = c.coverage == COVERAGE_TRADED ? CANDLE_FINAL_PROVEN : CANDLE_FINAL_CLOCK;
    c.revision = below(20) == 0;
    return c;
}

static void random_lane(uint8_t basis) {
    struct fake_lane *lane = &world->lanes[basis];
    int64_t id = 1000;
    unsigned density = 1 + below(100), first = below(MINUTES), last = first + below(MINUTES - first + 1);
    if (below(2)) last = MINUTES;
    bool run = true;
    unsigned sealed_days = below(4) == 0 ? DAYS : below(DAYS + 1);
    lane->sealed_ms = sealed_days == 0 ? INT64_MIN : world_start + (int64_t)sealed_days * DAY;
    lane->reopened_ms = INT64_MAX;
    unsigned book_from = below(3) == 0 ? below(MINUTES) : MINUTES - below(300);
    bool all_in_book = below(2);
    for (unsigned i = first; i < last; i++) {
        if (below(200) == 0) run = !run;
        if (!run || below(100) >= density) continue;
        struct candle row = random_row(i, basis, &id);
        bool book = i >= book_from && (all_in_book || below(4) > 0);
        if (book) lane->in_book[i] = true, lane->book_rows[i] = row;
        if (book && below(2) == 0) row = random_row(i, basis, &(int64_t){row.first_id - 1}); /* an older version */
        if (!book || below(2) == 0) lane->stored[i] = true, lane->shelf_rows[i] = row;
    }
    if (sealed_days > 0 && below(4) == 0) lane->reopened_ms = world_start + (int64_t)below(sealed_days) * DAY;
    lane->grace_ms = below(3) * 45000;
    lane->watermark_ms = minute_time(last) + lane->grace_ms;
}

static void random_world(uint64_t seed) {
    random_state = seed;
    memset(world, 0, sizeof *world);
    unsigned mask = below(8) == 0 ? 1u << BASIS_PRICES : 1 + below(7);
    for (uint8_t basis = 0; basis < BASIS_COUNT; basis++) {
        world->lanes[basis].sealed_ms = INT64_MIN;
        world->lanes[basis].reopened_ms = INT64_MAX;
        if (mask >> basis & 1) random_lane(basis);
    }
}

/* --- a slice of the fake book: what its header promises, and nothing more --- */

static struct candle_slice slice;

static void slice_add(uint8_t basis, unsigned i) {
    assert_int_equal(candle_rows_add(&slice.lanes[basis].rows, &world->lanes[basis].book_rows[i]), ERR_OK);
}

static void slice_before(uint8_t basis, unsigned from, bool dense) {
    const struct fake_lane *lane = &world->lanes[basis];
    unsigned first = from, found = from;
    while (first > 0 && (found == from || (dense && lane->book_rows[found].last_id < 0)))
        if (lane->in_book[--first]) found = first;
    for (unsigned i = found; i < from; i++)
        if (lane->in_book[i]) slice_add(basis, i);
}

static void take_lane(uint8_t basis, unsigned from, unsigned to, bool dense) {
    const struct fake_lane *lane = &world->lanes[basis];
    unsigned last = MINUTES, whole = MINUTES;
    slice.lanes[basis].rows.count = 0;
    slice.lanes[basis].known = true;
    slice.lanes[basis].watermark_ms = lane->watermark_ms;
    slice.lanes[basis].grace_ms = lane->grace_ms;
    slice_before(basis, from, dense);
    for (; from < MINUTES && (from < to || last == MINUTES); from++) {
        if (!lane->in_book[from]) continue;
        slice_add(basis, from);
        if (from >= to) last = from;
    }
    for (unsigned i = MINUTES; i-- > from;)
        if (lane->in_book[i]) {
            slice_add(basis, i);
            break;
        }
    while (whole > 0 && (lane->in_book[whole - 1] || !lane->stored[whole - 1])) whole--;
    slice.lanes[basis].whole_from_ms = whole == 0 ? INT64_MIN : minute_time(whole);
}

static unsigned minute_at(int64_t time_ms) {
    if (time_ms <= world_start) return 0;
    return time_ms >= minute_time(MINUTES) ? MINUTES : (unsigned)((time_ms - world_start) / MINUTE);
}

static void take_slice(const struct candle_query *q, bool dense) {
    int64_t from, to;
    candle_query_span(q, &from, &to);
    for (uint8_t basis = 0; basis < BASIS_COUNT; basis++)
        take_lane(basis, minute_at(from), minute_at(to), dense && basis <= BASIS_AGGREGATED);
}

/* --- the definition --- */

static bool lane_minute(const struct fake_lane *lane, unsigned i, struct candle *ret_row) {
    if (lane->in_book[i]) *ret_row = lane->book_rows[i];
    if (!lane->in_book[i] && lane->stored[i]) *ret_row = lane->shelf_rows[i];
    return lane->in_book[i] || lane->stored[i];
}

/* The nearest rows of a lane before and behind each minute; -1 and MINUTES where there are none. */
static int row_before[BASIS_COUNT][MINUTES], row_behind[BASIS_COUNT][MINUTES];

static void find_neighbours(uint8_t basis) {
    const struct fake_lane *lane = &world->lanes[basis];
    int last = -1, next = MINUTES;
    for (int i = 0; i < MINUTES; i++) {
        row_before[basis][i] = last;
        if (lane->in_book[i] || lane->stored[i]) last = i;
    }
    for (int i = MINUTES - 1; i >= 0; i--) {
        row_behind[basis][i] = next;
        if (lane->in_book[i] || lane->stored[i]) next = i;
    }
}

static bool quiet_minute(uint8_t basis, unsigned i, struct candle *ret_row) {
    struct candle before = {0}, after = {0};
    int a = row_before[basis][i], b = row_behind[basis][i];
    if (a < 0 || b == MINUTES) return false;
    assert_true(lane_minute(&world->lanes[basis], (unsigned)a, &before));
    assert_true(lane_minute(&world->lanes[basis], (unsigned)b, &after));
    if (before.last_id < 0 || after.first_id != before.last_id + 1) return false;
    *ret_row = (struct candle){.open_time_ms = minute_time(i), .close_time_ms = minute_time(i) + MINUTE - 1};
    ret_row->open = ret_row->high = ret_row->low = ret_row->close = before.close;
    ret_row->first_id = ret_row->last_id = ret_row->last_offset = -1;
    ret_row->covered_minutes = 1, ret_row->native_ms = MINUTE, ret_row->coverage = COVERAGE_QUIET;
    ret_row->basis = before.basis, ret_row->final = CANDLE_FINAL_PROVEN;
    return true;
}

static bool best_minute(unsigned i, bool dense, struct candle *ret_row) {
    bool found = false, complete = false;
    for (uint8_t basis = 0; basis < BASIS_COUNT; basis++) {
        struct candle row;
        const struct fake_lane *lane = &world->lanes[basis];
        if (!lane_minute(lane, i, &row) && !(dense && basis <= BASIS_AGGREGATED && quiet_minute(basis, i, &row)))
            continue;
        bool whole = row.coverage >= COVERAGE_QUIET;
        if (complete || (found && !whole && row.trades <= ret_row->trades)) continue;
        *ret_row = row;
        found = true;
        complete = whole;
    }
    return found;
}

static struct candle minutes[MINUTES];
static bool have[MINUTES];
static int64_t last_minute_ms;

static int64_t closed_until(void) {
    int64_t until = INT64_MIN;
    for (uint8_t basis = 0; basis < BASIS_COUNT; basis++) {
        const struct fake_lane *lane = &world->lanes[basis];
        if (lane->sealed_ms > until) until = lane->sealed_ms;
        if (lane->watermark_ms == 0) continue;
        int64_t over = lane->watermark_ms - lane->grace_ms;
        if (over > until) until = over;
    }
    return until;
}

struct result {
    struct candle *rows;
    uint32_t count, capacity;
};

static enum err add_result(void *context, const struct candle *row) {
    struct result *r = context;
    if (r->count == r->capacity) {
        r->capacity = r->capacity ? r->capacity * 2 : 64;
        r->rows = realloc(r->rows, r->capacity * sizeof *r->rows);
        assert_non_null(r->rows);
    }
    r->rows[r->count++] = *row;
    return ERR_OK;
}

static void finish(struct candle *sum, int64_t start, int64_t end, int64_t last, int64_t covered) {
    bool over = end <= closed_until() || last_minute_ms >= end || last == end;
    if (covered * MINUTE < (over ? end : last) - start) {
        if (sum->coverage >= COVERAGE_QUIET) sum->coverage = COVERAGE_PARTIAL;
        if (sum->final == CANDLE_FINAL_PROVEN) sum->final = CANDLE_FINAL_CLOCK;
    }
    if (!over) sum->final = CANDLE_OPEN;
    sum->open_time_ms = start;
    sum->close_time_ms = end - 1;
}

static void define(const struct candle_query *q, bool dense, struct result *result) {
    int64_t start = 0, end = INT64_MIN, last = 0, covered = 0;
    struct candle sum;
    bool active = false;
    last_minute_ms = INT64_MIN;
    for (uint8_t basis = 0; basis < BASIS_COUNT; basis++) find_neighbours(basis);
    for (unsigned i = 0; i < MINUTES; i++) {
        have[i] = best_minute(i, dense, &minutes[i]);
        if (have[i]) last_minute_ms = minute_time(i);
    }
    for (unsigned i = 0; i < MINUTES; i++) {
        if (!have[i]) continue;
        if (minute_time(i) >= end) {
            if (active) finish(&sum, start, end, last, covered), add_result(result, &sum);
            interval_bucket(q->interval, &q->origin, minute_time(i), &start, &end);
            active = start >= q->from_ms && start < q->to_ms;
            sum = minutes[i];
            covered = minutes[i].covered_minutes;
        } else if (active) {
            assert_int_equal(candle_merge(&sum, &minutes[i]), ERR_OK);
            covered += minutes[i].covered_minutes;
        }
        last = minute_time(i) + MINUTE;
    }
    if (active) finish(&sum, start, end, last, covered), add_result(result, &sum);
    if (q->limit == 0 || result->count <= q->limit) return;
    if (q->newest) memmove(result->rows, result->rows + result->count - q->limit, q->limit * sizeof *result->rows);
    result->count = q->limit;
}

/* --- comparing --- */

static void assert_same(const struct candle *got, const struct candle *want, uint64_t seed) {
    char at[CIVIL_TEXT_MAX];
    civil_format(want->open_time_ms, at);
    if (got->open_time_ms != want->open_time_ms || got->close_time_ms != want->close_time_ms)
        fail_msg("seed %lu: %ld instead of %s", (unsigned long)seed, (long)got->open_time_ms, at);
    const struct decimal *x = &got->open, *y = &want->open;
    for (unsigned i = 0; i < 8; i++)
        if (!decimal_equal(x[i], y[i])) fail_msg("seed %lu: decimal %u at %s", (unsigned long)seed, i, at);
    if (got->trades != want->trades || got->hash != want->hash || got->first_id != want->first_id ||
        got->last_id != want->last_id || got->revision != want->revision || got->basis != want->basis)
        fail_msg("seed %lu: counts, ids or hash at %s", (unsigned long)seed, at);
    if (got->coverage != want->coverage || got->covered_minutes != want->covered_minutes || got->final != want->final)
        fail_msg("seed %lu: coverage %d (%d), covered %u (%u), final %d (%d) at %s", (unsigned long)seed, got->coverage,
                 want->coverage, got->covered_minutes, want->covered_minutes, got->final, want->final, at);
}

static struct series_table *table;
static uint32_t dense_series, sparse_series, price_series;

static int set_up(void **state) {
    (void)state;
    world = calloc(1, sizeof *world);
    struct series_key key = {SLICE("binance"), SLICE("BTC"), SLICE("USDT"), SERIES_TRADE};
    assert_int_equal(series_table_open(&table), ERR_OK);
    assert_int_equal(series_intern(table, &key, &dense_series), ERR_OK);
    key.venue = SLICE("huobi");
    assert_int_equal(series_intern(table, &key, &sparse_series), ERR_OK);
    key.kind = SERIES_PRICE;
    assert_int_equal(series_intern(table, &key, &price_series), ERR_OK);
    return world == NULL;
}
static int tear_down(void **state) {
    (void)state;
    series_table_close(&table);
    candle_slice_deinit(&slice);
    free(world);
    return 0;
}

static struct candle_source source(void) {
    static int something;
    return (struct candle_source){.book = (struct book *)&something,
                                  .shelf = (struct shelf *)&something,
                                  .store = (struct store *)&something,
                                  .series = table,
                                  .base_ms = 60000};
}

static enum err read_by(bool sliced, const struct candle_query *q, candle_visit visit, void *context,
                        struct diag *diag) {
    struct candle_source from = source();
    if (!sliced) return candle_read(&from, q, visit, context, diag);
    take_slice(q, q->series == dense_series);
    from.book = NULL;
    from.slice = &slice;
    return candle_read(&from, q, visit, context, diag);
}

static bool is_price_world(void) { return world->lanes[BASIS_PRICES].watermark_ms != 0; }

static struct candle_query random_query(const struct zone *zone) {
    static const struct interval intervals[] = {
        {INTERVAL_MINUTE, 1}, {INTERVAL_MINUTE, 5}, {INTERVAL_MINUTE, 7}, {INTERVAL_MINUTE, 15}, {INTERVAL_HOUR, 1},
        {INTERVAL_HOUR, 4},   {INTERVAL_DAY, 1},    {INTERVAL_DAY, 3},    {INTERVAL_WEEK, 1},    {INTERVAL_MONTH, 1}};
    struct candle_query q = {.interval = intervals[below(10)], .origin = {zone, (uint8_t)below(8)}};
    q.series = below(2) ? dense_series : sparse_series;
    if (is_price_world()) q.series = price_series;
    int64_t a = world_start - DAY + (int64_t)(random_next() % ((DAYS + 2) * (uint64_t)DAY));
    int64_t b = world_start - DAY + (int64_t)(random_next() % ((DAYS + 2) * (uint64_t)DAY));
    if (below(3)) a -= a % MINUTE, b -= b % MINUTE;
    q.from_ms = below(4) == 0 ? 0 : a < b ? a : b;
    q.to_ms = below(4) == 0 ? INT64_MAX : a < b ? b : a;
    if (below(3) == 0) { /* what is new, as most readers ask */
        q.from_ms = minute_time(MINUTES) - (int64_t)below(300) * MINUTE;
        q.to_ms = below(2) ? INT64_MAX : q.from_ms + (int64_t)below(300) * MINUTE;
        q.interval = (struct interval){INTERVAL_MINUTE, below(3) ? 1 : 5};
    }
    if (below(2)) q.limit = 1 + below(below(2) ? 10 : 3000);
    q.newest = q.limit > 0 && below(2);
    return q;
}

static uint64_t compared, quiet;

static void compare_read(const struct candle_query *q, const struct result *want, bool sliced, uint64_t seed) {
    struct result got = {0};
    struct diag diag;
    if (read_by(sliced, q, add_result, &got, &diag) != ERR_OK) fail_msg("%s", diag.what);
    assert_int_equal(open_snapshots, 0);
    for (uint32_t k = 0; k < want->count && k < got.count; k++) {
        assert_same(&got.rows[k], &want->rows[k], seed);
        compared++;
        quiet += got.rows[k].coverage == COVERAGE_QUIET;
    }
    if (got.count != want->count)
        fail_msg("seed %lu: %u rows instead of %u", (unsigned long)seed, got.count, want->count);
    free(got.rows);
}

static void test_reads_agree_with_definition(void **state) {
    (void)state;
    struct zone *zones[] = {NULL, zone_of("Europe/Berlin"), zone_of("+05:45"), zone_of("Australia/Lord_Howe")};
    unsigned from_memory = 0;
    for (uint64_t i = 0, seed = testing_first_seed(); i < testing_seeds(150); i++, seed++) {
        random_world(seed);
        for (unsigned turn = 0; turn < 4; turn++) {
            struct candle_query q = random_query(zones[below(4)]);
            struct result want = {0};
            define(&q, q.series == dense_series, &want);
            compare_read(&q, &want, false, seed);
            world->scans = 0;
            compare_read(&q, &want, true, seed);
            from_memory += want.count > 0 && world->scans == 0;
            free(want.rows);
        }
    }
    assert_true(compared > testing_seeds(100000) && quiet > testing_seeds(2000));
    if (testing_seeds(150) >= 150) assert_true(from_memory >= testing_seeds(10)); /* rare: a few seeds may have none */
    for (unsigned i = 1; i < 4; i++)
        if (zones[i] != NULL) zone_close(&zones[i]);
}

/* --- by hand --- */

static void one_lane(uint8_t basis, unsigned from, unsigned to, unsigned sealed_days) {
    memset(world, 0, sizeof *world);
    for (uint8_t i = 0; i < BASIS_COUNT; i++)
        world->lanes[i].sealed_ms = INT64_MIN, world->lanes[i].reopened_ms = INT64_MAX;
    int64_t id = 0;
    struct fake_lane *lane = &world->lanes[basis];
    for (unsigned i = from; i < to; i++) {
        lane->stored[i] = true;
        lane->shelf_rows[i] = random_row(i, basis, &id);
        lane->shelf_rows[i].coverage = COVERAGE_TRADED, lane->shelf_rows[i].covered_minutes = 1;
    }
    if (sealed_days > 0) lane->sealed_ms = world_start + (int64_t)sealed_days * DAY;
}

static enum err count_only(void *context, const struct candle *row) {
    (void)row;
    ++*(unsigned *)context;
    return ERR_OK;
}

static void test_expired_rows_are_refused(void **state) {
    (void)state;
    struct candle_source from = source();
    struct diag diag;
    unsigned count = 0;
    one_lane(BASIS_TRADES, 0, MINUTES, DAYS);
    world->expired_base_ms = world_start + 5 * (int64_t)DAY;
    struct candle_query q = {.series = sparse_series, .interval = {INTERVAL_MINUTE, 5}, .to_ms = INT64_MAX};
    assert_int_equal(candle_read(&from, &q, count_only, &count, &diag), ERR_RANGE);
    assert_int_equal(count, 0);
    assert_non_null(strstr(diag.what, "15m"));
    assert_non_null(strstr(diag.hint, "2024-04-04T00:00:00Z"));
    q.newest = true, q.limit = 100000;
    assert_int_equal(candle_read(&from, &q, count_only, &count, &diag), ERR_RANGE);
    assert_int_equal(count, 0);
    q.limit = 1000; /* reaches back far less */
    assert_int_equal(candle_read(&from, &q, count_only, &count, &diag), ERR_OK);
    assert_int_equal(count, 1000);
    q.newest = false, q.limit = count = 0, q.from_ms = world->expired_base_ms;
    assert_int_equal(candle_read(&from, &q, count_only, &count, &diag), ERR_OK);
    assert_int_equal(count, 7 * 288);
    q.from_ms = 0, q.interval = (struct interval){INTERVAL_HOUR, 1}; /* from the longer rows */
    assert_int_equal(candle_read(&from, &q, count_only, &(unsigned){0}, &diag), ERR_OK);
    world->expired_quarter_ms = world_start + 3 * (int64_t)DAY;
    assert_int_equal(candle_read(&from, &q, count_only, &(unsigned){0}, &diag), ERR_RANGE);
    assert_non_null(strstr(diag.what, "1d"));
    q.to_ms = world_start + (int64_t)DAY; /* nothing at all is left, but days are */
    assert_int_equal(candle_read(&from, &q, count_only, &(unsigned){0}, &diag), ERR_RANGE);
}

static void test_finer_than_base_is_refused(void **state) {
    (void)state;
    struct candle_source from = source();
    struct diag diag;
    unsigned count = 0;
    one_lane(BASIS_TRADES, 0, 10, 0);
    struct candle_query q = {.series = sparse_series, .interval = {INTERVAL_SECOND, 90}, .to_ms = INT64_MAX};
    assert_int_equal(candle_read(&from, &q, count_only, &count, &diag), ERR_RANGE);
    assert_non_null(strstr(diag.hint, "1m"));
    q.interval = (struct interval){INTERVAL_SECOND, 120};
    assert_int_equal(candle_read(&from, &q, count_only, &count, &diag), ERR_OK);
    assert_int_equal(count, 5);
    q.newest = true, q.limit = READ_NEWEST_MAX + 1;
    assert_int_equal(candle_read(&from, &q, count_only, &count, &diag), ERR_RANGE);
}

/* The newest ones are found without reading what lies before them. */
static void test_newest_reads_little(void **state) {
    (void)state;
    struct candle_source from = source();
    struct diag diag;
    unsigned count = 0;
    one_lane(BASIS_KLINES, 0, MINUTES - 700, DAYS - 1);
    struct candle_query q = {
        .series = sparse_series, .interval = {INTERVAL_MINUTE, 1}, .to_ms = INT64_MAX, .limit = 1000, .newest = true};
    assert_int_equal(candle_read(&from, &q, count_only, &count, &diag), ERR_OK);
    assert_int_equal(count, 1000);
    assert_true(world->visited < 1100 && world->scans < 30);
    /* Across a hole of days. */
    memset(world->lanes[BASIS_KLINES].stored + 3000, 0, MINUTES - 700 - 3000 - 10);
    world->visited = 0, count = 0;
    assert_int_equal(candle_read(&from, &q, count_only, &count, &diag), ERR_OK);
    assert_int_equal(count, 1000);
    assert_true(world->visited < 8000);
}

static enum err stop_at_third(void *context, const struct candle *row) {
    (void)row;
    return ++*(unsigned *)context == 3 ? ERR_END : ERR_OK;
}
static enum err fail_at_third(void *context, const struct candle *row) {
    (void)row;
    return ++*(unsigned *)context == 3 ? ERR_CLOSED : ERR_OK;
}

static void test_visitor_ends_it(void **state) {
    (void)state;
    struct candle_source from = source();
    one_lane(BASIS_TRADES, 0, 5000, 2);
    for (unsigned i = 0; i < 8; i++) {
        struct candle_query q = {.series = i % 2 ? dense_series : sparse_series, .to_ms = INT64_MAX};
        q.interval = (struct interval){INTERVAL_MINUTE, i / 2 % 2 ? 1 : 15};
        q.limit = i / 4 ? 100 : 0, q.newest = true;
        unsigned count = 0;
        assert_int_equal(candle_read(&from, &q, stop_at_third, &count, NULL), ERR_OK);
        assert_int_equal(count, 3);
        count = 0;
        assert_int_equal(candle_read(&from, &q, fail_at_third, &count, NULL), ERR_CLOSED);
        assert_int_equal(count, 3);
        assert_int_equal(open_snapshots, 0);
    }
}

static void test_nothing_there(void **state) {
    (void)state;
    struct candle_source from = source(), empty = {0};
    unsigned count = 0;
    one_lane(BASIS_TRADES, 0, 0, 0);
    struct candle_query q = {.series = dense_series, .interval = {INTERVAL_DAY, 1}, .to_ms = INT64_MAX};
    assert_int_equal(candle_read(&from, &q, count_only, &count, NULL), ERR_OK);
    assert_int_equal(candle_read(&empty, &q, count_only, &count, NULL), ERR_OK);
    q.from_ms = 10, q.to_ms = 10;
    assert_int_equal(candle_read(&from, &q, count_only, &count, NULL), ERR_OK);
    q.from_ms = 20, q.to_ms = INT64_MIN;
    assert_int_equal(candle_read(&from, &q, count_only, &count, NULL), ERR_OK);
    assert_int_equal(count, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_agree_with_definition),
        cmocka_unit_test(test_expired_rows_are_refused),
        cmocka_unit_test(test_finer_than_base_is_refused),
        cmocka_unit_test(test_newest_reads_little),
        cmocka_unit_test(test_visitor_ends_it),
        cmocka_unit_test(test_nothing_there),
    };
    return cmocka_run_group_tests_name("read", tests, set_up, tear_down);
}
