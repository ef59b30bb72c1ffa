/* The book from the inside: lanes, their rows in memory, and what each of the book's files offers the others. Private.
 *
 *   fold.c        events into rows
 *   klines.c      rows that a venue made
 *   minute.c      one base interval: arithmetic
 *   rows.c        rows of a lane in memory: find, make, load from the shelf, let go
 *   ids.c         is this event new? ids seen, epochs, recent events without ids
 *   coverage.c    what a row may claim; quiet minutes; closing
 *   state.c       the fold state of a lane as bytes
 *   save.c        what changed, checkpoints, sealing
 *   slice_copy.c  rows copied for a reader on another thread
 *   book.c        the public verbs
 *
 * Rows lie in chunks of ROWS_A_CHUNK base intervals, so that a lane is a short sorted array of chunks, a row is found by
 * one subtraction, and what must be saved is one bit a row. */
#ifndef CANDLE_BOOK_LANE_H
#define CANDLE_BOOK_LANE_H

#include "candle/book.h"
#include "candle/book/idset.h"
#include "candle/book/minute.h"

enum {
    ROWS_A_CHUNK = 60,
    EPOCHS_MAX = 16, /* id resets remembered a lane */
    EPOCH_RANGES_MAX = 1 << 14,
    RECENTS_MAX = 1 << 21, /* slots of one stretch, of which half are used */
    FEED_RANGES_MAX = 64,  /* stretches in which the feed was up, remembered a lane */
    RECENT_HASHES = 64,    /* last ids of which the content is remembered */
    QUIET_FILL_MAX = 1440, /* quiet rows made between two adjacent trades; longer stretches are left to the reader */
    DAYS_MAX = 4096,       /* unsealed days a lane */
    LIVE_MS = 5 * 60 * 1000,
    EPOCH_MS = 60 * 1000,       /* an old id this much after everything seen is a new epoch */
    SPARSE_MS = 60 * 60 * 1000, /* horizon of the exact set of sparse ids: this hour and the one before */
};

static const int64_t TIME_MAX_MS = INT64_C(253402300800000); /* year 10000 */
static const int64_t DAY_MS = 86400000;

struct chunk {
    int64_t start_ms;
    uint64_t present, open; /* bit i: row i exists; is not closed yet */
    uint64_t dirty, frozen; /* not yet frozen; frozen but not committed */
    uint64_t changed;       /* since book_changes */
    uint64_t published;     /* closed, and said so */
    uint8_t count, capacity;
    uint8_t at[ROWS_A_CHUNK]; /* index into rows */
    struct minute *rows;
};

/* A set of 64-bit hashes; two of them hold the events without ids of this stretch of time and of the one before. Few are a
 * list, which thin series never leave: what is not in its filter is added without a look at it, and it is cleared by
 * forgetting its length. */
enum { RECENTS_LIST_MAX = 32 };
struct recents {
    uint64_t *slots; /* a list of `count`, or open addressing, where 0 is empty */
    uint32_t count, capacity;
    uint64_t filter[2]; /* of a list: one bit of each for a hash */
};

static inline bool recents_is_list(const struct recents *r) { return r->capacity <= RECENTS_LIST_MAX; }
static inline bool recents_full(const struct recents *r) {
    return recents_is_list(r) ? r->count == r->capacity : r->count * 2 >= r->capacity;
}
static inline bool recents_list_has(const struct recents *r, uint64_t hash) {
    bool known = false;
    for (uint32_t i = 0; i < r->count; i++) known |= r->slots[i] == hash;
    return known;
}
/* Adds a hash that is not 0 to a set that is not full; false if it was there. */
static inline bool recents_add_new(struct recents *r, uint64_t hash) {
    if (recents_is_list(r)) {
        uint64_t first = UINT64_C(1) << (hash & 63), second = UINT64_C(1) << (hash >> 6 & 63);
        bool maybe = (r->filter[0] & first) != 0 && (r->filter[1] & second) != 0;
        if (__builtin_expect(maybe, 0) && recents_list_has(r, hash)) return false;
        r->filter[0] |= first;
        r->filter[1] |= second;
        r->slots[r->count++] = hash;
        return true;
    }
    uint32_t mask = r->capacity - 1, at = (uint32_t)hash & mask;
    for (; r->slots[at] != 0; at = (at + 1) & mask)
        if (r->slots[at] == hash) return false;
    r->slots[at] = hash;
    r->count++;
    return true;
}

