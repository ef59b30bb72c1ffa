/* Tables of the shelf. Integers in keys are big-endian, in values little-endian.
 *
 *   partition key of both tables: u32 series, u8 basis, u32 tier_ms
 *   row key of both tables: u64 time_ms with the sign bit turned, so that byte order is time order
 *
 *   STORE_CANDLES  row key: start of the unit (1s: a minute, 1m: an hour, 15m and 1d: a UTC day)
 *                  value: a block (block/block.c) of the rows of that unit
 *   STORE_BLOCKS   row key: start of the sealed period (1s: an hour, 1m: a UTC day, 15m: a UTC month, 1d: a UTC year)
 *                  value:  0 u32 partition of the topic   4 i64 offset   12 u32 size in bytes   16 u32 rows
 *                         20 u32 version   24 i64 first open time   32 i64 last open time
 *
 *   topic candles.sealed.<tier>, compacted: key "<series>|<trade or price>|<basis>|<period start ms>", value: a block, one
 *   header "version" (u32); a null value deletes. A header "origin" (u64) names the import that made it.
 *
 * Validity: a row of STORE_CANDLES wins over the same time in a block. An index row points at the newest record of its
 * key, which was durable before the row was written; a record without an index row is a newer version whose commit was
 * lost, and is written again when its day is sealed again. Recovery: STORE_BLOCKS is made from the topics
 * (shelf_rebuild), STORE_CANDLES by folding the log again. */
#include "candle/shelf.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/civil.h"
#include "candle/shelf/parts.h"

/* --- times --- */

static int64_t floor_to(int64_t time_ms, int64_t step) {
    int64_t rest = time_ms % step;
    return time_ms - (rest < 0 ? rest + step : rest);
}

static struct span fixed_span(int64_t time_ms, int64_t length) {
    int64_t start = floor_to(time_ms, length);
    return (struct span){start, start + length};
}

static struct span calendar_span(int64_t time_ms, bool year) {
    int64_t y;
    unsigned month, day;
    civil_date(floor_to(time_ms, SHELF_DAY_MS) / SHELF_DAY_MS, &y, &month, &day);
    if (year) return (struct span){civil_days(y, 1, 1) * SHELF_DAY_MS, civil_days(y + 1, 1, 1) * SHELF_DAY_MS};
    int64_t next = month == 12 ? civil_days(y + 1, 1, 1) : civil_days(y, month + 1, 1);
    return (struct span){civil_days(y, month, 1) * SHELF_DAY_MS, next * SHELF_DAY_MS};
}

struct span shelf_period(const struct shelf *shelf, int tier, int64_t time_ms) {
    if (tier == TIER_DAY) return calendar_span(time_ms, true);
    if (tier == TIER_QUARTER) return calendar_span(time_ms, false);
    return fixed_span(time_ms, shelf->options.base_ms == 1000 ? SHELF_HOUR_MS : SHELF_DAY_MS);
}

struct span shelf_unit(const struct shelf *shelf, int tier, int64_t time_ms) {
    if (tier != TIER_BASE) return fixed_span(time_ms, SHELF_DAY_MS);
    return fixed_span(time_ms, shelf->options.base_ms == 1000 ? 60000 : SHELF_HOUR_MS);
}

int shelf_tier(const struct shelf *shelf, uint32_t tier_ms) {
    for (int i = 0; i < TIER_COUNT; i++)
        if (shelf->tiers[i].ms == tier_ms) return i;
    return -1;
}

/* --- keys --- */

static void put_be(uint8_t *to, uint64_t value, int bytes) {
    for (int i = bytes; i-- > 0; value >>= 8) to[i] = (uint8_t)value;
}

void shelf_key_lane(const struct shelf *shelf, struct lane lane, int tier, struct shelf_key *ret_key) {
    put_be(ret_key->partition, lane.series, 4);
    ret_key->partition[4] = lane.basis;
    put_be(ret_key->partition + 5, shelf->tiers[tier].ms, 4);
    memset(ret_key->row, 0, sizeof ret_key->row);
}

void shelf_key_time(int64_t time_ms, uint8_t row[static 8]) { put_be(row, (uint64_t)time_ms ^ UINT64_C(1) << 63, 8); }

