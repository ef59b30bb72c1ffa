/* Sealing: base periods into blocks, their 15m and 1d rows into mini-blocks of a day, and into blocks once the month or
 * year is over. A period is over when a later day is sealed; there is no clock here. */
#include <assert.h>
#include <stdlib.h>

#include "candle/shelf/parts.h"

static enum err rows_add(struct seal_rows *rows, const struct candle *row) {
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

static enum err append_packed(struct seal *seal, int tier, struct span period, const struct candle *rows,
                              uint32_t count, bool stored, struct slice block) {
    struct location location = {.period_start_ms = period.start_ms,
                                .first_ms = rows[0].open_time_ms,
                                .last_ms = rows[count - 1].open_time_ms,
                                .size_bytes = (uint32_t)block.size,
                                .rows = count,
                                .version = 1};
    enum err err = stored ? next_version(seal, tier, period.start_ms, &location.version) : ERR_OK;
    return err == ERR_OK ? shelf_append(seal->shelf, seal->lane, tier, block, &location, seal->diag) : err;
}

static enum err append_block(struct seal *seal, int tier, struct span period, const struct candle *rows, uint32_t count,
                             bool stored) {
    struct buf *bytes = &shelf_scratch(seal->shelf)->block;
    buf_clear(bytes);
    enum err err = block_encode(bytes, seal->shelf->tiers[tier].ms, period.start_ms, rows, count);
    if (err != ERR_OK) return diag_set(seal->diag, err, "cannot pack sealed candles: %s", err_message(err));
    return append_packed(seal, tier, period, rows, count, stored, buf_slice(bytes));
}

/* --- tier rows --- */

static enum err finish_day(struct seal *seal) {
    const struct tier *tiers = seal->shelf->tiers;
    if (seal->day_parts == 0) return ERR_OK;
    const struct candle row = shelf_tier_row(&seal->day, tiers[TIER_BASE].ms, tiers[TIER_DAY].ms);
    seal->day_parts = 0;
    return rows_add(&seal->days, &row);
}

/* The rows of a packed period into the lists and the day's sum. */
static enum err add_to_tiers(struct seal *seal, const struct shelf_pack *pack) {
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < pack->quarter_count && err == ERR_OK; i++)
        err = rows_add(&seal->quarters, &pack->quarters[i]);
    if (err == ERR_OK && seal->day_parts > 0 && pack->sum.open_time_ms > seal->day.close_time_ms)
        err = finish_day(seal);
    if (err == ERR_OK && seal->day_parts > 0)
        err = candle_merge(&seal->day, &pack->sum);
    else if (err == ERR_OK)
        seal->day = pack->sum;
    seal->day_parts += pack->parts;
    return err == ERR_OK ? ERR_OK : diag_set(seal->diag, err, "a sum of candles has too many digits");
}

/* --- days that have expired ---
 *
 * Their base rows are gone, so rows that come now are not all of the day. Quarters that are there stay as they are, others are
 * added, and the day is made of the quarters again; where those have expired too, it stays. No base rows are kept. */

static int compare_rows(const void *a, const void *b) {
    const struct candle *x = a, *y = b;
    return (x->open_time_ms > y->open_time_ms) - (x->open_time_ms < y->open_time_ms);
}

/* Adds the quarters from `first` on that are not stored to those that are, in order; how many were added. */
static enum err add_quarters(struct seal *seal, uint32_t first, uint32_t *ret_added) {
    const struct seal_rows *quarters = &seal->quarters;
    const uint32_t stored = seal->old.count;
    enum err err = ERR_OK;
    for (uint32_t i = first, old = 0; i < quarters->count && err == ERR_OK; i++) {
        while (old < stored && seal->old.list[old].open_time_ms < quarters->list[i].open_time_ms) old++;
        bool is_stored = old < stored && seal->old.list[old].open_time_ms == quarters->list[i].open_time_ms;
        if (!is_stored) err = rows_add(&seal->old, &quarters->list[i]);
    }
    *ret_added = seal->old.count - stored;
    if (*ret_added > 0) qsort(seal->old.list, seal->old.count, sizeof *seal->old.list, compare_rows);
    return err;
}