struct id_epoch {
    int64_t end_ms; /* event times before it */
    struct idset ids;
};

struct unsealed_day {
    int32_t day;      /* since 1970 */
    uint32_t touched; /* freeze count of the last change */
};

enum lane_ids { LANE_DENSE, LANE_SPARSE, LANE_BARE, LANE_KLINES };
enum { LISTED_CHANGED = 1, LISTED_DIRTY = 2, LISTED_TOUCHED = 4, LISTED_FROZEN = 8, LISTED_FREEZING = 16 };
/* Of the changed rows of a lane on that list, the hot one is the only one, and its chunk does not say so. */
enum { LISTED_HOT_CHANGED = 32 };
enum { LISTED_HOT = LISTED_CHANGED | LISTED_DIRTY }; /* the lists that a hot row's lane is on */

struct lane_state {
    /* What nearly every event needs. `hot` is the row that the lane is at, taken out of its chunk: it is open, newest, saved
     * and published anyway, and the lane is on the lists for that. `lane_settle` puts it back, and comes before anything that looks
     * at rows. One row in one place a lane keeps two thousand thin series within the processor's caches. */
    int64_t current_ms; /* start of the hot row; INT64_MIN: none is */
    int64_t check_ms;   /* the earliest end + grace of an open row; INT64_MAX: none is open */
    int64_t max_ms;     /* largest event time seen: the watermark; INT64_MIN: none */
    int64_t recent_ms;  /* recents[recent_index] began; the other ended. INT64_MIN: none yet */
    struct recents recents[2];

    uint64_t used;
    uint32_t grace_ms;
    uint8_t recent_index;
    uint8_t ids_kind; /* enum lane_ids */
    uint8_t listed;   /* LISTED_* */
    bool live;
    struct minute hot;

    struct idset ids;
    uint32_t *hashes;       /* of id & (RECENT_HASHES - 1), lower half; dense only */
    int64_t epoch_start_ms; /* of `ids` */
    bool saved_series, fresh /* no state was restored */;
    bool orphan;                 /* of a refold: it has rows */
    bool unsure;                 /* others store rows of the lane too: what is stored must be looked up */
    struct chunk *current_chunk; /* of the hot row */
    uint64_t current_bit;

    int64_t newest_ms;       /* start of the newest row with trades; INT64_MIN: none */
    int64_t sealed_until_ms; /* bounded: days before it are on the shelf and take nothing more; INT64_MIN: none */
    struct lane lane;
    struct chunk **chunks; /* ascending */
    uint32_t chunk_count, chunk_capacity, open_rows;

    struct id_epoch *epochs; /* older ones, ascending */
    uint32_t epoch_count;
    int64_t sparse_bucket; /* hour of `ids` where sparse; epochs[0] is the hour before */

    struct idset doubtful; /* of an orphan: ids within rows of which some are missing, and which is not known */
    struct idset feed;     /* the feed was up from first to last, ms */
    int64_t quiet_next_ms; /* the next minute to be called quiet by the feed's word */

    int64_t stored_from_ms, stored_until_ms; /* open times of rows ever handed to the shelf; from > until: none */
    int64_t kept_from_ms;                    /* every row at or after it is in memory; INT64_MIN: all are */
    struct unsealed_day *days;
    uint32_t day_count, day_capacity;
    uint64_t late, duplicate, filtered, conflicts;
    int64_t unloaded_open_ms; /* restored: the earliest open row, not in memory yet; INT64_MIN: none */
    struct lane_parked *parked;
    struct kline_tail *tail;
} __attribute__((aligned(64)));

_Static_assert(offsetof(struct lane_state, hot) + offsetof(struct minute, open_order) <= 192,
               "a price needs three lines");

