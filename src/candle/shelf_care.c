/* Expiry: rows and blocks past their retention. */
#include <assert.h>

#include "candle/shelf_parts.h"

struct expiry {
    struct shelf *shelf;
    struct store_snapshot *snapshot;
    struct store_batch *batch;
    struct diag *diag;
    int64_t now_ms;
    uint32_t deleted;
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
    if (span.end_ms > e->limit_ms || e->deleted >= SHELF_EXPIRE_MAX) return ERR_END;
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
    return shelf_lanes(shelf, snapshot, expire_lane, &expiry);
}