static enum err add_to_expired(struct seal *seal, uint32_t first) {
    const struct tier *tiers = seal->shelf->tiers;
    const int64_t day_ms = seal->day_ms;
    const struct shelf_range range = {seal->lane, tiers[TIER_QUARTER].ms, day_ms, day_ms + SHELF_DAY_MS, false};
    struct candle sum;
    uint32_t added = 0;
    seal->day_parts = 0;
    seal->old.count = 0;
    enum err err = shelf_scan(seal->shelf, seal->snapshot, &range, visit_old, &seal->old, seal->diag);
    if (err == ERR_OK && seal->old.count > 0) err = add_quarters(seal, first, &added);
    seal->quarters.count = first;
    if (err != ERR_OK || added == 0) return err;
    if ((err = candle_sum(seal->old.list, seal->old.count, &sum)) != ERR_OK) return err;
    sum.open_time_ms = day_ms;
    sum.close_time_ms = day_ms + SHELF_DAY_MS - 1;
    sum = shelf_tier_row(&sum, tiers[TIER_QUARTER].ms, tiers[TIER_DAY].ms);
    for (uint32_t i = 0; i < seal->old.count && err == ERR_OK; i++) err = rows_add(&seal->quarters, &seal->old.list[i]);
    return err == ERR_OK ? rows_add(&seal->days, &sum) : err;
}

static enum err end_day(struct seal *seal) {
    if (!seal->expired) return finish_day(seal);
    seal->expired = false;
    return add_to_expired(seal, seal->day_quarters);
}

static enum err begin_day(struct seal *seal, int64_t day_ms) {
    if (seal->day_ms == day_ms) return ERR_OK;
    enum err err = end_day(seal);
    if (err != ERR_OK) return err;
    seal->day_ms = day_ms;
    seal->day_quarters = seal->quarters.count;
    return shelf_has_expired(seal->shelf, seal->snapshot, seal->lane, day_ms, &seal->expired);
}

/* --- base periods --- */