enum err shelf_key_parse_lane(struct slice partition, struct lane *ret_lane, uint32_t *ret_tier_ms) {
    struct reader r = reader_of(partition);
    uint32_t series = reader_be32(&r);
    uint8_t basis = reader_u8(&r);
    uint32_t tier_ms = reader_be32(&r);
    if (reader_end(&r) != ERR_OK || basis >= BASIS_COUNT) return ERR_CORRUPT;
    *ret_lane = (struct lane){series, basis};
    *ret_tier_ms = tier_ms;
    return ERR_OK;
}

enum err shelf_key_parse_time(struct slice row, int64_t *ret_time_ms) {
    struct reader r = reader_of(row);
    uint64_t time = reader_be64(&r);
    if (reader_end(&r) != ERR_OK) return ERR_CORRUPT;
    *ret_time_ms = (int64_t)(time ^ UINT64_C(1) << 63);
    return ERR_OK;
}

struct store_key shelf_store_key(enum store_table table, const struct shelf_key *key) {
    return (struct store_key){table, slice_of(key->partition, SHELF_KEY_BYTES), slice_of(key->row, sizeof key->row)};
}

/* --- index rows --- */

enum { LOCATION_BYTES = 40 };

void shelf_location_put(struct store_batch *batch, const struct shelf_key *key, const struct location *location) {
    struct buf value;
    buf_init(&value, LOCATION_BYTES);
    buf_put_le32(&value, location->partition);
    buf_put_le64(&value, (uint64_t)location->offset);
    buf_put_le32(&value, location->size_bytes);
    buf_put_le32(&value, location->rows);
    buf_put_le32(&value, location->version);
    buf_put_le64(&value, (uint64_t)location->first_ms);
    buf_put_le64(&value, (uint64_t)location->last_ms);
    struct shelf_key at = *key;
    shelf_key_time(location->period_start_ms, at.row);
    const struct store_key store_key = shelf_store_key(STORE_BLOCKS, &at);
    store_batch_put_buf(batch, &store_key, &value);
    buf_deinit(&value);
}

enum err shelf_location_parse(struct slice row, struct slice value, struct location *ret_location) {
    struct location l;
    enum err err = shelf_key_parse_time(row, &l.period_start_ms);
    if (err != ERR_OK) return err;
    struct reader r = reader_of(value);
    l.partition = reader_le32(&r);
    l.offset = (int64_t)reader_le64(&r);
    l.size_bytes = reader_le32(&r);
    l.rows = reader_le32(&r);
    l.version = reader_le32(&r);
    l.first_ms = (int64_t)reader_le64(&r);
    l.last_ms = (int64_t)reader_le64(&r);
    if (reader_end(&r) != ERR_OK) return ERR_CORRUPT;
    *ret_location = l;
    return ERR_OK;
}

/* --- mini-blocks --- */

enum err shelf_unit_put(const struct shelf *shelf, struct store_batch *batch, struct lane lane, int tier,
                        const struct candle *rows, uint32_t count) {
    struct shelf_key key;
    struct span unit = shelf_unit(shelf, tier, rows[0].open_time_ms);
    assert(count > 0 && rows[count - 1].open_time_ms < unit.end_ms);
    struct buf value;
    buf_init(&value, BLOCK_BYTES_MAX);
    enum err err = block_encode(&value, shelf->tiers[tier].ms, unit.start_ms, rows, count);
    if (err == ERR_OK) {
        shelf_key_lane(shelf, lane, tier, &key);
        shelf_key_time(unit.start_ms, key.row);
        const struct store_key store_key = shelf_store_key(STORE_CANDLES, &key);
        store_batch_put_buf(batch, &store_key, &value);
        err = store_batch_err(batch);
    }
    buf_deinit(&value);
    return err;
}