/* The day of klines being read by a bounded book. */
struct kline_tail {
    int64_t day_ms;
    struct candle *rows;
    uint32_t count, capacity;
};

/* A bounded book goes by its own watermark and recent events; those of the live task, whose ids it shares, wait here. */
struct lane_parked {
    int64_t max_ms, newest_ms, recent_ms, quiet_next_ms, sparse_bucket, unloaded_open_ms;
    uint32_t recent_index;
    bool live;
    struct recents recents[2];
    struct idset ids, older; /* sparse only */
};

/* Lanes lie together. */
enum { LANES_A_SLAB = 64 };
struct lane_slab {
    struct lane_state lanes[LANES_A_SLAB];
    struct lane_slab *next;
    uint32_t used;
};

struct series_lanes {
    struct lane_state *of[BASIS_COUNT + 1]; /* the last is for events of no kind, and stays NULL */
};

struct lane_list {
    struct lane_state **lanes;
    uint32_t count, capacity;
};

struct book {
    struct book_options options;
    int64_t base_ms, chunk_ms, price_grace_ms;
    size_t bytes, max_bytes;
    struct series_lanes *series;
    struct lane_slab *slabs;
    uint32_t series_capacity;
    struct lane_list all, changed, dirty, touched, frozen, freezing;
    struct freeze {
        struct store_snapshot *snapshot;
        struct store_batch *batch; /* NULL: none is under way */
        uint32_t next;             /* of the freezing lanes; some behind it may be frozen already */
    } freeze;
    int64_t clock_ms;      /* append time; INT64_MIN: none */
    int64_t next_clock_ms; /* nothing closes by the clock before it */
    uint32_t freezes;
    struct store_snapshot *snapshot; /* open during one call at most */
    struct row_buffer {
        struct candle *candles;
        uint32_t count, capacity;
    } rows;                /* scratch for the shelf */
    struct buf scratch;    /* for states */
    size_t relieved_bytes; /* what was held after memory was last made room in */
    bool came_back;        /* an event of a sealed day was refused */
    uint32_t seal_cursor;
    struct diag *diag; /* of the call */
};

/* --- rows.c --- */

/* `minute` lives until another row of its chunk is made; row_again brings it up to date. */
struct row {
    struct chunk *chunk;
    struct minute *minute;
    uint64_t bit;
    int64_t start_ms;
};

static inline void lane_settle(struct lane_state *lane) {
    if (lane->current_ms == INT64_MIN) return;
    struct chunk *chunk = lane->current_chunk;
    if (lane->listed & LISTED_HOT_CHANGED) {
        chunk->changed |= lane->current_bit;
        lane->listed &= (uint8_t)~LISTED_HOT_CHANGED;
    }
    chunk->rows[chunk->at[__builtin_ctzll(lane->current_bit)]] = lane->hot;
    lane->current_ms = INT64_MIN;
}

static inline void row_again(struct row *row) {
    row->minute = &row->chunk->rows[row->chunk->at[__builtin_ctzll(row->bit)]];
}

int64_t book_start_of(const struct book *book, int64_t time_ms);
/* The lane, made if need be. ERR_NO_MEMORY, ERR_UNKNOWN (no such series). */
enum err lane_get(struct book *book, uint32_t series, uint8_t basis, struct lane_state **ret_lane) MUST_USE;
/* A bare lane, to be filled from its state. ERR_CORRUPT if it exists or its series does not. */
enum err lane_restored(struct book *book, uint32_t series, uint8_t basis, struct lane_state **ret_lane) MUST_USE;
static inline struct lane_state *lane_find(const struct book *book, uint32_t series, uint8_t basis) {
    return series < book->series_capacity ? book->series[series].of[basis] : NULL;
}
void lane_deinit(struct lane_state *lane);
void parked_free(struct lane_parked *parked);
/* Open rows of a restored lane, so that they can be closed. */
enum err lane_load_open(struct book *book, struct lane_state *lane) MUST_USE;
/* The row, loaded if it is stored; minute NULL where there is none. */
enum err row_find(struct book *book, struct lane_state *lane, int64_t start_ms, struct row *ret_row) MUST_USE;
/* The row, made open and empty if need be; `*ret_made`. */
enum err row_make(struct book *book, struct lane_state *lane, int64_t start_ms, struct row *ret_row,
                  bool *ret_made) MUST_USE;
