/* The index made anew from the topics, and tier rows that are in no block yet from base rows. */
#include <assert.h>
#include <inttypes.h>

#include "candle/shelf/parts.h"

/* --- the index --- */

struct rebuild {
    struct shelf *shelf;
    int tier;
    struct store_batch *batch;
    shelf_origin_known known;
    const void *context;
    uint64_t damaged;
};

static bool header_of(const struct record *record, struct slice name, void *value, size_t size) {
    for (uint32_t i = 0; i < record->header_count; i++) {
        if (!slice_equal(record->headers[i].key, name) || record->headers[i].value.size != size) continue;
        memcpy(value, record->headers[i].value.data, size);
        return true;
    }
    return false;
}

bool shelf_record_origin(const struct record *record, uint64_t *ret_origin) {
    return header_of(record, SLICE("origin"), ret_origin, sizeof *ret_origin);
}

/* An import that was not committed leaves blocks behind that nobody may see. */
static bool is_committed(const struct rebuild *rebuild, const struct record *record) {
    uint64_t origin;
    return rebuild->known == NULL || !shelf_record_origin(record, &origin) || rebuild->known(rebuild->context, origin);
}

/* Records come in order, and later writes of a batch win: the newest version of a key stays. */
static enum err visit_record(void *context, const struct record *record) {
    struct rebuild *rebuild = context;
    struct lane lane;
    struct location location = {.offset = record->offset, .size_bytes = (uint32_t)record->value.size};
    struct block_view view = {0};
    struct shelf_key key;
    uint32_t version = 1;
    if (!is_committed(rebuild, record)) return ERR_OK;
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
        (void)header_of(record, SLICE("version"), &version, sizeof version);
        location.version = version;
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

enum err shelf_rebuild(struct shelf *shelf, struct store_batch *batch, shelf_origin_known known, const void *context,
                       struct diag *diag) {
    struct rebuild rebuild = {.shelf = shelf, .batch = batch, .known = known, .context = context};
    for (rebuild.tier = 0; rebuild.tier < TIER_COUNT; rebuild.tier++) {
        enum err err = rebuild_tier(&rebuild, diag);
        if (err != ERR_OK) return err;
    }
    if (rebuild.damaged > 0)
        diag_set(diag, ERR_CORRUPT, "%" PRIu64 " damaged records of sealed candles were passed over", rebuild.damaged);
    return ERR_OK;
}

/* --- tier rows --- */

struct remake {
    struct shelf *shelf;
    struct store_snapshot *snapshot;
    struct diag *diag;
};

static enum err remake_lane(void *context, struct lane lane) {
    const struct remake *remake = context;
    struct seal seal = {.snapshot = remake->snapshot, .diag = remake->diag};
    struct span left = {INT64_MIN + 1, INT64_MAX};
    int64_t start_ms;
    seal_begin(&seal, remake->shelf, lane);
    enum err err;
    while ((err = shelf_edge(remake->shelf, remake->snapshot, STORE_BLOCKS, lane, TIER_BASE, left, false, &start_ms)) ==
           ERR_OK) {
        struct span day = shelf_unit(remake->shelf, TIER_DAY, start_ms);
        if ((err = seal_remake_day(&seal, day)) != ERR_OK) break;
        left.start_ms = day.end_ms;
    }
    seal_deinit(&seal);
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

enum err shelf_rebuild_tiers(struct shelf *shelf, struct store_snapshot *snapshot, struct store_batch *batch,
                             struct diag *diag) {
    struct remake remake = {shelf, snapshot, diag};
    enum err err = shelf_lanes(shelf, snapshot, remake_lane, &remake);
    return err == ERR_OK ? shelf_flush(shelf, batch, diag) : err;
}