/* Both ascending; where times are equal `newer` wins. Returns how many came out. */
static uint32_t merge_rows(const struct candle *older, uint32_t older_count, const struct candle *newer,
                           uint32_t newer_count, struct candle *out) {
    uint32_t i = 0, j = 0, count = 0;
    while (i < older_count || j < newer_count) {
        bool take_newer = i == older_count || (j < newer_count && newer[j].open_time_ms <= older[i].open_time_ms);
        if (take_newer && i < older_count && older[i].open_time_ms == newer[j].open_time_ms) i++;
        out[count++] = take_newer ? newer[j++] : older[i++];
    }
    return count;
}

static enum err unit_read(struct shelf *shelf, struct store_snapshot *snapshot, struct lane lane, int64_t start_ms,
                          struct candle *rows, uint32_t *ret_count) {
    struct shelf_key key;
    struct slice value;
    struct block_view view;
    shelf_key_lane(shelf, lane, TIER_BASE, &key);
    shelf_key_time(start_ms, key.row);
    const struct store_key store_key = shelf_store_key(STORE_CANDLES, &key);
    *ret_count = 0;
    enum err err = store_get(shelf->options.store, snapshot, &store_key, &value);
    if (err == ERR_NOT_FOUND) return ERR_OK;
    if (err == ERR_OK) err = block_open(value, &view);
    if (err == ERR_OK) err = block_read(&view, INT64_MIN, INT64_MAX, rows, SHELF_UNIT_ROWS_MAX, ret_count);
    return err;
}

enum err shelf_put(struct shelf *shelf, struct store_snapshot *snapshot, struct store_batch *batch, struct lane lane,
                   const struct candle *candles, uint32_t count) {
    struct candle *stored = shelf->unit_rows, *merged = stored + SHELF_UNIT_ROWS_MAX;
    for (uint32_t at = 0, end; at < count; at = end) {
        struct span unit = shelf_unit(shelf, TIER_BASE, candles[at].open_time_ms);
        for (end = at + 1; end < count && candles[end].open_time_ms < unit.end_ms; end++)
            if (candles[end].open_time_ms <= candles[end - 1].open_time_ms) return ERR_RANGE;
        if (end - at > SHELF_UNIT_ROWS_MAX) return ERR_RANGE;
        uint32_t stored_count = 0;
        enum err err = unit_read(shelf, snapshot, lane, unit.start_ms, stored, &stored_count);
        if (err != ERR_OK) return err;
        uint32_t merged_count = merge_rows(stored, stored_count, candles + at, end - at, merged);
        err = shelf_unit_put(shelf, batch, lane, TIER_BASE, merged, merged_count);
        if (err != ERR_OK) return err;
    }
    return ERR_OK;
}

/* --- what there is --- */

static enum err visit_edge(void *context, struct slice row, struct slice value) {
    (void)value;
    enum err err = shelf_key_parse_time(row, context);
    return err == ERR_OK ? ERR_END : err;
}

enum err shelf_edge(struct shelf *shelf, struct store_snapshot *snapshot, enum store_table table, struct lane lane,
                    int tier, struct span range, bool last, int64_t *ret_time_ms) {
    struct shelf_key key;
    uint8_t end[8];
    int64_t found = INT64_MIN;
    shelf_key_lane(shelf, lane, tier, &key);
    shelf_key_time(range.start_ms, key.row);
    shelf_key_time(range.end_ms, end);
    const struct store_key from = shelf_store_key(table, &key);
    enum err err = store_scan(shelf->options.store, snapshot, &from, slice_of(end, 8), last, visit_edge, &found);
    if (err != ERR_OK) return err;
    if (found == INT64_MIN) return ERR_NOT_FOUND;
    *ret_time_ms = found;
    return ERR_OK;
}

struct ends {
    int64_t start_ms; /* of the first one visited */
    int64_t last_ms;
};

static enum err visit_last_block(void *context, struct slice row, struct slice value) {
    struct ends *ends = context;
    struct location location;
    enum err err = shelf_location_parse(row, value, &location);
    if (err != ERR_OK) return err;
    *ends = (struct ends){location.period_start_ms, location.last_ms};
    return ERR_END;
}

static enum err visit_last_unit(void *context, struct slice row, struct slice value) {
    struct ends *ends = context;
    struct block_view view;
    enum err err = shelf_key_parse_time(row, &ends->start_ms);
    if (err == ERR_OK) err = block_open(value, &view);
    if (err != ERR_OK) return err;
    ends->last_ms = view.last_open_ms;
    return ERR_END;
}

