/* Sealing: base periods into blocks, their 15m and 1d rows into mini-blocks of a day, and into blocks once the month or
 * year is over. A period is over when a later day is sealed; there is no clock here. */
#include <assert.h>
#include <stdlib.h>

#include "candle/shelf_parts.h"

struct rows {
    struct candle *list;
    uint32_t count, capacity;
};

struct seal {
    struct shelf *shelf;
    struct store_snapshot *snapshot;
    struct lane lane;
    struct diag *diag;
    int64_t until_ms; /* everything before it is sealed, this call included */
    bool stored;      /* something is stored of the days at hand */
    bool first_touch; /* nothing of the lane was sealed since the last flush: the snapshot shows all there is */
    struct rows quarters, days;
    struct candle quarter, day; /* being summed */
    uint32_t quarter_parts, day_parts;
    struct rows old, merged;
};

static enum err rows_add(struct rows *rows, const struct candle *row) {
    if (rows->count == rows->capacity) {
        uint32_t capacity = rows->capacity == 0 ? 128 : rows->capacity * 2;
        struct candle *list = realloc(rows->list, capacity * sizeof *list);
        if (list == NULL) return ERR_NO_MEMORY;
        rows->list = list;
        rows->capacity = capacity;
    }
    rows->list[rows->count++] = *row;
    return ERR_OK;
}

static enum err visit_old(void *context, const struct candle *row) { return rows_add(context, row); }

/* --- what is stored --- */

/* Stored rows of a span with the given ones over them, in seal->merged. */
static enum err merge_stored(struct seal *seal, int tier, struct span span, const struct candle *rows, uint32_t count) {
    struct shelf_range range = {seal->lane, seal->shelf->tiers[tier].ms, span.start_ms, span.end_ms, false};
    seal->old.count = seal->merged.count = 0;
    for (uint32_t i = 1; i < count; i++)
        if (rows[i].open_time_ms <= rows[i - 1].open_time_ms) return ERR_RANGE;
    enum err err = shelf_scan(seal->shelf, seal->snapshot, &range, visit_old, &seal->old, seal->diag);
    uint32_t next = 0;
    for (uint32_t i = 0; i < seal->old.count && err == ERR_OK; i++) {
        const struct candle *old = &seal->old.list[i];
        while (next < count && rows[next].open_time_ms < old->open_time_ms && err == ERR_OK)
            err = rows_add(&seal->merged, &rows[next++]);
        bool replaced = next < count && rows[next].open_time_ms == old->open_time_ms;
        if (err == ERR_OK && !replaced) err = rows_add(&seal->merged, old);
    }
    while (next < count && err == ERR_OK) err = rows_add(&seal->merged, &rows[next++]);
    return err;
}

static enum err next_version(struct seal *seal, int tier, int64_t period_start_ms, uint32_t *ret_version) {
    struct shelf_key key;
    struct slice value;
    struct location old;
    shelf_key_lane(seal->shelf, seal->lane, tier, &key);
    shelf_key_time(period_start_ms, key.row);
    const struct store_key store_key = shelf_store_key(STORE_BLOCKS, &key);
    enum err err = store_get(seal->shelf->options.store, seal->snapshot, &store_key, &value);
    *ret_version = 1;
    if (err != ERR_OK) return err == ERR_NOT_FOUND ? ERR_OK : err;
    err = shelf_location_parse(store_key.row, value, &old);
    if (err == ERR_OK) *ret_version = old.version + 1;
    return err;
}

struct unit_delete {
    struct shelf *shelf;
    struct shelf_key key;
    struct store_batch *batch;
};

static enum err visit_delete(void *context, struct slice row, struct slice value) {
    (void)value;
    struct unit_delete *d = context;
    if (row.size != sizeof d->key.row) return ERR_CORRUPT;
    memcpy(d->key.row, row.data, row.size);
    const struct store_key key = shelf_store_key(STORE_CANDLES, &d->key);
    store_batch_delete(d->batch, &key);
    return store_batch_err(d->batch);
}

