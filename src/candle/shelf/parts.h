/* The shelf's inside, shared by the files of this folder and nobody else. */
#ifndef CANDLE_SHELF_PARTS_H
#define CANDLE_SHELF_PARTS_H

#include <pthread.h>

#include "candle/block.h"
#include "candle/shelf.h"

enum {
    TIER_BASE,
    TIER_QUARTER, /* 15m */
    TIER_DAY,
    TIER_COUNT,
    SHELF_CACHE_BYTES = 64 * 1024 * 1024,
    SHELF_CACHE_ENTRIES = 1 << 15,
    SHELF_BATCH_BYTES = 64 * 1024, /* a reader fetches a whole batch for one block */
    SHELF_IN_FLIGHT_BYTES = 8 * 1024 * 1024,
    SHELF_KEY_BYTES = 9,
    SHELF_SCANS_KEPT = 2,
    SHELF_UNIT_ROWS_MAX = 96
};
#define SHELF_DAY_MS INT64_C(86400000)
#define SHELF_HOUR_MS INT64_C(3600000)

struct tier {
    uint32_t ms;
    char topic[32];
    struct log_partition *partition;
};

/* Where a sealed block lies: a row of STORE_BLOCKS. */
struct location {
    int64_t period_start_ms; /* the row key */
    int64_t offset;
    int64_t first_ms, last_ms;
    uint32_t partition;
    uint32_t size_bytes;
    uint32_t rows;
    uint32_t version; /* counts the records of this key */
};

struct shelf_cache;
struct shelf_scan_state;
struct shelf_sealing;
struct shelf_load;

/* Rows put off until the flush. */
struct shelf_later {
    struct candle *rows;
    uint32_t row_count, row_capacity;
    struct later_run {
        struct lane lane;
        uint32_t count; /* of rows, in order */
    } * runs;
    uint32_t run_count, run_capacity;
};

struct shelf {
    struct shelf_options options;
    struct tier tiers[TIER_COUNT];
    struct shelf_cache *cache;
    struct shelf_sealing *sealing;
    struct shelf_later later;
    struct shelf_load *load; /* NULL: none yet */
    bool packs_here;
    uint64_t origin; /* 0: none */
    int64_t expire_next_ms;
    bool expiring;                        /* something since the last flush */
    uint64_t compacted_bytes[TIER_COUNT]; /* what the last compaction left; its thread's */
    pthread_mutex_t scans_lock;
    struct shelf_scan_state *scans[SHELF_SCANS_KEPT];
    struct candle unit_rows[3 * SHELF_UNIT_ROWS_MAX]; /* the writer's: stored, merged */
};

/* --- times and keys (shelf.c) --- */

/* The period of a block or of a mini-block that holds `time_ms`. */
struct span {
    int64_t start_ms, end_ms;
};
struct span shelf_period(const struct shelf *shelf, int tier, int64_t time_ms);
struct span shelf_unit(const struct shelf *shelf, int tier, int64_t time_ms);
/* The tier of that length, -1 if there is none. */
int shelf_tier(const struct shelf *shelf, uint32_t tier_ms);

struct shelf_key {
    uint8_t partition[SHELF_KEY_BYTES];
    uint8_t row[8];
};
void shelf_key_lane(const struct shelf *shelf, struct lane lane, int tier, struct shelf_key *ret_key);
void shelf_key_time(int64_t time_ms, uint8_t row[static 8]);
enum err shelf_key_parse_lane(struct slice partition, struct lane *ret_lane, uint32_t *ret_tier_ms) MUST_USE;
enum err shelf_key_parse_time(struct slice row, int64_t *ret_time_ms) MUST_USE;
struct store_key shelf_store_key(enum store_table table, const struct shelf_key *key);

void shelf_location_put(struct store_batch *batch, const struct shelf_key *key, const struct location *location);
enum err shelf_location_parse(struct slice row, struct slice value, struct location *ret_location) MUST_USE;

/* A mini-block into a batch. */
enum err shelf_unit_put(const struct shelf *shelf, struct store_batch *batch, struct lane lane, int tier,
                        const struct candle *rows, uint32_t count) MUST_USE;

/* Times of the rows a table holds of a lane and tier, by their keys: the first at or after from, the last before to.
 * ERR_NOT_FOUND. */
enum err shelf_edge(struct shelf *shelf, struct store_snapshot *snapshot, enum store_table table, struct lane lane,
                    int tier, struct span range, bool last, int64_t *ret_time_ms) MUST_USE;

/* --- records (cache.c) --- */

enum { SHELF_RECORD_KEY_MAX = SERIES_NAME_MAX + 64 };
size_t shelf_record_key(const struct shelf *shelf, struct lane lane, int64_t period_start_ms,
                        char text[static SHELF_RECORD_KEY_MAX]);
enum err shelf_record_key_parse(struct shelf *shelf, struct slice key, struct lane *ret_lane,
                                int64_t *ret_period_start_ms) MUST_USE;