static enum err find_last(struct shelf *shelf, struct store_snapshot *snapshot, struct lane lane, int tier, bool sealed,
                          struct ends *ends) {
    struct shelf_key key;
    shelf_key_lane(shelf, lane, tier, &key);
    const struct store_key from = shelf_store_key(sealed ? STORE_BLOCKS : STORE_CANDLES, &key);
    static const uint8_t top[8] = {255, 255, 255, 255, 255, 255, 255, 255};
    *ends = (struct ends){INT64_MIN, INT64_MIN};
    return store_scan(shelf->options.store, snapshot, &from, slice_of(top, 8), true,
                      sealed ? visit_last_block : visit_last_unit, ends);
}

static enum err first_open(struct shelf *shelf, struct store_snapshot *snapshot, struct lane lane, int64_t from_ms,
                           int64_t *ret_ms) {
    enum err err =
        shelf_edge(shelf, snapshot, STORE_CANDLES, lane, TIER_BASE, (struct span){from_ms, INT64_MAX}, false, ret_ms);
    if (err == ERR_NOT_FOUND) *ret_ms = INT64_MAX;
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

/* The end of the last day that has a row of 1d; INT64_MIN: none has. */
static enum err end_of_days(struct shelf *shelf, struct store_snapshot *snapshot, struct lane lane, int64_t *ret_ms) {
    struct ends block, unit;
    enum err err = find_last(shelf, snapshot, lane, TIER_DAY, true, &block);
    if (err == ERR_OK) err = find_last(shelf, snapshot, lane, TIER_DAY, false, &unit);
    if (err != ERR_OK) return err;
    int64_t last_ms = block.last_ms > unit.last_ms ? block.last_ms : unit.last_ms;
    *ret_ms = last_ms == INT64_MIN ? last_ms : last_ms + SHELF_DAY_MS;
    return ERR_OK;
}

enum err shelf_bounds(struct shelf *shelf, struct store_snapshot *snapshot, struct lane lane,
                      struct shelf_bounds *ret_bounds) {
    struct shelf_bounds b = {INT64_MIN, INT64_MAX, INT64_MAX, INT64_MIN};
    struct ends block, unit;
    const int64_t tier = shelf->tiers[TIER_BASE].ms;
    enum err err = find_last(shelf, snapshot, lane, TIER_BASE, true, &block);
    if (err == ERR_OK) err = find_last(shelf, snapshot, lane, TIER_BASE, false, &unit);
    if (err == ERR_OK && block.start_ms == INT64_MIN) err = end_of_days(shelf, snapshot, lane, &b.sealed_ms);
    if (err != ERR_OK) return err;
    if (block.start_ms != INT64_MIN) b.sealed_ms = floor_to(block.start_ms, SHELF_DAY_MS) + SHELF_DAY_MS;
    if (block.start_ms != INT64_MIN) b.end_ms = block.last_ms + tier;
    if (unit.start_ms != INT64_MIN && unit.last_ms + tier > b.end_ms) b.end_ms = unit.last_ms + tier;
    int64_t first = INT64_MAX;
    if (unit.start_ms != INT64_MIN) err = first_open(shelf, snapshot, lane, INT64_MIN + 1, &first);
    if (err == ERR_OK && first < b.sealed_ms) {
        b.reopened_ms = floor_to(first, SHELF_DAY_MS);
        err = unit.start_ms < b.sealed_ms ? ERR_OK : first_open(shelf, snapshot, lane, b.sealed_ms, &b.open_ms);
    } else {
        b.open_ms = first;
    }
    if (err == ERR_OK) *ret_bounds = b;
    return err;
}

struct lane_list {
    uint64_t *lanes; /* series << 8 | basis */
    size_t count, capacity;
};

static enum err collect_lane(void *context, struct slice partition, struct slice value) {
    (void)value;
    struct lane_list *list = context;
    struct lane lane;
    uint32_t tier_ms;
    enum err err = shelf_key_parse_lane(partition, &lane, &tier_ms);
    if (err != ERR_OK) return err;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 256 : list->capacity * 2;
        uint64_t *lanes = realloc(list->lanes, capacity * sizeof *lanes);
        if (lanes == NULL) return ERR_NO_MEMORY;
        list->lanes = lanes;
        list->capacity = capacity;
    }
    list->lanes[list->count++] = (uint64_t)lane.series << 8 | lane.basis;
    return ERR_OK;
}