static enum err delete_units(struct seal *seal, int tier, struct span span) {
    struct unit_delete d = {.shelf = seal->shelf, .batch = shelf_pending(seal->shelf)};
    uint8_t end[8];
    shelf_key_lane(seal->shelf, seal->lane, tier, &d.key);
    struct shelf_key from = d.key;
    shelf_key_time(span.start_ms, from.row);
    shelf_key_time(span.end_ms, end);
    const struct store_key key = shelf_store_key(STORE_CANDLES, &from);
    return store_scan(seal->shelf->options.store, seal->snapshot, &key, slice_of(end, 8), false, visit_delete, &d);
}

static enum err is_stored(struct seal *seal, int tier, struct span span, bool *ret_stored) {
    int64_t time;
    struct span blocks = {shelf_period(seal->shelf, tier, span.start_ms).start_ms, span.end_ms};
    enum err err = shelf_edge(seal->shelf, seal->snapshot, STORE_BLOCKS, seal->lane, tier, blocks, false, &time);
    if (err == ERR_NOT_FOUND)
        err = shelf_edge(seal->shelf, seal->snapshot, STORE_CANDLES, seal->lane, tier, span, false, &time);
    *ret_stored = err == ERR_OK;
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

/* --- blocks --- */

static enum err append_block(struct seal *seal, int tier, struct span period, const struct candle *rows, uint32_t count,
                             bool stored) {
    struct buf *bytes = shelf_scratch(seal->shelf);
    struct location location = {.period_start_ms = period.start_ms,
                                .first_ms = rows[0].open_time_ms,
                                .last_ms = rows[count - 1].open_time_ms,
                                .rows = count,
                                .version = 1};
    enum err err = stored ? next_version(seal, tier, period.start_ms, &location.version) : ERR_OK;
    if (err == ERR_OK) err = block_encode(bytes, seal->shelf->tiers[tier].ms, period.start_ms, rows, count);
    location.size_bytes = (uint32_t)bytes->size;
    if (err != ERR_OK) return diag_set(seal->diag, err, "cannot pack sealed candles: %s", err_message(err));
    return shelf_append(seal->shelf, seal->lane, tier, buf_slice(bytes), &location, seal->diag);
}

/* --- tier rows --- */

/* Minutes that no row tells of are unknown. */
static enum err finish_row(struct rows *to, struct candle *sum, uint32_t parts, uint32_t part_ms, uint32_t tier_ms) {
    uint64_t known_ms = part_ms < 60000 ? (uint64_t)parts * part_ms : (uint64_t)sum->covered_minutes * 60000;
    struct candle row = *sum;
    if (known_ms < tier_ms) {
        if (row.coverage >= COVERAGE_QUIET) row.coverage = COVERAGE_PARTIAL;
        if (row.final == CANDLE_FINAL_PROVEN) row.final = CANDLE_FINAL_CLOCK;
    }
    if (part_ms < 60000) row.covered_minutes = (uint32_t)(known_ms / 60000);
    if (row.covered_minutes > tier_ms / 60000) row.covered_minutes = tier_ms / 60000;
    row.native_ms = tier_ms;
    row.volume = decimal_normalize(row.volume);
    row.quote_volume = decimal_normalize(row.quote_volume);
    row.taker_buy_volume = decimal_normalize(row.taker_buy_volume);
    row.taker_buy_quote_volume = decimal_normalize(row.taker_buy_quote_volume);
    return rows_add(to, &row);
}

/* Begins a sum with its first part. */
static void start_row(struct candle *sum, const struct candle *first, int64_t length_ms) {
    *sum = *first;
    int64_t rest = sum->open_time_ms % length_ms;
    sum->open_time_ms -= rest < 0 ? rest + length_ms : rest;
    sum->close_time_ms = sum->open_time_ms + length_ms - 1;
}

static enum err finish_day(struct seal *seal) {
    const struct shelf *shelf = seal->shelf;
    if (seal->day_parts == 0) return ERR_OK;
    uint32_t parts = seal->day_parts;
    seal->day_parts = 0;
    return finish_row(&seal->days, &seal->day, parts, shelf->tiers[TIER_BASE].ms, shelf->tiers[TIER_DAY].ms);
}

/* A finished 15m sum into the row list and the day's sum. */
static enum err finish_quarter(struct seal *seal) {
    const struct shelf *shelf = seal->shelf;
    if (seal->quarter_parts == 0) return ERR_OK;
    enum err err = finish_row(&seal->quarters, &seal->quarter, seal->quarter_parts, shelf->tiers[TIER_BASE].ms,
                              shelf->tiers[TIER_QUARTER].ms);
    if (err == ERR_OK && seal->day_parts > 0 && seal->quarter.open_time_ms > seal->day.close_time_ms)
        err = finish_day(seal);
    if (err == ERR_OK && seal->day_parts > 0)
        err = candle_merge(&seal->day, &seal->quarter);
    else if (err == ERR_OK)
        start_row(&seal->day, &seal->quarter, SHELF_DAY_MS);
    seal->day_parts += seal->quarter_parts;
    seal->quarter_parts = 0;
    return err;
}

static enum err add_to_tiers(struct seal *seal, const struct candle *rows, uint32_t count) {
    int64_t quarter_ms = seal->shelf->tiers[TIER_QUARTER].ms;
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < count && err == ERR_OK; i++) {
        if (seal->quarter_parts > 0 && rows[i].open_time_ms > seal->quarter.close_time_ms) err = finish_quarter(seal);
        if (err == ERR_OK && seal->quarter_parts > 0)
            err = candle_merge(&seal->quarter, &rows[i]);
        else if (err == ERR_OK)
            start_row(&seal->quarter, &rows[i], quarter_ms);
        seal->quarter_parts++;
    }
    return err == ERR_OK ? ERR_OK : diag_set(seal->diag, err, "a sum of candles has too many digits");
}