static enum err seal_base_period(struct seal *seal, struct span period, const struct candle *rows, uint32_t count) {
    enum err err = begin_day(seal, shelf_unit(seal->shelf, TIER_DAY, period.start_ms).start_ms);
    if (err == ERR_OK && seal->stored) {
        err = merge_stored(seal, TIER_BASE, period, rows, count);
        rows = seal->merged.list;
        count = seal->merged.count;
    }
    if (err != ERR_OK || count == 0) return err;
    struct shelf_pack *pack = shelf_scratch(seal->shelf);
    if (seal->expired) {
        err = shelf_pack_sums(seal->shelf, rows, count, pack);
        return err == ERR_OK ? add_to_tiers(seal, pack) : err;
    }
    err = shelf_pack(seal->shelf, period, rows, count, pack, seal->diag);
    if (err == ERR_OK) err = append_packed(seal, TIER_BASE, period, rows, count, seal->stored, buf_slice(&pack->block));
    return err == ERR_OK ? add_to_tiers(seal, pack) : err;
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
    if (err == ERR_OK) err = end_day(seal);
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

/* A period that is over becomes a block, if the snapshot shows all there is of it: none of its rows were handed over since
 * the last flush. */
static enum err seal_tier(struct seal *seal, int tier, struct seal_rows *rows) {
    if (rows->count == 0) return ERR_OK;
    int64_t touched = shelf_touched(seal->shelf, seal->lane, tier);
    int64_t start = shelf_period(seal->shelf, tier, rows->list[0].open_time_ms).start_ms;
    enum err err = touched == INT64_MIN ? seal_left_over(seal, tier, start) : ERR_OK;
    for (uint32_t at = 0, end; at < rows->count && err == ERR_OK; at = end) {
        struct span period = shelf_period(seal->shelf, tier, rows->list[at].open_time_ms);
        for (end = at + 1; end < rows->count && rows->list[end].open_time_ms < period.end_ms;) end++;
        bool over = period.end_ms <= seal->until_ms && period.start_ms >= touched;
        err = over ? seal_tier_period(seal, tier, period, rows->list + at, end - at)
                   : put_units(seal, tier, rows->list + at, end - at);
        if (err == ERR_OK) err = shelf_touch(seal->shelf, seal->lane, tier, period.end_ms);
    }
    rows->count = 0;
    return err;
}

/* --- whole calls --- */

void seal_begin(struct seal *seal, struct shelf *shelf, struct lane lane) {
    seal->shelf = shelf;
    seal->lane = lane;
    seal->until_ms = INT64_MIN;
    seal->quarters.count = seal->days.count = seal->day_parts = 0;
    seal->expired = false;
    seal->day_ms = INT64_MIN;
}

void seal_deinit(struct seal *seal) {
    free(seal->quarters.list);
    free(seal->days.list);
    free(seal->old.list);
    free(seal->merged.list);
}

/* Everything before `until_ms` is sealed, or was. */
static enum err seal_reach(struct seal *seal, int64_t until_ms) {
    struct shelf_bounds bounds;
    enum err err = ERR_OK;
    if (seal->until_ms == INT64_MIN) {
        err = shelf_bounds(seal->shelf, seal->snapshot, seal->lane, &bounds);
        if (err == ERR_OK) seal->until_ms = bounds.sealed_ms;
    }
    if (err == ERR_OK && until_ms > seal->until_ms) seal->until_ms = until_ms;
    return err;
}

enum err seal_tiers(struct seal *seal) {
    enum err err = seal_tier(seal, TIER_QUARTER, &seal->quarters);
    return err == ERR_OK ? seal_tier(seal, TIER_DAY, &seal->days) : err;
}

enum err seal_tiers_early(struct seal *seal, int64_t before_ms) {
    enum err err = ERR_OK;
    for (int tier = TIER_QUARTER; tier < TIER_COUNT && err == ERR_OK; tier++) {
        struct span range = {INT64_MIN + 1, before_ms};
        int64_t first;
        while ((err = shelf_edge(seal->shelf, seal->snapshot, STORE_CANDLES, seal->lane, tier, range, false, &first)) ==
               ERR_OK) {
            struct span period = shelf_period(seal->shelf, tier, first);
            if ((err = seal_tier_period(seal, tier, period, NULL, 0)) != ERR_OK) break;
            if ((err = shelf_touch(seal->shelf, seal->lane, tier, period.end_ms)) != ERR_OK) break;
            range.start_ms = period.end_ms;
        }
        if (err == ERR_NOT_FOUND) err = ERR_OK;
    }
    return err;
}

enum err seal_is_new(struct seal *seal, struct span day, bool *ret_new) {
    bool stored = true;
    enum err err = is_stored(seal, TIER_BASE, day, &stored);
    *ret_new = false;
    if (err != ERR_OK || stored) return err;
    err =
        is_stored(seal, TIER_DAY, day, &stored); /* of this day or another one of the year: quick, and mostly enough */
    if (err == ERR_OK && stored)
        err = shelf_has_expired(seal->shelf, seal->snapshot, seal->lane, day.start_ms, &stored);
    *ret_new = err == ERR_OK && !stored;
    return err;
}

/* Rows of a month or year wait for its end, so that they become one block. */
static enum err seal_passed_tiers(struct seal *seal, int64_t time_ms) {
    const struct shelf *shelf = seal->shelf;
    enum err err = ERR_OK;
    if (seal->quarters.count > 0 &&
        shelf_period(shelf, TIER_QUARTER, seal->quarters.list[0].open_time_ms).end_ms <= time_ms)
        err = seal_tier(seal, TIER_QUARTER, &seal->quarters);
    if (err == ERR_OK && seal->days.count > 0 &&
        shelf_period(shelf, TIER_DAY, seal->days.list[0].open_time_ms).end_ms <= time_ms)
        err = seal_tier(seal, TIER_DAY, &seal->days);
    return err;
}

enum err seal_add_day(struct seal *seal, struct span day, const struct candle *rows, uint32_t count,
                      const struct shelf_pack *pack) {
    enum err err = seal_reach(seal, day.end_ms);
    if (err == ERR_OK) err = seal_passed_tiers(seal, day.start_ms);
    if (err == ERR_OK) err = append_packed(seal, TIER_BASE, day, rows, count, false, buf_slice(&pack->block));
    if (err == ERR_OK) err = add_to_tiers(seal, pack);
    return err == ERR_OK ? finish_day(seal) : err;
}

static enum err encode_rows(struct buf *out, uint32_t tier_ms, const struct seal_rows *rows) {
    return rows->count == 0 ? ERR_OK : block_encode(out, tier_ms, rows->list[0].open_time_ms, rows->list, rows->count);
}

static enum err remake_tier(struct seal *seal, int tier, struct span day, struct seal_rows *rows) {
    struct buf is, should;
    buf_init(&is, BLOCK_BYTES_MAX);
    buf_init(&should, BLOCK_BYTES_MAX);
    enum err err = merge_stored(seal, tier, day, NULL, 0);
    if (err == ERR_OK) err = encode_rows(&is, seal->shelf->tiers[tier].ms, &seal->merged);
    if (err == ERR_OK) err = encode_rows(&should, seal->shelf->tiers[tier].ms, rows);
    if (err == ERR_OK && !slice_equal(buf_slice(&is), buf_slice(&should)))
        err = put_units(seal, tier, rows->list, rows->count);
    rows->count = 0;
    buf_deinit(&is);
    buf_deinit(&should);
    return err;
}

enum err seal_remake_day(struct seal *seal, struct span day) {
    struct shelf_pack *pack = shelf_scratch(seal->shelf);
    enum err err = ERR_OK;
    for (int64_t start = day.start_ms; start < day.end_ms && err == ERR_OK;) {
        struct span period = shelf_period(seal->shelf, TIER_BASE, start);
        err = merge_stored(seal, TIER_BASE, period, NULL, 0);
        if (err == ERR_OK && seal->merged.count > 0) {
            err = shelf_pack_sums(seal->shelf, seal->merged.list, seal->merged.count, pack);
            if (err == ERR_OK) err = add_to_tiers(seal, pack);
        }
        start = period.end_ms;
    }
    if (err == ERR_OK) err = finish_day(seal);
    if (err == ERR_OK) err = remake_tier(seal, TIER_QUARTER, day, &seal->quarters);
    return err == ERR_OK ? remake_tier(seal, TIER_DAY, day, &seal->days) : err;
}

static enum err seal_run(struct seal *seal, struct span days, const struct candle *candles, uint32_t count) {
    enum err err = seal_reach(seal, days.end_ms);
    if (err == ERR_OK) err = is_stored(seal, TIER_BASE, days, &seal->stored);
    if (err == ERR_OK) err = seal_base(seal, days, candles, count);
    if (err == ERR_OK) err = seal_tiers(seal);
    if (err == ERR_OK) err = shelf_touch(seal->shelf, seal->lane, TIER_BASE, days.end_ms);
    return err;
}

enum err shelf_seal(struct shelf *shelf, struct store_snapshot *snapshot, struct lane lane,
                    const struct candle *candles, uint32_t count, struct diag *diag) {
    if (count == 0) return ERR_OK;
    if (candles[count - 1].open_time_ms < candles[0].open_time_ms) return out_of_order(diag);
    struct span days = {shelf_unit(shelf, TIER_DAY, candles[0].open_time_ms).start_ms,
                        shelf_unit(shelf, TIER_DAY, candles[count - 1].open_time_ms).end_ms};
    enum err err = shelf_load_end(shelf, snapshot, diag);
    if (err != ERR_OK) return err;
    if (days.start_ms < shelf_touched(shelf, lane, TIER_BASE))
        return diag_set(diag, ERR_STATE, "a day was sealed already and not yet flushed");
    struct seal seal = {.snapshot = snapshot, .diag = diag};
    seal_begin(&seal, shelf, lane);
    err = seal_run(&seal, days, candles, count);
    seal_deinit(&seal);
    if (err != ERR_OK && diag != NULL && diag->err != err) diag_set(diag, err, "cannot seal candles");
    return err;
}
