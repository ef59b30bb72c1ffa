/* Expiry: rows and blocks past their retention. */
#include <assert.h>

#include "candle/shelf/parts.h"

enum { EXPIRE_MS = 60 * 60 * 1000 };

struct expiry {
    struct shelf *shelf;
    struct store_snapshot *snapshot;
    struct store_batch *batch;
    struct diag *diag;
    int64_t now_ms;
    uint32_t deleted;
    bool more;
    /* of the scan at hand */
    struct lane lane;
    int tier;
    enum store_table table;
    int64_t limit_ms;
};

static enum err visit_expired(void *context, struct slice row, struct slice value) {
    (void)value;
    struct expiry *e = context;
    int64_t start;
    enum err err = shelf_key_parse_time(row, &start);
    if (err != ERR_OK) return err;
    struct span span =
        e->table == STORE_BLOCKS ? shelf_period(e->shelf, e->tier, start) : shelf_unit(e->shelf, e->tier, start);
    if (span.end_ms > e->limit_ms || (e->deleted >= SHELF_EXPIRE_MAX && start % SHELF_DAY_MS == 0)) return ERR_END;
    struct shelf_key key;
    shelf_key_lane(e->shelf, e->lane, e->tier, &key);
    memcpy(key.row, row.data, sizeof key.row);
    const struct store_key store_key = shelf_store_key(e->table, &key);
    store_batch_delete(e->batch, &store_key);
    e->deleted++;
    if (e->table == STORE_CANDLES) return store_batch_err(e->batch);
    const struct location location = {.period_start_ms = start, .last_ms = span.end_ms - 1};
    return shelf_append(e->shelf, e->lane, e->tier, SLICE_NONE, &location, e->diag);
}

/* The 15m and 1d rows of days that leave into blocks. False: the lane has to wait for the flush. */
static enum err keep_tiers(struct expiry *e, bool *ret_kept) {
    const struct span leaving = {INT64_MIN + 1, e->limit_ms};
    int64_t time;
    *ret_kept = true;
    enum err err = shelf_edge(e->shelf, e->snapshot, STORE_BLOCKS, e->lane, TIER_BASE, leaving, false, &time);
    if (err != ERR_OK) return err == ERR_NOT_FOUND ? ERR_OK : err;
    for (int tier = 0; tier < TIER_COUNT; tier++)
        if (shelf_touched(e->shelf, e->lane, tier) != INT64_MIN) *ret_kept = false;
    if (!*ret_kept) return ERR_OK;
    struct seal seal = {.snapshot = e->snapshot, .diag = e->diag};
    seal_begin(&seal, e->shelf, e->lane);
    err = seal_tiers_early(&seal, e->limit_ms);
    seal_deinit(&seal);
    return err;
}

/* Base rows leave by whole days, as tier rows are made of them; an hour's block does not go alone. What is not sealed yet is in
 * no tier row: it stays until it is, and so does what is later, so that whoever reads from an open day on finds all. */