/* --- base periods --- */

static enum err seal_base_period(struct seal *seal, struct span period, const struct candle *rows, uint32_t count) {
    enum err err = ERR_OK;
    if (seal->stored) {
        err = merge_stored(seal, TIER_BASE, period, rows, count);
        rows = seal->merged.list;
        count = seal->merged.count;
    }
    if (err != ERR_OK || count == 0) return err;
    err = append_block(seal, TIER_BASE, period, rows, count, seal->stored);
    return err == ERR_OK ? add_to_tiers(seal, rows, count) : err;
}

static enum err out_of_order(struct diag *diag) { return diag_set(diag, ERR_RANGE, "rows to seal are not in order"); }

/* The first row from `at` on that is not before `end_ms`, by halving: a pass over all rows would cost as much as packing
 * them. That rows ascend within a period is checked when they are packed. */
static uint32_t rows_before(const struct candle *candles, uint32_t at, uint32_t count, int64_t end_ms) {
    uint32_t high = count;
    while (at < high) {
        uint32_t middle = at + (high - at) / 2;
        if (candles[middle].open_time_ms < end_ms)
            at = middle + 1;
        else
            high = middle;
    }
    return at;
}

/* Periods without given rows are visited too where something is stored of their day: the tier rows need them. */
static enum err seal_base(struct seal *seal, struct span days, const struct candle *candles, uint32_t count) {
    enum err err = ERR_OK;
    uint32_t at = 0;
    for (int64_t start = days.start_ms; start < days.end_ms && err == ERR_OK;) {
        struct span period = shelf_period(seal->shelf, TIER_BASE, start);
        uint32_t end = rows_before(candles, at, count, period.end_ms);
        if (end > at && candles[at].open_time_ms < period.start_ms) return out_of_order(seal->diag);
        if (end > at || seal->stored) err = seal_base_period(seal, period, candles + at, end - at);
        at = end;
        start = period.end_ms;
    }
    if (err == ERR_OK && at < count) err = out_of_order(seal->diag);
    if (err == ERR_OK) err = finish_quarter(seal);
    if (err == ERR_OK) err = finish_day(seal);
    if (err == ERR_OK && seal->stored) err = delete_units(seal, TIER_BASE, days);
    return err;
}

/* --- tiers --- */

static enum err put_units(struct seal *seal, int tier, const struct candle *rows, uint32_t count) {
    enum err err = ERR_OK;
    for (uint32_t at = 0, end; at < count && err == ERR_OK; at = end) {
        struct span unit = shelf_unit(seal->shelf, tier, rows[at].open_time_ms);
        for (end = at + 1; end < count && rows[end].open_time_ms < unit.end_ms;) end++;
        err = shelf_unit_put(seal->shelf, shelf_pending(seal->shelf), seal->lane, tier, rows + at, end - at);
    }
    return err;
}

