/* The shelf: where stored candles lie, open rows in the store and sealed periods in compacted topics, read as one.
 *
 * A lane is (series, basis). Its base tier is 1m (or 1s); 15m and 1d (UTC) rows are made when a day is sealed. Recent,
 * unsealed base rows are mini-blocks of an hour (1s: a minute) in STORE_CANDLES; a sealed period (1s: an hour, 1m: a UTC day, 15m: a UTC
 * month, 1d: a UTC year) is one compressed column block (candle/block.h), a record of the topic `candles.sealed.<tier>`
 * keyed "<series name>|<kind>|<basis>|<period start>", and STORE_BLOCKS says where it lies. A row in STORE_CANDLES wins over
 * the same minute of a sealed block. The tables' keys and values are written down at the head of shelf.c.
 *
 * Threads: writing functions are the owning task's; `shelf_scan` may run on any thread with its own snapshot. */
#ifndef CANDLE_SHELF_H
#define CANDLE_SHELF_H

#include "candle/candle.h"
#include "candle/series.h"
#include "log/log.h"
#include "store/store.h"

struct shelf;

struct lane {
    uint32_t series;
    uint8_t basis; /* enum candle_basis */
};

struct shelf_options {
    struct store *store;
    struct log *log;             /* topics candles.sealed.* are created where missing */
    struct series_table *series; /* for keys of records; a rebuild adds the series it finds */
    uint32_t base_ms;            /* 60000 or 1000 */
    int64_t retention_ms[3];     /* of base, 15m, 1d rows by their own time; 0: for ever */
    const struct sys *sys;       /* the append time of blocks; NULL: a block's records carry the end of its rows */
    uint64_t waste_bytes;        /* of a topic, for which compaction is worth it; 0: 1 MiB */
};

enum err shelf_open(const struct shelf_options *options, struct diag *diag, struct shelf **ret_shelf) MUST_USE;
void shelf_close(struct shelf **shelf);

/* --- reading --- */

/* Return ERR_END to stop early (counts as success). Candles live during the call only. */
typedef enum err (*candle_visit)(void *context, const struct candle *candle);

struct shelf_range {
    struct lane lane;
    uint32_t tier_ms;
    int64_t
        from_ms; /* rows with from <= open_time < to, multiples of the tier; minutes without a row are not visited */
    int64_t to_ms;
    bool descending;
};
enum err shelf_scan(struct shelf *shelf, struct store_snapshot *snapshot, const struct shelf_range *range,
                    candle_visit visit, void *context, struct diag *diag) MUST_USE;
/* What the shelf has of a lane. Tier rows above the base exist only for sealed days; for later ones, and for days that late
 * events have re-opened, the caller merges base rows. */
struct shelf_bounds {
    int64_t
        sealed_ms; /* end of the last sealed day, a UTC midnight, its base rows expired or not; INT64_MIN: none is */
    int64_t reopened_ms; /* the earliest day before it that has open rows again; INT64_MAX: none */
    int64_t open_ms;     /* no row that is not sealed lies between sealed_ms and this; INT64_MAX: there is none */
    int64_t end_ms;      /* behind the last base row; INT64_MIN: there is none */
};
enum err shelf_bounds(struct shelf *shelf, struct store_snapshot *snapshot, struct lane lane,
                      struct shelf_bounds *ret_bounds) MUST_USE;
/* The first day at or after `from_ms`, a UTC midnight, on which longer rows are not up to date, because it has open rows;
 * INT64_MAX: none is. Days that have expired are passed over: longer rows are all that is left of them. */
enum err shelf_open_day(struct shelf *shelf, struct store_snapshot *snapshot, struct lane lane, int64_t from_ms,
                        int64_t *ret_day_ms) MUST_USE;
/* Have the base rows of that UTC day expired, after longer ones were made of them? */
enum err shelf_has_expired(struct shelf *shelf, struct store_snapshot *snapshot, struct lane lane, int64_t day_ms,
                           bool *ret_expired) MUST_USE;
/* What lies before it and was sealed has expired. INT64_MIN: nothing has been sealed. */
enum err shelf_kept_from(struct shelf *shelf, struct store_snapshot *snapshot, struct lane lane,
                         int64_t *ret_ms) MUST_USE;
/* Visits every lane that has rows. */
enum err shelf_lanes(struct shelf *shelf, struct store_snapshot *snapshot,
                     enum err (*visit)(void *context, struct lane lane), void *context) MUST_USE;

/* --- writing --- */

/* Adds changed base rows (ascending, of one lane) to a store batch; rows of an hour already stored are merged in from the
 * snapshot, newer wins. Once a lane and hour between a snapshot and the commit. */
enum err shelf_put(struct shelf *shelf, struct store_snapshot *snapshot, struct store_batch *batch, struct lane lane,
                   const struct candle *candles, uint32_t count) MUST_USE;

/* The same, put off to `shelf_flush`, which merges with what is stored then: a freeze on the task's thread costs a copy of the
 * rows, and packing them is the checkpoint thread's. Past SHELF_LATER_ROWS_MAX rows they are put at once. */