/* The latest row before `start_ms`; minute NULL where there is none. */
enum err row_before(struct book *book, struct lane_state *lane, int64_t start_ms, struct row *ret_row) MUST_USE;
/* The next row in memory at or after `start_ms`; false if none. */
bool row_next(const struct book *book, const struct lane_state *lane, int64_t start_ms, struct row *ret_row);
bool row_previous(const struct book *book, const struct lane_state *lane, int64_t before_ms, struct row *ret_row);
static inline bool row_closed(const struct row *row) { return (row->chunk->open & row->bit) == 0; }
/* The row will be saved and published. ERR_NO_MEMORY. */
enum err row_touch(struct book *book, struct lane_state *lane, const struct row *row) MUST_USE;
/* Touches a row whose value changed after it was closed: revision + 1. */
enum err row_revise(struct book *book, struct lane_state *lane, const struct row *row,
                    enum candle_reason reason) MUST_USE;
/* Frees chunks that are saved and `keep_ms` behind the lane's newest event (0: all saved ones). */
void rows_let_go(struct book *book, struct lane_state *lane, int64_t keep_ms);
void rows_drop(struct book *book, struct lane_state *lane);
enum err book_snapshot(struct book *book, struct store_snapshot **ret_snapshot) MUST_USE;
void book_snapshot_end(struct book *book);
enum err lane_list_add(struct lane_list *list, struct lane_state *lane) MUST_USE;
/* Puts the lane on those of the book's lists that `lists` names and it is not on yet. */
enum err lane_enlist(struct book *book, struct lane_state *lane, uint8_t lists) MUST_USE;

/* --- ids.c --- */

/* What an event's ids, or its content, say of it. */
struct verdict {
    enum event_fate fate;
    bool conflict;                 /* a duplicate with other content, or in parts */
    bool appended;                 /* dense: it followed the largest id */
    bool inserted;                 /* dense: it did not, so rows beside it may now claim more, or less */
    bool filled;                   /* inserted before an id seen earlier */
    bool skipped;                  /* inserted behind a hole */
    struct id_range before, after; /* dense: what it joined; first > last: nothing */
    struct neighbour {
        int64_t time_ms;  /* in the row; IDSET_NO_TIME: there is none */
        uint8_t coverage; /* before the event came */
    } neighbours[2];
};
/* The ids of a stored row are seen ids; those of an incomplete one perhaps. ERR_NO_MEMORY, ERR_LIMIT. */
enum err ids_learn(struct lane_state *lane, const struct candle *row) MUST_USE;
enum err ids_judge(struct book *book, struct lane_state *lane, const struct event *event, uint64_t hash,
                   struct verdict *ret_verdict) MUST_USE;
/* The ids that events of this time belong to. */
const struct idset *ids_at(const struct lane_state *lane, int64_t time_ms);
/* Begins the stretch that holds `time_ms`, which lies behind the present one. */
void recents_advance(struct lane_state *lane, int64_t time_ms);
/* Adds a hash; `*ret_known`: it was there. ERR_NO_MEMORY, ERR_LIMIT. */
enum err recents_add(struct recents *recents, uint64_t hash, bool *ret_known) MUST_USE;

/* --- coverage.c --- */

/* The rows on both sides of where an id will be inserted, as they are before. */
enum err neighbours_before(struct book *book, struct lane_state *lane, const struct idset *set,
                           const struct event *event, struct verdict *verdict) MUST_USE;
/* After the insertion: revises what changed, closes what is proven, fills what is quiet. */
enum err lane_ids_changed(struct book *book, struct lane_state *lane, const struct event *event,
                          const struct verdict *verdict) MUST_USE;