static enum err seal_tier_period(struct seal *seal, int tier, struct span period, const struct candle *rows,
                                 uint32_t count) {
    bool stored;
    enum err err = is_stored(seal, tier, period, &stored);
    if (err == ERR_OK && stored) {
        err = merge_stored(seal, tier, period, rows, count);
        rows = seal->merged.list;
        count = seal->merged.count;
    }
    if (err != ERR_OK || count == 0) return err;
    err = append_block(seal, tier, period, rows, count, stored);
    return err == ERR_OK && stored ? delete_units(seal, tier, period) : err;
}

/* Mini-blocks of periods that ended before the given rows: the month is over when the next one begins. */
static enum err seal_left_over(struct seal *seal, int tier, int64_t before_ms) {
    struct span range = {INT64_MIN + 1, before_ms};
    int64_t first;
    for (;;) {
        enum err err = shelf_edge(seal->shelf, seal->snapshot, STORE_CANDLES, seal->lane, tier, range, false, &first);
        if (err != ERR_OK) return err == ERR_NOT_FOUND ? ERR_OK : err;
        struct span period = shelf_period(seal->shelf, tier, first);
        if (period.end_ms > before_ms) return ERR_OK;
        err = seal_tier_period(seal, tier, period, NULL, 0);
        if (err != ERR_OK) return err;
        range.start_ms = period.end_ms;
    }
}

static enum err seal_tier(struct seal *seal, int tier, const struct rows *rows) {
    if (rows->count == 0) return ERR_OK;
    int64_t start = shelf_period(seal->shelf, tier, rows->list[0].open_time_ms).start_ms;
    enum err err = seal->first_touch ? seal_left_over(seal, tier, start) : ERR_OK;
    for (uint32_t at = 0, end; at < rows->count && err == ERR_OK; at = end) {
        struct span period = shelf_period(seal->shelf, tier, rows->list[at].open_time_ms);
        for (end = at + 1; end < rows->count && rows->list[end].open_time_ms < period.end_ms;) end++;
        bool over = period.end_ms <= seal->until_ms && seal->first_touch;
        err = over ? seal_tier_period(seal, tier, period, rows->list + at, end - at)
                   : put_units(seal, tier, rows->list + at, end - at);
    }
    return err;
}

static enum err seal_run(struct seal *seal, struct span days, const struct candle *candles, uint32_t count) {
    int64_t sealed_until, reopened;
    enum err err = shelf_sealed_until(seal->shelf, seal->snapshot, seal->lane, &sealed_until, &reopened);
    seal->until_ms = days.end_ms;
    if (err == ERR_OK && sealed_until > seal->until_ms) seal->until_ms = sealed_until;
    if (err == ERR_OK) err = is_stored(seal, TIER_BASE, days, &seal->stored);
    if (err == ERR_OK) err = seal_base(seal, days, candles, count);
    if (err == ERR_OK) err = seal_tier(seal, TIER_QUARTER, &seal->quarters);
    if (err == ERR_OK) err = seal_tier(seal, TIER_DAY, &seal->days);
    if (err == ERR_OK) err = shelf_touch(seal->shelf, seal->lane, days.end_ms);
    return err;
}

enum err shelf_seal(struct shelf *shelf, struct store_snapshot *snapshot, struct lane lane,
                    const struct candle *candles, uint32_t count, struct diag *diag) {
    if (count == 0) return ERR_OK;
    if (candles[count - 1].open_time_ms < candles[0].open_time_ms) return out_of_order(diag);
    struct seal seal = {.shelf = shelf, .snapshot = snapshot, .lane = lane, .diag = diag};
    struct span days = {shelf_unit(shelf, TIER_DAY, candles[0].open_time_ms).start_ms,
                        shelf_unit(shelf, TIER_DAY, candles[count - 1].open_time_ms).end_ms};
    int64_t touched = shelf_touched(shelf, lane);
    if (days.start_ms < touched) return diag_set(diag, ERR_STATE, "a day was sealed already and not yet flushed");
    seal.first_touch = touched == INT64_MIN;
    enum err err = seal_run(&seal, days, candles, count);
    free(seal.quarters.list);
    free(seal.days.list);
    free(seal.old.list);
    free(seal.merged.list);
    if (err != ERR_OK && diag != NULL && diag->err != err) diag_set(diag, err, "cannot seal candles");
    return err;
}
