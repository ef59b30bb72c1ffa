/* The book: the fold of events into base candles, the state of one candle task. Pure but for the shelf it asks for old
 * minutes; one thread; deterministic.
 *
 * A candle is a function of the set of its events: any order, any duplication, any split of the input into calls give the
 * same rows in every field but revision, final, last_offset (for prices: any order within the grace). The rules for ids,
 * coverage, late events and closing are in docs/candles.md; the parts of the book at the head of lane.h. */
#ifndef CANDLE_BOOK_H
#define CANDLE_BOOK_H

#include "candle/event.h"
#include "candle/shelf.h"

struct book;

struct book_options {
    struct series_table *series;
    struct shelf *shelf;     /* NULL: nothing is stored (benchmarks, verify in memory) */
    struct store *store;     /* with the shelf: STORE_STATE rows of this book */
    const char *task;        /* name for those rows, e.g. "candles/prices/0" */
    uint32_t base_ms;        /* 60000 or 1000 */
    uint32_t price_grace_ms; /* 0: 10 s */
    bool bounded;         /* an import: nothing is live, `book_finish` ends it. It shares the ids that `task` has seen
                                and goes by its own watermark */
    const uint32_t *only; /* the number of the one series that will come, if that is known: no other's state is read or
                             written. The series table is loaded. NULL: any may come */
    bool hold; /* a bounded book whose days are not in order: they are sealed at the end, or when memory is short */
    size_t max_bytes; /* memory for open candles and states; 0: 1 GiB */
    bool refold;      /* a rebuild: there are rows but no states, and the log is folded from its start. A row holds the
                             records up to its last offset, and what its ids say */
    uint32_t seal_rest; /* freezes that a day which is over goes untouched before it is sealed; 0: 120 */
};

enum err book_open(const struct book_options *options, struct diag *diag, struct book **ret_book) MUST_USE;
void book_close(struct book **book);

struct book_counts {
    uint64_t read;
    uint64_t fate[FATE_COUNT];
};

/* Folds events in the order given. `offsets[i]` is the offset of event i's record, NULL for imports (-1). Late and
 * duplicate ones are told in `fates[i]` (may be NULL), so that the caller can write `<topic>.late`. Totals are added to
 * *counts. ERR_NO_MEMORY past max_bytes; input errors are fates, not errors. */
enum err book_apply(struct book *book, const struct event *events, const int64_t *offsets, uint32_t count,
                    enum event_fate *fates, struct book_counts *counts, struct diag *diag) MUST_USE;
/* Bounded: an event was late only because its day had been sealed. */
bool book_came_back(const struct book *book);
/* Klines of a venue: rows of lane (series, BASIS_KLINES), ascending, base tier; later ones replace earlier ones. */
enum err book_apply_klines(struct book *book, uint32_t series, const struct candle *rows, uint32_t count,
                           struct book_counts *counts, struct diag *diag) MUST_USE;
/* The same without a copy, where the book is bounded and its base 1m: *ret_rows is where the next rows of the series may be
 * read to, *ret_room how many (0: use book_apply_klines); book_klines_read takes `count` of them over. Rows as
 * import_read_klines gives them, of the base interval. Nothing else is called in between. */
enum err book_klines_room(struct book *book, uint32_t series, struct candle **ret_rows, uint32_t *ret_room) MUST_USE;
enum err book_klines_read(struct book *book, uint32_t series, uint32_t count, struct book_counts *counts,
                          struct diag *diag) MUST_USE;

/* What a status record says of the feed of some series (a venue's connection). */
struct book_status {
    uint32_t series;
    bool connected;
    int64_t feed_up_since_ms; /* venue's clock; connected without a break since */
    int64_t last_frame_ms;    /* venue's clock; quiet is proven only up to here */
};
enum err book_apply_status(struct book *book, const struct book_status *status, int64_t append_ms,
                           struct diag *diag) MUST_USE;
/* Append time goes on: closes candles of live series (last event younger than 5 minutes when appended). */
enum err book_clock(struct book *book, int64_t append_ms, struct diag *diag) MUST_USE;
/* The bounded input has ended: closes everything that can be closed. */
enum err book_finish(struct book *book, struct diag *diag) MUST_USE;

/* --- what changed: for the live stream, and for the checkpoint --- */

enum book_change { CHANGE_OPEN, CHANGE_CLOSED, CHANGE_REVISED };
struct book_changed {
    struct lane lane;
    enum book_change change;
    int64_t open_time_ms;
    const struct minute *minute; /* the book's */
};
/* Base candles changed since the last call, each once, ordered by (series, basis, time). */
enum err book_changes(struct book *book, enum err (*visit)(void *context, const struct book_changed *changed),
                      void *context) MUST_USE;
/* The most decimals of its prices, or `known` if that is more: then it costs nothing. */
uint8_t book_changed_decimals(const struct book_changed *changed, uint8_t known);
/* Adds everything that changed since the last freeze to `batch`: candle rows (through shelf_put_later), fold states, new
 * series rows. Seals days that are over (through shelf_seal; the caller flushes the shelf before it commits). What is frozen
 * stays readable through `book_scan` until `book_committed`. */
enum err book_freeze(struct book *book, struct store_snapshot *snapshot, struct store_batch *batch,
                     struct diag *diag) MUST_USE;
/* The same in parts: begun, it is the book as it is now, whatever is folded before the last part. A series is frozen when
 * its part comes or right before it changes, whichever is first. Snapshot and batch stay until *ret_left is 0, which is
 * the number of series left after `lanes` more of them; then `book_committed` may come. */
enum err book_freeze_begin(struct book *book, struct store_snapshot *snapshot, struct store_batch *batch,
                           struct diag *diag) MUST_USE;
enum err book_freeze_some(struct book *book, uint32_t lanes, struct diag *diag, uint32_t *ret_left) MUST_USE;
/* The batch of the last freeze is durable: memory of closed candles may go. */
void book_committed(struct book *book);
/* Bounded books: seals everything that was touched, then forgets it. */
enum err book_seal_all(struct book *book, struct store_snapshot *snapshot, struct store_batch *batch,
                       struct diag *diag) MUST_USE;

/* --- reading, on the owner's thread --- */

/* In-memory base rows (newer than the shelf's) of a lane, ascending or descending; the open candle included. */
enum err book_scan(struct book *book, const struct shelf_range *range, candle_visit visit, void *context) MUST_USE;
/* What `wick why` shows of a series: id ranges, holes, watermark, counts. NULL-safe for unknown lanes: ERR_NOT_FOUND. */
struct book_lane_info {
    int64_t watermark_ms;
    int64_t last_event_ms;
    uint32_t grace_ms; /* a candle is over when the watermark is this far behind its end */
    int64_t first_id, last_id;
    uint32_t range_count; /* of ids seen; holes are range_count - 1 */
    uint64_t used, late, duplicate, filtered, conflicts;
    bool live;
};
enum err book_lane(struct book *book, struct lane lane, struct book_lane_info *ret_info) MUST_USE;
/* Holes in the ids of a lane that touch [from, to) in time; first and last missing id, and the times around them. */
struct book_gap {
    int64_t first_id, last_id;
    int64_t after_ms, before_ms; /* event times of the trades beside it; -1: none is known */
};
enum err book_gaps(struct book *book, struct lane lane, int64_t from_ms, int64_t to_ms,
                   enum err (*visit)(void *context, const struct book_gap *gap), void *context) MUST_USE;

#endif