enum { SHELF_LATER_ROWS_MAX = 1 << 17 };
enum err shelf_put_later(struct shelf *shelf, struct store_snapshot *snapshot, struct store_batch *batch,
                         struct lane lane, const struct candle *candles, uint32_t count) MUST_USE;

/* Seals whole UTC days of base rows (ascending, gaps allowed) of one lane; several days at once for imports. Merges with
 * what is stored of those days (given rows win), makes 15m and 1d rows, seals months and years that are over (a later day
 * is sealed), and appends the blocks to their topics, not yet durable. Index rows and deletions wait for `shelf_flush`.
 * What the same store batch holds of those days by `shelf_put` must be among the rows given. Days of a lane ascend between
 * two flushes (ERR_STATE): the snapshot does not show what was not committed. */
enum err shelf_seal(struct shelf *shelf, struct store_snapshot *snapshot, struct lane lane,
                    const struct candle *candles, uint32_t count, struct diag *diag) MUST_USE;
/* The same for imports: one UTC day of a lane, packed by a thread beside the caller's, who helps where that one falls behind.
 * Takes the rows over and leaves another buffer of that room, which is a day of minutes and somewhat more, to read on into; a
 * first one is malloc(SHELF_LOAD_ROWS * sizeof(struct candle)). Days that are not new, and shelves of 1s, take shelf_seal's way. Before
 * anything else is written or flushed comes shelf_load_end. At most SHELF_LOADS_MAX days are under way. */
enum { SHELF_LOAD_ROWS = 1536, SHELF_LOADS_MAX = 8 };
enum err shelf_load(struct shelf *shelf, struct store_snapshot *snapshot, struct lane lane, struct candle **rows,
                    uint32_t count, struct diag *diag) MUST_USE;
enum err shelf_load_end(struct shelf *shelf, struct store_snapshot *snapshot, struct diag *diag) MUST_USE;
/* Adds the rows put off, waits for the appends of all seals since the last flush, and adds their index rows, tier rows and
 * deletions to `batch`. Where the log has no room everything stays as it is: flush again. */
enum err shelf_flush(struct shelf *shelf, struct store_batch *batch, struct diag *diag) MUST_USE;
/* Blocks appended from here on carry an origin, not 0: a rebuild asks whether it was committed. */
void shelf_set_origin(struct shelf *shelf, uint64_t origin);
/* Days loaded are packed by who calls, on its thread: for where others use the other cores. Before the first one. */
void shelf_pack_here(struct shelf *shelf);
/* Index rows again from the sealed topics (wick fsck --rebuild). Damaged records are passed over; `diag` then says how
 * many (the result is ERR_OK all the same). Series that are not known yet are added to the table. */
typedef bool (*shelf_origin_known)(const void *context, uint64_t origin);
enum err shelf_rebuild(struct shelf *shelf, struct store_batch *batch, shelf_origin_known known, const void *context,
                       struct diag *diag) MUST_USE;
/* Then, with those committed: 15m and 1d rows of sealed days whose month or year has no block yet, or an older one. */
enum err shelf_rebuild_tiers(struct shelf *shelf, struct store_snapshot *snapshot, struct store_batch *batch,
                             struct diag *diag) MUST_USE;
/* Deletes expired rows and blocks (index rows into `batch`, tombstones into the topics). Base rows go once they are sealed, day
 * by day: a day that has open rows stays, and so do later ones. Before a day of base rows goes, the 15m
 * and 1d rows made from it go into a block, if that of their month or year is not yet: a rebuild has nothing else to make them
 * from. Looks once an hour of `now_ms`, takes at most about SHELF_EXPIRE_MAX a flush, and goes on after it if
 * there are more. */
enum { SHELF_EXPIRE_MAX = 2000 };
enum err shelf_expire(struct shelf *shelf, struct store_snapshot *snapshot, int64_t now_ms, struct store_batch *batch,
                      struct diag *diag) MUST_USE;

/* --- giving space back (compact.c): one thread's at a time, of any --- */

/* Notes what the index names. By then nothing that an import has appended may wait for its commit. `known` NULL: all are. */
struct shelf_compaction;
enum err shelf_compaction_open(struct shelf *shelf, shelf_origin_known known, const void *context, struct diag *diag,
                               struct shelf_compaction **ret_compaction) MUST_USE;
void shelf_compaction_close(struct shelf_compaction **compaction);
/* Whether enough can be given back to be worth the rewriting. */
bool shelf_compaction_wanted(const struct shelf_compaction *compaction);
/* Once every snapshot from before it was opened is closed (store_turn). Ends early, with ERR_OK, when *stop is set. */
enum err shelf_compaction_run(struct shelf_compaction *compaction, const _Atomic bool *stop,
                              struct diag *diag) MUST_USE;
/* Grows with every record of the sealed topics: a look at the index is due when it has. */
int64_t shelf_sealed_end(const struct shelf *shelf);

#endif