static enum err base_limit(struct expiry *e) {
    const struct span leaving = {INT64_MIN + 1, shelf_unit(e->shelf, TIER_DAY, e->limit_ms).start_ms};
    int64_t open_ms;
    enum err err = shelf_edge(e->shelf, e->snapshot, STORE_CANDLES, e->lane, TIER_BASE, leaving, false, &open_ms);
    e->limit_ms = err == ERR_OK ? shelf_unit(e->shelf, TIER_DAY, open_ms).start_ms : leaving.end_ms;
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

static enum err expire_lane(void *context, struct lane lane) {
    struct expiry *e = context;
    enum err err = ERR_OK;
    e->lane = lane;
    for (e->tier = 0; e->tier < TIER_COUNT && err == ERR_OK; e->tier++) {
        int64_t retention_ms = e->shelf->options.retention_ms[e->tier];
        if (retention_ms == 0) continue;
        struct shelf_key key;
        uint8_t end[8];
        e->limit_ms = e->now_ms - retention_ms;
        bool kept = true;
        if (e->tier == TIER_BASE) err = base_limit(e);
        if (e->tier == TIER_BASE && err == ERR_OK) err = keep_tiers(e, &kept);
        if (!kept) e->more = true;
        if (err != ERR_OK || !kept) continue;
        shelf_key_lane(e->shelf, lane, e->tier, &key);
        shelf_key_time(e->limit_ms, end);
        static const enum store_table tables[2] = {STORE_CANDLES, STORE_BLOCKS};
        for (int i = 0; i < 2 && err == ERR_OK; i++) {
            e->table = tables[i];
            const struct store_key from = shelf_store_key(e->table, &key);
            err = store_scan(e->shelf->options.store, e->snapshot, &from, slice_of(end, 8), false, visit_expired, e);
        }
    }
    if (err != ERR_OK) return err;
    return e->deleted >= SHELF_EXPIRE_MAX ? ERR_END : ERR_OK;
}

enum err shelf_expire(struct shelf *shelf, struct store_snapshot *snapshot, int64_t now_ms, struct store_batch *batch,
                      struct diag *diag) {
    struct expiry expiry = {.shelf = shelf, .snapshot = snapshot, .batch = batch, .diag = diag, .now_ms = now_ms};
    if (shelf->expiring || now_ms < shelf->expire_next_ms) return ERR_OK;
    enum err err = shelf_load_end(shelf, snapshot, diag);
    if (err == ERR_OK) err = shelf_lanes(shelf, snapshot, expire_lane, &expiry);
    shelf->expiring = true;
    bool more = err != ERR_OK || expiry.more || expiry.deleted >= SHELF_EXPIRE_MAX;
    shelf->expire_next_ms = more ? now_ms : now_ms + EXPIRE_MS;
    return err == ERR_END ? ERR_OK : err;
}

/* --- what has expired --- */

static enum err visit_any(void *context, const struct candle *row) {
    (void)row;
    *(bool *)context = true;
    return ERR_END;
}

enum err shelf_has_expired(struct shelf *shelf, struct store_snapshot *snapshot, struct lane lane, int64_t day_ms,
                           bool *ret_expired) {
    const struct span day = {day_ms, day_ms + SHELF_DAY_MS};
    const struct shelf_range range = {lane, shelf->tiers[TIER_DAY].ms, day.start_ms, day.end_ms, false};
    int64_t time_ms;
    bool is_there = false;
    assert(day_ms % SHELF_DAY_MS == 0);
    enum err err = shelf_edge(shelf, snapshot, STORE_BLOCKS, lane, TIER_BASE, day, false, &time_ms);
    if (err == ERR_NOT_FOUND) err = shelf_scan(shelf, snapshot, &range, visit_any, &is_there, NULL);
    if (err == ERR_OK) *ret_expired = is_there;
    return err;
}

enum err shelf_open_day(struct shelf *shelf, struct store_snapshot *snapshot, struct lane lane, int64_t from_ms,
                        int64_t *ret_day_ms) {
    struct span rest = {from_ms, INT64_MAX};
    for (;;) {
        int64_t open_ms;
        bool expired = false;
        enum err err = shelf_edge(shelf, snapshot, STORE_CANDLES, lane, TIER_BASE, rest, false, &open_ms);
        if (err == ERR_NOT_FOUND) *ret_day_ms = INT64_MAX;
        if (err != ERR_OK) return err == ERR_NOT_FOUND ? ERR_OK : err;
        const struct span day = shelf_unit(shelf, TIER_DAY, open_ms);
        if ((err = shelf_has_expired(shelf, snapshot, lane, day.start_ms, &expired)) != ERR_OK) return err;
        if (!expired) *ret_day_ms = day.start_ms;
        if (!expired) return ERR_OK;
        rest.start_ms = day.end_ms;
    }
}

enum err shelf_kept_from(struct shelf *shelf, struct store_snapshot *snapshot, struct lane lane, int64_t *ret_ms) {
    const struct span all = {INT64_MIN + 1, INT64_MAX};
    struct shelf_bounds bounds;
    enum err err = shelf_edge(shelf, snapshot, STORE_BLOCKS, lane, TIER_BASE, all, false, ret_ms);
    if (err != ERR_NOT_FOUND) return err;
    err = shelf_bounds(shelf, snapshot, lane, &bounds);
    if (err == ERR_OK) *ret_ms = bounds.sealed_ms;
    return err;
}