/* False where it has none. */
bool shelf_record_origin(const struct record *record, uint64_t *ret_origin);

enum err shelf_cache_open(struct shelf_cache **ret_cache) MUST_USE;
void shelf_cache_close(struct shelf_cache **cache);
/* A sealed block, checked once; `release` when done with the view. */
struct shelf_pin;
enum err shelf_block_get(struct shelf *shelf, int tier, const struct location *location, struct diag *diag,
                         struct shelf_pin **ret_pin) MUST_USE;
const struct block_view *shelf_pin_view(const struct shelf_pin *pin);
void shelf_pin_release(struct shelf *shelf, struct shelf_pin **pin);

/* --- scans (scan.c) --- */
void shelf_scans_close(struct shelf *shelf);

/* --- packing (pack.c): any thread --- */

enum { SHELF_QUARTERS_MAX = 96 };

struct shelf_pack {
    struct buf block;
    struct candle quarters[SHELF_QUARTERS_MAX]; /* 15m rows */
    uint32_t quarter_count;
    struct candle sum; /* of all rows, of which there are `parts`; to become a day's */
    uint32_t parts;
};
void shelf_pack_init(struct shelf_pack *pack);
void shelf_pack_deinit(struct shelf_pack *pack);
/* The rows of one base period, a day at most. */
enum err shelf_pack(const struct shelf *shelf, struct span period, const struct candle *rows, uint32_t count,
                    struct shelf_pack *pack, struct diag *diag) MUST_USE;
/* The sums alone. */
enum err shelf_pack_sums(const struct shelf *shelf, const struct candle *rows, uint32_t count,
                         struct shelf_pack *pack) MUST_USE;
/* A sum of base rows of `part_ms` as a row of a tier. */
struct candle shelf_tier_row(const struct candle *sum, uint32_t part_ms, uint32_t tier_ms);

/* --- rows put off (later.c) --- */
enum err shelf_later_flush(struct shelf *shelf, struct store_batch *batch) MUST_USE;
void shelf_later_close(struct shelf *shelf);

/* --- sealing (append.c, seal.c) --- */

enum err shelf_sealing_open(struct shelf_sealing **ret_sealing) MUST_USE;
void shelf_sealing_close(struct shelf *shelf);
/* A record for a tier's topic, on its way; `location` gets its offset at the flush and becomes an index row. A `value`
 * without data is a tombstone and has no location. */
enum err shelf_append(struct shelf *shelf, struct lane lane, int tier, struct slice value,
                      const struct location *location, struct diag *diag) MUST_USE;
/* What the flush will add to the batch beside index rows. */
struct store_batch *shelf_pending(struct shelf *shelf);
/* The end of what was handed over of a lane and tier since the last flush (of tiers, whole periods of blocks); INT64_MIN if
 * nothing was. */
int64_t shelf_touched(const struct shelf *shelf, struct lane lane, int tier);
enum err shelf_touch(struct shelf *shelf, struct lane lane, int tier, int64_t until_ms) MUST_USE;
/* The writer's, for one block at a time. */
struct shelf_pack *shelf_scratch(struct shelf *shelf);

/* The sealing of one lane, by whole days that ascend; tier rows gather in it. */
struct seal_rows {
    struct candle *list;
    uint32_t count, capacity;
};
struct seal {
    struct shelf *shelf;
    struct store_snapshot *snapshot; /* of the call at hand */
    struct diag *diag;
    struct lane lane;
    int64_t until_ms; /* everything before it is sealed, the days at hand included; INT64_MIN: not asked yet */
    bool stored;      /* something is stored of the days at hand */
    struct seal_rows quarters, days;
    struct candle day; /* being summed, of day_parts base rows */
    uint32_t day_parts;
    int64_t day_ms;        /* the day at hand */
    uint32_t day_quarters; /* where its quarters begin */
    bool expired;          /* its base rows have expired */
    struct seal_rows old, merged;
};
void seal_begin(struct seal *seal, struct shelf *shelf, struct lane lane);
void seal_deinit(struct seal *seal);
/* Is nothing stored of that day? */
enum err seal_is_new(struct seal *seal, struct span day, bool *ret_new) MUST_USE;
/* A new day of one base period, packed. */
enum err seal_add_day(struct seal *seal, struct span day, const struct candle *rows, uint32_t count,
                      const struct shelf_pack *pack) MUST_USE;
/* Tier rows of days before `before_ms` into blocks, of a month or year that is not over too. Nothing of the lane may have been
 * handed over since the last flush. */
enum err seal_tiers_early(struct seal *seal, int64_t before_ms) MUST_USE;
/* The tier rows gathered go where they belong. */
enum err seal_tiers(struct seal *seal) MUST_USE;
/* Tier rows of a sealed day that are not as its base rows say, or not there, as mini-blocks. */
enum err seal_remake_day(struct seal *seal, struct span day) MUST_USE;

/* --- loading (load.c) --- */

void shelf_load_close(struct shelf *shelf);
bool shelf_load_is_idle(const struct shelf *shelf);

#endif