static int compare_lanes(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

enum err shelf_lanes(struct shelf *shelf, struct store_snapshot *snapshot,
                     enum err (*visit)(void *context, struct lane lane), void *context) {
    struct lane_list list = {0};
    enum err err = store_partitions(shelf->options.store, snapshot, STORE_CANDLES, collect_lane, &list);
    if (err == ERR_OK) err = store_partitions(shelf->options.store, snapshot, STORE_BLOCKS, collect_lane, &list);
    if (list.count > 0) qsort(list.lanes, list.count, sizeof *list.lanes, compare_lanes);
    for (size_t i = 0; i < list.count && err == ERR_OK; i++) {
        if (i > 0 && list.lanes[i] == list.lanes[i - 1]) continue;
        err = visit(context, (struct lane){(uint32_t)(list.lanes[i] >> 8), (uint8_t)list.lanes[i]});
    }
    free(list.lanes);
    return err == ERR_END ? ERR_OK : err;
}

/* --- life cycle --- */

static enum err open_topic(struct shelf *shelf, struct tier *tier, uint32_t ms, const char *name, struct diag *diag) {
    const struct log_topic_options options = {.partition_count = 1, .compacted = true};
    tier->ms = ms;
    snprintf(tier->topic, sizeof tier->topic, "candles.sealed.%s", name);
    struct log *log = shelf->options.log;
    enum err err = log_partition_find(log, tier->topic, 0, &tier->partition);
    if (err != ERR_NOT_FOUND) return err;
    err = log_topic_create(log, tier->topic, &options, diag);
    if (err == ERR_STATE) return ERR_OK; /* a log opened for reading: there are no blocks */
    if (err != ERR_OK) return err;
    return log_partition_find(log, tier->topic, 0, &tier->partition);
}

enum err shelf_open(const struct shelf_options *options, struct diag *diag, struct shelf **ret_shelf) {
    assert(options->store != NULL && options->log != NULL && options->series != NULL);
    assert(options->base_ms == 1000 || options->base_ms == 60000);
    struct shelf *shelf = calloc(1, sizeof *shelf);
    if (shelf == NULL) return diag_set(diag, ERR_NO_MEMORY, "no memory for the shelf");
    shelf->options = *options;
    pthread_mutex_init(&shelf->scans_lock, NULL);
    bool seconds = options->base_ms == 1000;
    enum err err = open_topic(shelf, &shelf->tiers[TIER_BASE], options->base_ms, seconds ? "1s" : "1m", diag);
    if (err == ERR_OK) err = open_topic(shelf, &shelf->tiers[TIER_QUARTER], 900000, "15m", diag);
    if (err == ERR_OK) err = open_topic(shelf, &shelf->tiers[TIER_DAY], 86400000, "1d", diag);
    if (err == ERR_OK) err = shelf_cache_open(&shelf->cache);
    if (err == ERR_OK) err = shelf_sealing_open(&shelf->sealing);
    if (err != ERR_OK) {
        shelf_close(&shelf);
        return err;
    }
    *ret_shelf = shelf;
    return ERR_OK;
}

void shelf_set_origin(struct shelf *shelf, uint64_t origin) { shelf->origin = origin; }

void shelf_pack_here(struct shelf *shelf) { shelf->packs_here = true; }

void shelf_close(struct shelf **shelf) {
    if (*shelf == NULL) return;
    shelf_load_close(*shelf);
    shelf_sealing_close(*shelf);
    shelf_later_close(*shelf);
    shelf_cache_close(&(*shelf)->cache);
    shelf_scans_close(*shelf);
    pthread_mutex_destroy(&(*shelf)->scans_lock);
    free(*shelf);
    *shelf = NULL;
}