enum candle_coverage row_coverage(const struct book *book, const struct lane_state *lane, const struct row *row);
/* What the row says beyond its own numbers; it takes the ids and the feed to know. */
struct row_claims row_claims(const struct book *book, const struct lane_state *lane, const struct row *row);
/* The row as it is seen from outside. */
void row_to_candle(const struct book *book, const struct lane_state *lane, const struct row *row,
                   struct candle *candle);
/* Closes every open row whose end + grace is at or before the watermark. */
enum err lane_close_due(struct book *book, struct lane_state *lane, int64_t watermark_ms) MUST_USE;
/* Closes the row of `time_ms` if the ids prove it complete. */
enum err lane_close_proven(struct book *book, struct lane_state *lane, int64_t time_ms) MUST_USE;
/* Quiet rows between two adjacent ids' times. */
enum err lane_fill_quiet(struct book *book, struct lane_state *lane, int64_t from_ms, int64_t to_ms) MUST_USE;
/* Quiet rows that the feed's word proves, up to what is closed. */
enum err lane_fill_feed(struct book *book, struct lane_state *lane) MUST_USE;
/* Flat rows behind `row` follow its close. */
enum err lane_follow_close(struct book *book, struct lane_state *lane, const struct row *row,
                           enum candle_reason reason) MUST_USE;
int64_t lane_watermark(const struct book *book, const struct lane_state *lane);
/* The feed was up from..to; more than one stretch leaves holes, which mark the minutes they touch. */
enum err lane_feed(struct book *book, struct lane_state *lane, const struct book_status *status) MUST_USE;

/* --- state.c --- */

/* Whatever is folded, the state fits: a lane must not be able to stop its task. */
enum { STATE_KEY_SIZE = 5, STATE_BYTES_MAX = STORE_VALUE_MAX, STATE_RECENTS_BYTES = 2 * RECENTS_MAX / 2 * 8 };
_Static_assert(STATE_RECENTS_BYTES + 2 * IDSET_RANGES_MAX * IDSET_RANGE_BYTES_MAX < STATE_BYTES_MAX - 65536,
               "sparse ids beside events without");
_Static_assert(STATE_RECENTS_BYTES + (IDSET_RANGES_MAX + (EPOCHS_MAX + 1) * EPOCH_RANGES_MAX) * IDSET_RANGE_BYTES_MAX <
                   STATE_BYTES_MAX - 65536,
               "dense ids and their epochs beside events without");
void lane_state_key(struct lane lane, uint8_t key[static STATE_KEY_SIZE]);
void lane_state_encode(struct buf *out, const struct lane_state *lane);
/* Into a lane just made, whose ids_kind is known. ERR_CORRUPT, ERR_FOREIGN (of another version). */
enum err lane_state_decode(struct reader *in, struct lane_state *lane) MUST_USE;
/* Every lane of the task, from the store. */
enum err book_restore(struct book *book, struct diag *diag) MUST_USE;

/* --- klines.c --- */

/* Folds the day of klines being read, as any row. */
enum err book_tail_flush(struct book *book, struct lane_state *lane) MUST_USE;

/* --- save.c --- */

/* Comes before every change to what a freeze saves of a lane: one that a freeze has begun with is frozen first. */
enum err lane_freeze(struct book *book, struct lane_state *lane) MUST_USE;
static inline enum err lane_thaw(struct book *book, struct lane_state *lane) {
    return lane->listed & LISTED_FREEZING ? lane_freeze(book, lane) : ERR_OK;
}
/* Whatever is left of a freeze under way. */
enum err book_freeze_rest(struct book *book) MUST_USE;

/* Lets rows go, or (bounded) seals the days that lie a day behind their series, when memory runs short. */
enum err book_make_room(struct book *book) MUST_USE;
/* Rows of this stretch have been handed to the shelf. */
static inline void lane_stored(struct lane_state *lane, int64_t from_ms, int64_t until_ms) {
    if (from_ms < lane->stored_from_ms) lane->stored_from_ms = from_ms;
    if (until_ms > lane->stored_until_ms) lane->stored_until_ms = until_ms;
}
enum err lane_day_add(struct book *book, struct lane_state *lane, int64_t time_ms) MUST_USE;

#endif
