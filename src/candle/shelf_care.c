/* Care of the shelf: the index made anew from the topics, and expiry. */
#include <assert.h>
#include <inttypes.h>

#include "candle/shelf_parts.h"

/* --- rebuild --- */

struct rebuild {
    struct shelf *shelf;
    int tier;
    struct store_batch *batch;
    uint64_t damaged;
};

static uint32_t version_of(const struct record *record) {
    for (uint32_t i = 0; i < record->header_count; i++) {
        uint32_t version;
        if (!slice_equal(record->headers[i].key, SLICE("version"))) continue;
        if (record->headers[i].value.size != sizeof version) continue;
        memcpy(&version, record->headers[i].value.data, sizeof version);
        return version;
    }
    return 1;
}

/* Records come in order, and later writes of a batch win: the newest version of a key stays. */
static enum err visit_record(void *context, const struct record *record) {
    struct rebuild *rebuild = context;
    struct lane lane;
    struct location location = {.offset = record->offset, .size_bytes = (uint32_t)record->value.size};
    struct block_view view = {0};
    struct shelf_key key;
    enum err err = shelf_record_key_parse(rebuild->shelf, record->key, &lane, &location.period_start_ms);
    if (err == ERR_OK && record->value.data != NULL) err = block_open(record->value, &view);
    bool foreign = record->value.data != NULL && (view.tier_ms != rebuild->shelf->tiers[rebuild->tier].ms ||
                                                  view.period_start_ms != location.period_start_ms);
    if (err != ERR_OK || foreign) {
        rebuild->damaged++;
        return ERR_OK;
    }
    shelf_key_lane(rebuild->shelf, lane, rebuild->tier, &key);
    shelf_key_time(location.period_start_ms, key.row);
    if (record->value.data == NULL) {
        const struct store_key store_key = shelf_store_key(STORE_BLOCKS, &key);
        store_batch_delete(rebuild->batch, &store_key);
    } else {
        location.first_ms = view.first_open_ms;
        location.last_ms = view.last_open_ms;
        location.rows = view.row_count;
        location.version = version_of(record);
        shelf_location_put(rebuild->batch, &key, &location);
    }
    return store_batch_err(rebuild->batch);
}

static enum err rebuild_tier(struct rebuild *rebuild, struct diag *diag) {
    struct log_partition *partition = rebuild->shelf->tiers[rebuild->tier].partition;
    struct log_cursor *cursor = NULL;
    struct record_batch batch;
    struct arena arena;
    if (partition == NULL) return ERR_OK;
    arena_init(&arena, 4 * RECORD_BATCH_MAX_BYTES);
    enum err err = log_cursor_open(partition, log_start_offset(partition), diag, &cursor);
    while (err == ERR_OK) {
        err = log_cursor_next(cursor, diag, &batch);
        if (err == ERR_OK) err = record_batch_visit(&batch, &arena, visit_record, rebuild);
        if (err == ERR_CORRUPT) {
            rebuild->damaged++;
            err = ERR_OK;
        }
        arena_clear(&arena);
    }
    log_cursor_close(&cursor);
    arena_deinit(&arena);
    return err == ERR_END ? ERR_OK : err;
}

enum err shelf_rebuild(struct shelf *shelf, struct store_batch *batch, struct diag *diag) {
    struct rebuild rebuild = {.shelf = shelf, .batch = batch};
    for (rebuild.tier = 0; rebuild.tier < TIER_COUNT; rebuild.tier++) {
        enum err err = rebuild_tier(&rebuild, diag);
        if (err != ERR_OK) return err;
    }
    if (rebuild.damaged > 0)
        diag_set(diag, ERR_CORRUPT, "%" PRIu64 " damaged records of sealed candles were passed over", rebuild.damaged);
    return ERR_OK;
}

/* --- expiry --- */

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
