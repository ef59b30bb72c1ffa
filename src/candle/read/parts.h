/* Reading from the inside. Private.
 *
 *   rollup.c      rows in, buckets of the interval out
 *   lane.c        the rows of one lane: the book's over the shelf's, quiet stretches filled
 *   pick.c        the best lane's rows, where several lanes have some
 *   read.c        the plan of a query, its windows, the newest buckets */
#ifndef CANDLE_READ_PARTS_H
#define CANDLE_READ_PARTS_H

#include "candle/read.h"

enum { READ_TIERS = 3, TIER_BASE_INDEX = 0 };

static const int64_t READ_TIME_MAX_MS = INT64_C(253402300800000); /* year 10000 */

/* --- rollup --- */

struct rollup {
    struct interval interval;
    struct origin origin;
    int64_t from_ms, to_ms; /* starts of buckets */
    candle_visit visit;
    void *context;
    uint32_t limit;          /* 0: none */
    int64_t closed_until_ms; /* all that lies before is over, and its missing minutes are holes */
    int64_t same_ms;         /* rows of this length are buckets as they are; 0: none are known to be */

    uint32_t count; /* visited */
    bool active;
    int64_t start_ms, end_ms; /* of the bucket at hand */
    int64_t covered_ms, last_ms;
    struct candle sum;
};

/* Rows ascend. ERR_END: the limit is reached, or the visitor has had enough. */
enum err rollup_add(struct rollup *rollup, const struct candle *row) MUST_USE;
enum err rollup_finish(struct rollup *rollup) MUST_USE;

/* --- lanes --- */

struct read_lane {
    struct lane lane;
    bool dense;
    bool in_memory;       /* the slice holds all that is asked for: the shelf is not */
    int64_t book_from_ms; /* first row of the book in the range; INT64_MAX: none */
    int64_t top_ms;       /* no row lies behind it */
    int64_t fill_from_ms; /* no quiet rows before it */
    /* What came last, to prove what lies between it and the next row. */
    bool has_last;
    int64_t next_ms; /* end of the last row */
    int64_t last_id;
    struct decimal close;
};

struct read {
    const struct candle_source *source;
    const struct candle_query *query;
    struct diag *diag;
    struct store_snapshot *snapshot;
    uint32_t tier_ms[READ_TIERS]; /* base first */
    unsigned tier;                /* the one that the interval is merged from */
    int64_t from_ms, to_ms;       /* of rows: buckets begin and end there */
    int64_t split_ms;             /* the book has no rows before it, and tier rows there are up to date */
    int64_t base_from_ms;         /* tier rows end there; between the two it is a matter of the day */
    bool checked;                 /* that what is asked for is still kept */
    uint64_t row_count;           /* given to the rollup */
    struct read_lane lanes[BASIS_COUNT];
    unsigned lane_count;
    struct candle_rows book_rows; /* of the book; a slice's are read where they lie */
    struct candle_rows picks[READ_TIERS][BASIS_COUNT];
    struct rollup rollup;
};

struct read_span {
    unsigned tier;
    int64_t from_ms, to_ms;
};

/* Opens the snapshot that the shelf is read with, if there is none. */
enum err read_snapshot(struct read *read) MUST_USE;

/* Forgets what came last. */
void lane_start(struct read_lane *lane, int64_t from_ms);

/* Visits the rows of a lane in a span, ascending, quiet ones filled in where ids prove them. ERR_END from `visit` comes
 * back as ERR_END. */
enum err lane_rows(struct read *read, struct read_lane *lane, const struct read_span *span, candle_visit visit,
                   void *context) MUST_USE;
/* Fills what is proven quiet behind the last row up to `span->to_ms`. */
enum err lane_rows_end(struct read *read, struct read_lane *lane, const struct read_span *span, candle_visit visit,
                       void *context) MUST_USE;
/* The first or last row of a lane in a span, without filling; ERR_NOT_FOUND. */
enum err lane_edge(struct read *read, const struct read_lane *lane, const struct read_span *span, bool last,
                   struct candle *ret_row) MUST_USE;

/* The same of the book alone, and of base rows. */
enum err lane_book_edge(struct read *read, const struct read_lane *lane, const struct read_span *span, bool last,
                        struct candle *ret_row) MUST_USE;

/* --- all lanes --- */

/* The best rows of a span, into the rollup. */
enum err pick_rows(struct read *read, const struct read_span *span) MUST_USE;
/* What is proven quiet at the end of the last span. */
enum err pick_rows_end(struct read *read, const struct read_span *span) MUST_USE;

/* ERR_RANGE where nothing is kept before `first_ms` that is fine enough, but something coarser is. */
enum err read_check_kept(struct read *read, int64_t first_ms) MUST_USE;

#endif
