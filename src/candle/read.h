/* Candles of any interval: stored rows and the book's newer ones, best lane a minute, merged on read.
 *
 * With a book it runs on the owning task's thread; with a slice of it (candle/slice.h) on any. Quiet and unknown stretches:
 * a minute inside continuous dense ids is a flat row (COVERAGE_QUIET); minutes nothing is known of are left out. The rules
 * are in docs/candles.md ("Reading"). A store snapshot is held for a window of rows at a time, while they are visited, and
 * not at all where memory holds all that is asked for. */
#ifndef CANDLE_READ_H
#define CANDLE_READ_H

#include "candle/book.h"
#include "candle/interval.h"
#include "candle/slice.h"

struct candle_source {
    struct book *book;                 /* may be NULL */
    struct shelf *shelf;               /* may be NULL */
    struct store *store;               /* with the shelf */
    const struct series_table *series; /* tells which ids are dense and how long late events may come; NULL: unknown */
    uint32_t base_ms;                  /* 60000 or 1000; 0: 60000 */
    const struct candle_slice *slice;  /* instead of a book; taken for `candle_query_span` of the query */
};

enum { READ_NEWEST_MAX = 100000 /* buckets that one `newest` query may ask for */ };

struct candle_query {
    uint32_t series;
    struct interval interval;
    struct origin origin;
    int64_t from_ms; /* buckets whose start is in [from, to) */
    int64_t to_ms;
    uint32_t
        limit; /* 0: none. With `newest` the last `limit` buckets of the range, else the first; visited ascending */
    bool newest;
    bool kept_only; /* with `newest`: fewer, instead of an error, where those before are not kept any more */
};

/* The base rows that a query needs of the book: [*ret_from_ms, *ret_to_ms), empty where it asks for nothing. */
void candle_query_span(const struct candle_query *query, int64_t *ret_from_ms, int64_t *ret_to_ms);
/* Whether such candles can be made of base candles at all: ERR_RANGE, at "interval". */
enum err candle_query_check(const struct candle_query *query, uint32_t base_ms, struct diag *diag) MUST_USE;
/* Visits the buckets of the query that hold rows; ERR_END from `visit` ends it early. ERR_RANGE with the finest interval that can be had, where a boundary is finer than what is still kept. */
enum err candle_read(const struct candle_source *source, const struct candle_query *query, candle_visit visit,
                     void *context, struct diag *diag) MUST_USE;

#endif
